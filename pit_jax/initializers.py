"""Initial scales `a` of PIT, read from the membranes of the first training batch.

An initializer takes membranes `u` `[B, ..., C]` of one layer and step and the level count, and
returns one scale per channel, `[C]`. `PIT(scale_init=...)` takes any such function. The initial
values of kernels are in layers/linear.py. `SCALE_INITS` has all of them by the names that a config
uses.
"""

import math
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SCALE_FLOOR = 1e-3


def three_sigma(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """max(|mu - 3 sigma|, |mu + 3 sigma|) / sqrt(levels), channel by channel (Eq. 12).

    mu and sigma are the population mean and standard deviation over batch and space; under `jit`
    with a sharded batch they are those of the global batch.
    """
    axes = tuple(range(u.ndim - 1))
    # |mu| + 3 sigma is the larger of Eq. 12's two distances, written without the maximum.
    return (jnp.abs(jnp.mean(u, axes)) + 3 * jnp.std(u, axes)) / math.sqrt(levels)


def released(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """max(|mu - 3 var|, |mu + 3 var|) / sqrt(levels): what the authors' released code computes.

    The variance, divided by N - 1 but at least by 1, stands where Eq. 12 has the standard
    deviation.
    """
    axes = tuple(range(u.ndim - 1))
    n = math.prod(u.shape[:-1])
    variance = jnp.var(u, axes) * (n / max(n - 1, 1))
    return (jnp.abs(jnp.mean(u, axes)) + 3 * variance) / math.sqrt(levels)


def covering(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """3 sigma / levels: the top level lies at three standard deviations."""
    return 3 * jnp.std(u, tuple(range(u.ndim - 1))) / levels


def min_max(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """max |u| / levels: the top level lies at the largest membrane (Fig. 2b)."""
    return jnp.max(jnp.abs(u), tuple(range(u.ndim - 1))) / levels


def lsq(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """2 mean |u| / sqrt(levels), LSQ's start (Esser et al. 2020)."""
    return 2 * jnp.mean(jnp.abs(u), tuple(range(u.ndim - 1))) / math.sqrt(levels)


def ones(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """1 in every channel: PIT without the input-distribution-aware start (Table 7, row i)."""
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


def warn_of_floored_scales(params: dict) -> None:
    """Warns of layers with channels whose scale started at the floor, as a constant membrane gives.

    Call it outside `jit` on the initial `params`; under `jit` no value is known.
    """
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        # A user's own neuron may have a scalar of this name, which is no scale per channel.
        is_scale = name.rpartition("/")[2] in ("a", "alpha") and jnp.ndim(leaf) > 0
        if is_scale and (floored := int(jnp.sum(leaf <= SCALE_FLOOR))):
            warnings.warn(
                f"{floored} of {leaf.size} scales of {name} start at the floor {SCALE_FLOOR}: "
                "their membranes hardly vary over the first batch, so they may never fire; "
                "look at the input scaling, or use a larger first batch.",
                stacklevel=2,
            )
