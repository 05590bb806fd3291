"""Self-attention between spikes, linear in the tokens: the places of a step, without a softmax."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def channel_attention(
    query: Float[Array, "B T H W C"],
    key: Float[Array, "B T H W C"],
    value: Float[Array, "B T H W C"],
    gate: Callable[[Array], Array],
) -> Float[Array, "B T H W C"]:
    """query * gate(sum over tokens of key * value), the attention of Yao et al. 2023.

    `gate` is the neuron of these sums `[B, T, 1, 1, C]`. A channel meets only itself, so heads
    would change nothing.
    """
    return query * gate(jnp.sum(key * value, axis=(2, 3), keepdims=True))


# Jitted to keep its name in a traced program, where the compiler of pit_jax.inference looks for it.
@partial(jax.jit, static_argnames="heads")
def linear_attention(
    query: Float[Array, "B T H W C"],
    key: Float[Array, "B T H W C"],
    value: Float[Array, "B T H W D"],
    heads: int,
) -> Float[Array, "B T H W D"]:
    """(query keyᵀ) value in each of `heads` groups of channels, times 2 / sqrt(C / heads) (Yao et
    al. 2025).

    Computed as query (keyᵀ value), which without a softmax is the same: it needs C D / heads²
    products a token and head and no array of tokens². Raises ValueError unless `heads` divides
    both numbers of channels.
    """
    channels = query.shape[-1]
    check_heads(channels, heads)
    check_heads(value.shape[-1], heads)
    q, k, v = (
        x.reshape(*x.shape[:2], -1, heads, x.shape[-1] // heads) for x in (query, key, value)
    )
    key_value = jnp.einsum("btnhc,btnhd->bthcd", k, v)
    mixed = jnp.einsum("btnhc,bthcd->btnhd", q, key_value)
    return (mixed * (2 * (channels // heads) ** -0.5)).reshape(value.shape)


def check_heads(channels: int, heads: int) -> None:
    """Raises ValueError unless `channels` can be shared equally among `heads`."""
    if heads < 1 or channels % heads:
        raise ValueError(
            f"{channels} channels cannot be shared equally among heads={heads}; "
            f"take a divisor of {channels}."
        )
