"""Pooling in addition to Flax's `avg_pool` and `max_pool`."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.checks.bounds import set_bounds, whole


# Jitted so that its name appears in jaxprs, where the compiler of pit_jax.inference looks for it.
@set_bounds(size=whole(1))
@partial(jax.jit, static_argnames="size")
def adaptive_avg_pool(x: Float[Array, "*B H W C"], size: int) -> Float[Array, "*B s s C"]:
    """Return means over PyTorch's index sets, `size` sets along each spatial axis.

    Along an axis of n values, set i is floor(i n / size) .. ceil((i + 1) n / size) - 1. Sets
    overlap if `size` does not divide n; values are repeated if `size` > n.
    """
    for axis in (x.ndim - 3, x.ndim - 2):
        n = x.shape[axis]
        cells = [
            # -(-p // q) is the ceiling of p / q.
            jax.lax.slice_in_dim(x, i * n // size, -(-(i + 1) * n // size), axis=axis)
            for i in range(size)
        ]
        x = jnp.concatenate([jnp.mean(cell, axis, keepdims=True) for cell in cells], axis)
    return x


@set_bounds(voters=whole(1))
def vote(x: Float[Array, "*B n"], voters: int) -> Float[Array, "*B k"]:
    """Return the mean over each class's `voters` neighboring outputs (PLIFNet's readout).

    Raises ValueError unless `voters` divides the number of outputs.
    """
    if x.shape[-1] % voters:
        raise ValueError(
            f"{x.shape[-1]} outputs cannot be split equally into classes of voters={voters}; "
            f"choose a divisor of {x.shape[-1]}."
        )
    return jnp.mean(x.reshape(*x.shape[:-1], -1, voters), axis=-1)
