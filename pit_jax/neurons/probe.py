"""What a neuron layer shows to whoever looks: `sow` into the collection `intermediates`."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


def record(
    neuron: nn.Module,
    membrane: Float[Array, "B T *N C"],
    count: Float[Array, "B T *N C"],
    levels: int,
) -> None:
    """Sows `membrane` (before firing), the integers `count`, and `rate` `[B, T]`, their mean / levels.

    It costs nothing unless the caller asks for them with `mutable=["intermediates"]`.
    """
    neuron.sow("intermediates", "membrane", membrane)
    neuron.sow("intermediates", "count", count)
    neuron.sow("intermediates", "rate", jnp.mean(count, tuple(range(2, count.ndim))) / levels)
