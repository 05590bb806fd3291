"""What a neuron layer shows to whoever looks: `sow` into the collection `intermediates`."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

# A layer of neurons sows all of these; a user's other modules may sow some of the names.
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
    """Sows `membrane` (before firing), the integers `count`, the largest, `levels`, and `rate`.

    The rate `[B, T]` is the mean of |count| / levels over the layer's neurons. A neuron with a
    learned scale gives it as `scale`, `[T, C]` or `[C]`, and one that rounds what it rounds as
    `rounded`, u / a. Under `jit` all of it costs nothing unless the caller asks for it with
    `mutable=["intermediates"]`.
    """
    neuron.sow("intermediates", "membrane", membrane)
    neuron.sow("intermediates", "count", count)
    neuron.sow(
        "intermediates", "rate", jnp.mean(jnp.abs(count), tuple(range(2, count.ndim))) / levels
    )
    neuron.sow("intermediates", "levels", jnp.asarray(levels, count.dtype))
    if scale is not None:
        neuron.sow("intermediates", "scale", scale)
    if rounded is not None:
        neuron.sow("intermediates", "rounded", rounded)


def firing_rates(intermediates: Mapping[str, Any]) -> dict[str, Float[Array, "B T"]]:
    """Return the `rate` of every neuron layer by its path, in the order in which the layers ran."""
    return {layer: sown["rate"] for layer, sown in neuron_probes(intermediates).items()}


def neuron_probes(intermediates: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """Return all that `record` sowed, by the path of the neuron layer and its name."""
    layers: dict[str, dict[str, Any]] = {}
    for (*path, name), sown in flatten_dict(intermediates).items():
        layers.setdefault("/".join(path), {})[name] = sown
    return {
        layer: {name: values[0] for name, values in sown.items() if isinstance(values, tuple)}
        for layer, sown in layers.items()
        if RECORDED <= sown.keys()
    }


def neuron_layers(model: nn.Module, variables: Mapping[str, Any], x: Any) -> list[str]:
    """The paths of the neuron layers in the order in which they run, without running them.

    Dictionaries that come out of `jit` are sorted by name instead.
    """
    layers: list[str] = []

    def run(variables: Mapping[str, Any], x: Any) -> None:
        _, probes = model.apply(variables, x, mutable=["intermediates"])
        layers.extend(firing_rates(probes.get("intermediates", {})))

    jax.eval_shape(run, variables, x)
    return layers
