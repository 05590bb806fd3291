"""Every network at the size of a test: a row buys training steps with every neuron."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def _none(path: tuple[str, ...]) -> bool:
    return False


@dataclass(frozen=True)
class Reduced:
    """Fields that make a network small, and the images it then takes.

    `dead(path)` names parameters that get no gradient by construction, `cancelled(path)` those that
    a norm takes away again, up to rounding (a bias before it).
    """

    kw: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, int, int] = (8, 8, 3)
    dead: Callable[[tuple[str, ...]], bool] = _none
    cancelled: Callable[[tuple[str, ...]], bool] = _none


def _bias_before_norm(path: tuple[str, ...]) -> bool:
    return path[-1] == "bias" and path[-2] in ("conv1", "conv2", "shortcut")


REDUCED = {
    "resnet8": Reduced({"width": 4}, cancelled=_bias_before_norm),
    "resnet18": Reduced({"width": 4, "stages": (1, 1)}, cancelled=_bias_before_norm),
}
