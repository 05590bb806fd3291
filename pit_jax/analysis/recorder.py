"""Recordings of a network's neuron layers, which most analyses read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from pit_jax.inference.runtime.batches import jit_for_batches
from pit_jax.neurons import NEURONS
from pit_jax.neurons.mpbn import NormedLIF
from pit_jax.neurons.probe import neuron_layers, neuron_probes
from pit_jax.old_names import serve_old_names

SPIKING = (*NEURONS.values(), NormedLIF)


@dataclass(frozen=True)
class LayerRecording:
    """A neuron layer: its `membrane` before firing, its integer `count`, the `spike` that it sends.

    The spike includes its scale or amplitude, even if a neuron around this one applies it.
    `levels` is the largest count, D. `scale` is the learned scale, `[T, C]`, `[C]` or `[1]`, and
    `rounded` the quotient u / a that is rounded to the count; both are None for neurons without
    them.
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
    """Return a function from variables and images or frames to the layers in their order.

    It runs the network in evaluation mode, on the devices of its arguments, and is compiled once
    for each shape. `neurons` are your own classes of neurons that scale the spikes of another
    neuron inside them.
    """

    def is_neuron(module: nn.Module, method: str) -> bool:
        # A neuron that scales the spikes of another, such as Real Spike, has no probe itself.
        spikes = isinstance(module, (*SPIKING, *neurons))
        return method == "__call__" and (spikes or module.has_variable("intermediates", "count"))

    @jit_for_batches
    def run(variables: Mapping[str, Any], x: Array) -> dict[str, dict[str, Array]]:
        _, probes = model.apply(
            variables, x, mutable=["intermediates"], capture_intermediates=is_neuron
        )
        intermediates = probes.get("intermediates", {})
        layers, sent = neuron_probes(intermediates), _collect_spikes(intermediates)
        # The outermost neuron around a probe sends the spikes, with their scale.
        return {
            path: layer | {"spike": sent[min(p for p in sent if f"{path}/".startswith(f"{p}/"))]}
            for path, layer in layers.items()
        }

    # The layers in their order, for each shape: finding them traces the whole network.
    known: dict[Any, list[str]] = {}

    def record(variables: Mapping[str, Any], x: Array) -> dict[str, LayerRecording]:
        """Return the recording of each neuron layer."""
        seen, kind = run(variables, x), (x.shape, x.dtype)
        if kind not in known:
            known[kind] = neuron_layers(model, variables, x)
        return {
            layer: LayerRecording(
                seen[layer]["membrane"],
                seen[layer]["count"],
                seen[layer]["spike"],
                # Sown as an array, since only arrays leave a jitted function.
                int(seen[layer]["levels"]),
                seen[layer].get("scale"),
                seen[layer].get("rounded"),
            )
            for layer in known[kind]
        }

    return record


def _collect_spikes(intermediates: Mapping[str, Any]) -> dict[str, Array]:
    """Return the output of each neuron, and of each neuron around another, by its path."""
    leaves = flatten_dict(intermediates).items()
    return {"/".join(path): value[0] for (*path, name), value in leaves if name == "__call__"}


serve_old_names(__name__)
