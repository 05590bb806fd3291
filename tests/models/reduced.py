"""Every network at a small size; each row is trained with every neuron."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flax.linen.initializers import variance_scaling


def _match_none(path: tuple[str, ...]) -> bool:
    return False


@dataclass(frozen=True)
class Reduced:
    """Fields `kw` that make a network small, and the shape of its images.

    `dead(path)` is true for parameters without a gradient by construction, `canceled(path)` for
    those that a norm cancels up to rounding (a bias before it). Initial kernels are multiplied by
    `gain` if neurons without a norm before them would be silent.
    """

    kw: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, int, int] = (8, 8, 3)
    dead: Callable[[tuple[str, ...]], bool] = _match_none
    canceled: Callable[[tuple[str, ...]], bool] = _match_none
    gain: float = 1.0


def _is_bias_before_norm(path: tuple[str, ...]) -> bool:
    layers = ("conv1", "conv2", "conv3", "shortcut", "hidden")
    return path[-1] == "bias" and path[-2] in layers


# Networks that differ only in their number of blocks are the same at this size and share a row.
_PREACT = Reduced({"width": 4, "stages": (1, 1)}, canceled=_is_bias_before_norm)
# Stem and pool reduce the resolution to a quarter, so the images are larger.
_SEW, _SEW_BOTTLENECK, _MS = (
    Reduced({"width": 4, "stages": (1, 1)}, shape=(16, 16, 3)) for _ in range(3)
)


def _is_bias_before_norm_in_transformer(path: tuple[str, ...]) -> bool:
    return path[-1] == "bias" and path[-2] in ("projection", "expand", "contract")


def _is_bias_before_norm_in_stage(path: tuple[str, ...]) -> bool:
    return path[-1] == "bias" and (path[-2].endswith("_down") or path[-2] in ("expand", "contract"))


_SPIKE_DRIVEN = Reduced(
    {"width": 16, "depth": 1, "heads": 2, "pool_after": (4,)},
    dead=lambda path: "talking_heads" in path,
    canceled=_is_bias_before_norm_in_transformer,
)
_SPIKEFORMER = Reduced(
    {"widths": (4, 8), "stages": (1, 1), "strides": (2, 1), "conv_stages": 1, "heads": 2},
    canceled=_is_bias_before_norm_in_stage,
)

REDUCED = {
    "resnet8": _PREACT,
    "resnet18": _PREACT,
    "resnet19": Reduced({"width": 4, "stages": (1, 1)}, gain=4.0),
    "resnet20": Reduced({"width": 4, "stages": (1, 1), "dropout": 0.0}, gain=4.0),
    "resnet34": Reduced({"width": 4, "stages": (1, 1)}, shape=(16, 16, 3)),
    "sew_resnet18": _SEW,
    "sew_resnet34": _SEW,
    "sew_resnet50": _SEW_BOTTLENECK,
    "sew_resnet101": _SEW_BOTTLENECK,
    "sew_resnet152": _SEW_BOTTLENECK,
    "ms_resnet18": _MS,
    "ms_resnet34": _MS,
    "vgg11": Reduced(
        {"widths": (4, 4, 8), "pool_after": (1, 3), "head_dropout": 0.0},
        canceled=_is_bias_before_norm,
    ),
    "vgg16": Reduced({"widths": (4, 4, 8), "pool_after": (2, 3)}),
    "plifnet": Reduced(
        {
            "widths": (4, 4),
            "pool_after": (1, 2),
            "hidden": 16,
            "dropout": 0.0,
            "linear_init": variance_scaling(4.0, "fan_in", "normal"),
        }
    ),
    "cifarnet": Reduced(
        {"widths": (4, 8), "strides": (1, 2), "hidden": 16, "dropout": 0.0},
        canceled=_is_bias_before_norm,
    ),
    "spike_driven_transformer": _SPIKE_DRIVEN,
    "e_spikeformer_t": _SPIKEFORMER,
    "e_spikeformer_s": _SPIKEFORMER,
    "e_spikeformer_m": _SPIKEFORMER,
    "e_spikeformer_l": _SPIKEFORMER,
}
# The first name of each row.
DISTINCT = list({id(row): name for name, row in reversed(REDUCED.items())}.values())
