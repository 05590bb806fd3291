"""Initial scales `a` of PIT, read from the membranes of the first training batch.

An initializer takes the membranes `u` `[B, ..., C]` of one layer and step and the number `levels`,
and returns one scale per channel, `[C]`. `PIT(scale_init=...)` takes any such function.
`SCALE_INITS` has those of this file under the names that a config uses. Initial kernels are in
layers/linear.py.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pit_jax.checks.arrays import read_array
from pit_jax.checks.bounds import LEVELS, set_bounds

# PIT divides by the scale, and a channel that is constant over the first batch has a spread of 0.
SCALE_FLOOR = 1e-3


def read_membranes(name: str, value: Any) -> Any:
    """Return membranes `[B, ..., C]` as an array; raise ValueError for an empty one; a `Bound`."""
    u = read_array(name, value)
    if u.ndim < 2 or not u.size:
        raise ValueError(
            f"{name} must be membranes [B, ..., C] of at least one sample and channel, got the "
            f"shape {u.shape}."
        )
    return u


@set_bounds(u=read_membranes, levels=LEVELS)
def three_sigma(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """Return max(|mu - 3 sigma|, |mu + 3 sigma|) / sqrt(levels), channel by channel (Eq. 12).

    mu and sigma are the population mean and standard deviation over batch and space; under `jit`
    with a sharded batch they are those of the global batch.
    """
    axes = tuple(range(u.ndim - 1))
    # max(|mu - 3 sigma|, |mu + 3 sigma|) = |mu| + 3 sigma, since sigma >= 0.
    return (jnp.abs(jnp.mean(u, axes)) + 3 * jnp.std(u, axes)) / math.sqrt(levels)


@set_bounds(u=read_membranes, levels=LEVELS)
def released(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """Return max(|mu - 3 var|, |mu + 3 var|) / sqrt(levels), as the authors' released code does.

    It has the variance where Eq. 12 has the standard deviation, divided by N - 1 but at least by 1.
    """
    axes = tuple(range(u.ndim - 1))
    n = math.prod(u.shape[:-1])
    variance = jnp.var(u, axes) * (n / max(n - 1, 1))
    return (jnp.abs(jnp.mean(u, axes)) + 3 * variance) / math.sqrt(levels)


@set_bounds(u=read_membranes, levels=LEVELS)
def covering(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """Return 3 sigma / levels, which puts the top level at three standard deviations."""
    return 3 * jnp.std(u, tuple(range(u.ndim - 1))) / levels


@set_bounds(u=read_membranes, levels=LEVELS)
def min_max(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """Return max |u| / levels, which puts the top level at the largest membrane (Fig. 2b)."""
    return jnp.max(jnp.abs(u), tuple(range(u.ndim - 1))) / levels


@set_bounds(u=read_membranes, levels=LEVELS)
def lsq(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """Return 2 mean |u| / sqrt(levels), the initial step size of LSQ (Esser et al. 2020)."""
    return 2 * jnp.mean(jnp.abs(u), tuple(range(u.ndim - 1))) / math.sqrt(levels)


@set_bounds(u=read_membranes, levels=LEVELS)
def ones(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """Return 1 for every channel: PIT without input-aware initialization (Table 7, row i)."""
    del levels
    return jnp.ones(u.shape[-1], u.dtype)


SCALE_INITS: dict[str, Callable[..., Array]] = {
    "three_sigma": three_sigma,
    "released": released,
    "covering": covering,
    "min_max": min_max,
    "lsq": lsq,
    "ones": ones,
}
"""The initializers by name, as `config.neuron.scale_init` gives them."""


def refuse_nonfinite_scales(params: dict) -> None:
    """Raise ValueError for a layer with initial scales that are not finite.

    Call it outside `jit` on the initial `params`; under `jit` values are unknown.
    """
    for name, scale in _list_scales(params).items():
        if lost := int(np.sum(~np.isfinite(np.asarray(scale)))):
            raise ValueError(
                f"{lost} of {scale.size} scales of {name} would start as NaN or infinity, because "
                "the membranes of the first batch are not finite; look for NaN in its images and "
                "in the weights of the layers before."
            )


def warn_of_floored_scales(params: dict) -> None:
    """Warn of layers with channels whose initial scale is the floor: their membranes are constant.

    Call it outside `jit` on the initial `params`; under `jit` values are unknown.
    """
    for name, scale in _list_scales(params).items():
        if floored := int(np.sum(np.asarray(scale) <= SCALE_FLOOR)):
            warnings.warn(
                f"{floored} of {scale.size} scales of {name} start at the floor {SCALE_FLOOR}: "
                "their membranes hardly vary over the first batch, so they may never fire; "
                "look at the input scaling, or use a larger first batch.",
                stacklevel=2,
            )


def _list_scales(params: dict) -> dict[str, Any]:
    """Return the scales in `params` by the names of their parameters."""
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    # A user's own neuron may have a scalar `a` or `alpha`, which is not a scale per channel.
    return {
        name: leaf
        for name, leaf in leaves.items()
        if name.rpartition("/")[2] in ("a", "alpha") and jnp.ndim(leaf) > 0
    }
