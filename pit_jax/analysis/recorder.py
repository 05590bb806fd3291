"""What the neuron layers of a network do with some samples: where most analyses begin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from pit_jax.neurons import NEURONS
from pit_jax.neurons.mpbn import NormedLIF
from pit_jax.neurons.probe import neuron_layers, neuron_probes
from pit_jax.old_names import serve_old_names

SPIKING = (*NEURONS.values(), NormedLIF)


@dataclass(frozen=True)
class LayerRecording:
    """One neuron layer: `membrane` before firing, the integer `count`, the `spike` it sends.

    The spike has its scale or amplitude, also where a neuron around this one applies it.
    `levels` is the largest count, D. `scale` is that of neurons with a learned one, `[T, C]` or
    `[C]`, and `rounded` what neurons that round do round, u / a; both are None otherwise.
    """

    membrane: Float[Array, "B T *N C"]
    count: Float[Array, "B T *N C"]
    spike: Float[Array, "B T *N C"]
    levels: int
    scale: Float[Array, "*TC"] | None
    rounded: Float[Array, "B T *N C"] | None = None


def recorder(
    model: nn.Module, neurons: tuple[type[nn.Module], ...] = ()
) -> Callable[[Mapping[str, Any], Array], dict[str, LayerRecording]]:
    """A function of variables and of images or frames that gives the layers in their order.

    It runs in evaluation, compiled once for each shape, wherever its arguments lie. `neurons` are
    classes of your own whose modules scale the spikes of a neuron inside of them.
    """

    def is_neuron(module: nn.Module, method: str) -> bool:
        # One that scales the spikes of another, as Real Spike does, has no probe of its own.
        spikes = isinstance(module, (*SPIKING, *neurons))
        return method == "__call__" and (spikes or module.has_variable("intermediates", "count"))

    @jax.jit
    def run(variables: Mapping[str, Any], x: Array) -> dict[str, dict[str, Array]]:
        _, probes = model.apply(
            variables, x, mutable=["intermediates"], capture_intermediates=is_neuron
        )
        intermediates = probes.get("intermediates", {})
        layers, sent = neuron_probes(intermediates), _collect_spikes(intermediates)
        return {
            path: layer | {"spike": sent[min(p for p in sent if f"{path}/".startswith(f"{p}/"))]}
            for path, layer in layers.items()
        }

    def record(variables: Mapping[str, Any], x: Array) -> dict[str, LayerRecording]:
        seen = run(variables, x)
        return {
            layer: LayerRecording(
                seen[layer]["membrane"],
                seen[layer]["count"],
                seen[layer]["spike"],
                int(seen[layer]["levels"]),
                seen[layer].get("scale"),
                seen[layer].get("rounded"),
            )
            for layer in neuron_layers(model, variables, x)
        }

    return record


def _collect_spikes(intermediates: Mapping[str, Any]) -> dict[str, Array]:
    """Return the output of each neuron, and of each around another one, by its path."""
    leaves = flatten_dict(intermediates).items()
    return {"/".join(path): value[0] for (*path, name), value in leaves if name == "__call__"}


serve_old_names(__name__)
