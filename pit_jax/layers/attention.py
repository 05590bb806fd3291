"""Self-attention between spikes without a softmax, linear in the tokens (positions of a step)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.checks.bounds import set_bounds, whole


def channel_attention(
    query: Float[Array, "B T H W C"],
    key: Float[Array, "B T H W C"],
    value: Float[Array, "B T H W C"],
    gate: Callable[[Array], Array],
) -> Float[Array, "B T H W C"]:
    """Return query * gate(sum over tokens of key * value), the attention of Yao et al. 2023.

    `gate` is the neuron that receives these sums `[B, T, 1, 1, C]`. Channels do not mix, so heads
    would change nothing.
    """
    return query * gate(jnp.sum(key * value, axis=(2, 3), keepdims=True))


# Jitted so that its name appears in jaxprs, where the compiler of pit_jax.inference looks for it.
@set_bounds(heads=whole(1))
@partial(jax.jit, static_argnames="heads")
def linear_attention(
    query: Float[Array, "B T H W C"],
    key: Float[Array, "B T H W C"],
    value: Float[Array, "B T H W D"],
    heads: int,
) -> Float[Array, "B T H W D"]:
    """Return (query keyᵀ) value in each of `heads` groups of channels, times 2 / sqrt(C / heads)
    (Yao et al. 2025).

    Without a softmax this equals query (keyᵀ value), which is computed: it needs C D / heads²
    products per token and head, and no array of tokens² values. Raises ValueError unless `heads`
    divides both numbers of channels.
    """
    channels = query.shape[-1]
    check_heads(channels, heads)
    check_heads(value.shape[-1], heads)
    q, k, v = (
        x.reshape(*x.shape[:2], -1, heads, x.shape[-1] // heads) for x in (query, key, value)
    )
    # The sum over tokens n comes first, so no array has tokens² values. On spikes both orders are
    # exact in float32: products and sums are integers below 2^24.
    key_value = jnp.einsum("btnhc,btnhd->bthcd", k, v)
    mixed = jnp.einsum("btnhc,bthcd->btnhd", q, key_value)
    return (mixed * (2 * (channels // heads) ** -0.5)).reshape(value.shape)


def check_heads(channels: int, heads: int) -> None:
    """Raise ValueError unless `heads` divides `channels`."""
    if heads < 1 or channels % heads:
        raise ValueError(
            f"{channels} channels cannot be split equally into heads={heads}; "
            f"choose a divisor of {channels}."
        )
