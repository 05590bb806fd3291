"""Pooling that Flax has not: its `avg_pool` and `max_pool` do for the rest."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


# Jitted to keep its name in a traced program, where the compiler of pit_jax.inference looks for it.
@partial(jax.jit, static_argnames="size")
def adaptive_avg_pool(x: Float[Array, "*B H W C"], size: int) -> Float[Array, "*B s s C"]:
    """Means over PyTorch's index sets, `size` of them on each axis of space.

    Set i is floor(i n / size) .. ceil((i + 1) n / size) - 1 of n: sets overlap where `size` does
    not divide n, and values are repeated where it is larger.
    """
    for axis in (x.ndim - 3, x.ndim - 2):
        n = x.shape[axis]
        cells = [
            jax.lax.slice_in_dim(x, i * n // size, -(-(i + 1) * n // size), axis=axis)
            for i in range(size)
        ]
        x = jnp.concatenate([jnp.mean(cell, axis, keepdims=True) for cell in cells], axis)
    return x


def vote(x: Float[Array, "*B n"], voters: int) -> Float[Array, "*B k"]:
    """The mean over each class's `voters` neighboring outputs (PLIFNet's readout).

    Raises ValueError unless `voters` divides the outputs.
    """
    if voters < 1 or x.shape[-1] % voters:
        raise ValueError(
            f"{x.shape[-1]} outputs cannot be shared equally among classes of voters={voters}; "
            "each class takes as many, at least one."
        )
    return jnp.mean(x.reshape(*x.shape[:-1], -1, voters), axis=-1)
