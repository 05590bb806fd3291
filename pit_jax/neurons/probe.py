"""Probes of neuron layers, sown into the collection `intermediates`: membranes, counts, rates."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

# Every neuron layer sows all of these. A user's other modules may sow some of these names.
RECORDED = {"membrane", "count", "rate", "levels"}


def record(
    neuron: nn.Module,
    membrane: Float[Array, "B T *N C"],
    count: Float[Array, "B T *N C"],
    levels: int,
    *,
    scale: Float[Array, "*TC"] | None = None,
    rounded: Float[Array, "B T *N C"] | None = None,
) -> None:
    """Sow the membrane before firing, the counts, their maximum `levels`, and the firing rate.

    The rate `[B, T]` is the mean of |count| / levels over the layer's neurons. A neuron with a
    learned scale passes it as `scale`, `[T, C]`, `[C]` or `[1]`, and a neuron that rounds passes
    what it rounds, u / a, as `rounded`. Under `jit` none of this costs anything unless the caller
    asks for it with `mutable=["intermediates"]`.
    """
    neuron.sow("intermediates", "membrane", membrane)
    neuron.sow("intermediates", "count", count)
    # |count|, because ternary neurons also fire -1.
    neuron.sow(
        "intermediates", "rate", jnp.mean(jnp.abs(count), tuple(range(2, count.ndim))) / levels
    )
    neuron.sow("intermediates", "levels", jnp.asarray(levels, count.dtype))
    if scale is not None:
        neuron.sow("intermediates", "scale", scale)
    if rounded is not None:
        neuron.sow("intermediates", "rounded", rounded)


def firing_rates(intermediates: Mapping[str, Any]) -> dict[str, Float[Array, "B T"]]:
    """Return the `rate` of every neuron layer by path, in the order in which the layers ran."""
    return {layer: sown["rate"] for layer, sown in neuron_probes(intermediates).items()}


def neuron_probes(intermediates: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """Return all that `record` sowed, by path of the neuron layer and name of the probe.

    A layer that a network calls twice has the probes of its first call.
    """
    layers: dict[str, dict[str, Any]] = {}
    for (*path, name), sown in flatten_dict(intermediates).items():
        layers.setdefault("/".join(path), {})[name] = sown
    # `sow` appends to a tuple at each call of a module.
    return {
        layer: {name: values[0] for name, values in sown.items() if isinstance(values, tuple)}
        for layer, sown in layers.items()
        if RECORDED <= sown.keys()
    }


def neuron_layers(model: nn.Module, variables: Mapping[str, Any], x: Any) -> list[str]:
    """Return the paths of the neuron layers in the order in which they run, by tracing the model.

    Probes that come out of `jit` are no substitute: their dictionaries are sorted by name.
    """
    layers: list[str] = []

    def run(variables: Mapping[str, Any], x: Any) -> None:
        _, probes = model.apply(variables, x, mutable=["intermediates"])
        layers.extend(firing_rates(probes.get("intermediates", {})))

    jax.eval_shape(run, variables, x)
    return layers


class Rounding(NamedTuple):
    """Membranes of a layer that rounds: `mean` and `sd` `[T, C]` of each step and channel.

    `scale`, `[T, C]` or `[C]`, is what the neuron divides them by; `levels` is D.
    """

    mean: Float[Array, "T C"]
    sd: Float[Array, "T C"]
    scale: Float[Array, "*TC"]
    levels: Array


def measure_rounding(intermediates: Mapping[str, Any]) -> dict[str, Rounding]:
    """Return mean and deviation of the membranes of every layer that rounds, by path."""
    return {
        layer: _measure_layer(sown["rounded"], sown.get("scale", jnp.ones(1)), sown["levels"])
        for layer, sown in neuron_probes(intermediates).items()
        if "rounded" in sown
    }


def _measure_layer(rounded: Array, scale: Array, levels: Array) -> Rounding:
    # A membrane is what the neuron rounds, u / a, times the scale. PITFull rounds A⁻¹ u, in which
    # channels are mixed, so there it is not the membrane itself.
    inside = (0, *range(2, rounded.ndim - 1))
    mean, sd = jnp.mean(rounded, inside), jnp.std(rounded, inside)
    return Rounding(mean * scale, sd * scale, scale, levels)
