"""What the neuron layers of a network do with some samples: where most analyses begin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from pit_jax.neurons.probe import neuron_layers, neuron_probes


@dataclass(frozen=True)
class Recorded:
    """One neuron layer: `membrane` before firing, the integer `count`, the `spike` it sends.

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
    model: nn.Module,
) -> Callable[[Mapping[str, Any], Array], dict[str, Recorded]]:
    """A function of variables and of images or frames that gives the layers in their order.

    It runs in evaluation, compiled once for each shape, wherever its arguments lie.
    """

    @jax.jit
    def run(variables: Mapping[str, Any], x: Array) -> dict[str, dict[str, Array]]:
        _, probes = model.apply(
            variables, x, mutable=["intermediates"], capture_intermediates=_is_neuron
        )
        return neuron_probes(probes.get("intermediates", {}))

    def record(variables: Mapping[str, Any], x: Array) -> dict[str, Recorded]:
        seen = run(variables, x)
        return {
            layer: Recorded(
                seen[layer]["membrane"],
                seen[layer]["count"],
                seen[layer]["__call__"],
                int(seen[layer]["levels"]),
                seen[layer].get("scale"),
                seen[layer].get("rounded"),
            )
            for layer in neuron_layers(model, variables, x)
        }

    return record


def _is_neuron(module: nn.Module, method: str) -> bool:
    return method == "__call__" and module.has_variable("intermediates", "count")
