"""The networks of the paper by name; any of them runs with any neuron. Start at `create`.

A network returns logits `[B, T, K]`, one row per step; the loss or the user averages them over T.
Each family has its own file; residual.py and feedforward.py have the parts that families share, and
published_inputs.py the input shape of each network. count.py counts parameters and operations from
shapes; trace.py lists the layers and their connections.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn

from pit_jax.models.cifarnet import CIFARNet
from pit_jax.models.e_spikeformer import (
    ESpikeFormer,
    e_spikeformer_l,
    e_spikeformer_m,
    e_spikeformer_s,
    e_spikeformer_t,
)
from pit_jax.models.ms_resnet import ms_resnet18, ms_resnet34
from pit_jax.models.plifnet import PLIFNet
from pit_jax.models.residual import ResNet
from pit_jax.models.resnet import resnet8, resnet18, resnet19, resnet20, resnet34
from pit_jax.models.sew_resnet import (
    sew_resnet18,
    sew_resnet34,
    sew_resnet50,
    sew_resnet101,
    sew_resnet152,
)
from pit_jax.models.spike_driven_transformer import (
    SpikeDrivenTransformer,
    spike_driven_transformer,
)
from pit_jax.models.vgg import VGG, vgg11, vgg16
from pit_jax.old_names import serve_old_names

MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet8": resnet8,
    "resnet18": resnet18,
    "resnet19": resnet19,
    "resnet20": resnet20,
    "resnet34": resnet34,
    "vgg11": vgg11,
    "vgg16": vgg16,
    "plifnet": PLIFNet,
    "cifarnet": CIFARNet,
    "sew_resnet18": sew_resnet18,
    "sew_resnet34": sew_resnet34,
    "sew_resnet50": sew_resnet50,
    "sew_resnet101": sew_resnet101,
    "sew_resnet152": sew_resnet152,
    "ms_resnet18": ms_resnet18,
    "ms_resnet34": ms_resnet34,
    "spike_driven_transformer": spike_driven_transformer,
    "e_spikeformer_t": e_spikeformer_t,
    "e_spikeformer_s": e_spikeformer_s,
    "e_spikeformer_m": e_spikeformer_m,
    "e_spikeformer_l": e_spikeformer_l,
}
"""The networks by name: what `create` and `config.model.name` take."""


FLAX_FIELDS = ("parent", "name")


def create(
    name: str, *, num_classes: int, neuron: Callable[[], nn.Module], num_steps: int = 1, **kw: Any
) -> nn.Module:
    """Return the network `name` of `MODELS` with `neuron()` at each of its neuron layers.

    `neuron` is called without arguments, e.g. `functools.partial(PIT, levels=4)`; `kw` are fields
    of the network. A list in `kw`, e.g. from JSON, becomes a tuple because fields must be hashable.
    Raises ValueError for an unknown name or keyword, and suggests the nearest one.
    """
    if not isinstance(name, str) or name not in MODELS:
        hint = _suggest(str(name), MODELS)
        raise ValueError(f"there is no network {name!r};{hint} known: {', '.join(sorted(MODELS))}.")
    # Flax adds `parent` and `name` to the fields of every module.
    known = [key for key in inspect.signature(MODELS[name]).parameters if key not in FLAX_FIELDS]
    for key in kw:
        if key not in known:
            hint = _suggest(key, known)
            raise ValueError(f"{name} has no argument {key!r};{hint} it has {', '.join(known)}.")
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in kw.items()}
    return MODELS[name](num_classes=num_classes, neuron=neuron, num_steps=num_steps, **fields)


def _suggest(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1)
    return f" did you mean {near[0]!r}?" if near else ""


__all__ = [
    "MODELS",
    "VGG",
    "CIFARNet",
    "ESpikeFormer",
    "PLIFNet",
    "ResNet",
    "SpikeDrivenTransformer",
    "create",
]

serve_old_names(__name__)
