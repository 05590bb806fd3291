"""Firing functions: a step in the forward pass, a surrogate gradient in the backward pass.

Each function is followed by its gradient, in `defvjp`. `SPIKES` has the firing functions of binary
neurons under the names that a config uses. Nothing here needs Flax.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.checks.bounds import LEVELS, NOT_NEGATIVE, POSITIVE, set_bounds

# These decorate a function and its gradient, because only one of the two is called.
_check_strength = set_bounds(strength=NOT_NEGATIVE)
_check_levels = set_bounds(levels=LEVELS, strength=NOT_NEGATIVE)
_check_width, _check_slope = set_bounds(width=POSITIVE), set_bounds(slope=POSITIVE)


def round_half_up(x: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Return floor(x + 1/2) exactly for every finite x; NaN and infinities pass through.

    `jnp.floor(x + 0.5)` is not exact: the sum is rounded, so that the float32 0.49999997 gives 1.
    """
    floor = jnp.floor(x)
    # x - floor(x) is exact, since floor(x) is 0 or within a factor of 2 of x (Sterbenz), except for
    # -1/2 < x < 0: there 1 + x > 1/2 may be rounded, but not to less than 1/2.
    return floor + (x - floor >= 0.5).astype(floor.dtype)


@_check_strength
def rectifier(x: Float[Array, "*N"], strength: float) -> Float[Array, "*N"]:
    """Return the gradient 1 + strength * (1/2 - |dis(x)|) of Eq. 13, dis(x) = x - floor(x) - 1/2.

    It is 1 on the integers and 1 + strength / 2 on the decision boundaries k + 1/2.
    """
    # 1/2 - |dis(x)| is the distance to the nearest integer: values close to a decision boundary,
    # whose spike count changes most easily, get the larger gradient.
    return 1 + strength * (0.5 - jnp.abs(x - jnp.floor(x) - 0.5))


def inside(x: Float[Array, "*N"], levels: int) -> Array:
    """Return whether 0 <= x <= levels, both ends included: there a clipped round has a gradient."""
    return (x >= 0) & (x <= levels)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@_check_strength
def rectified_round(x: Float[Array, "*N"], strength: float = 0.01) -> Float[Array, "*N"]:
    """Round half up, exactly, with the rectified gradient of Eq. 13."""
    return round_half_up(x)


rectified_round.defvjp(
    _check_strength(lambda x, strength: (round_half_up(x), x)),
    lambda strength, x, g: (g * rectifier(x, strength),),
)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
@_check_levels
def clipped_round(x: Float[Array, "*N"], levels: int, strength: float = 0.0) -> Float[Array, "*N"]:
    """Return clip(round(x), 0, levels), with the gradient of Eq. 13 for 0 <= x <= levels, else 0.

    With `strength` 0 this is the rectangular surrogate of I-LIF (Luo et al. 2024; Eq. 8).
    """
    return jnp.clip(round_half_up(x), 0, levels)


clipped_round.defvjp(
    _check_levels(lambda x, levels, strength: (jnp.clip(round_half_up(x), 0, levels), x)),
    lambda levels, strength, x, g: (
        # `where`, not a product with the mask: the rectifier of an infinite x is NaN.
        jnp.where(inside(x, levels), g * rectifier(x, strength), 0).astype(g.dtype),
    ),
)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@_check_levels
def tailed_round(x: Float[Array, "*N"], levels: int) -> Float[Array, "*N"]:
    """Return clip(round(x), 0, levels), with the gradient 1 for 0 <= x <= levels, else exp(-d).

    d is the distance of x from the interval. These exponential tails are our reading of ReLSG-ET,
    the surrogate of QB-LIF (arXiv 2604.25688).
    """
    return jnp.clip(round_half_up(x), 0, levels)


tailed_round.defvjp(
    _check_levels(lambda x, levels: (jnp.clip(round_half_up(x), 0, levels), x)),
    lambda levels, x, g: (g * jnp.exp(-jnp.abs(x - jnp.clip(x, 0, levels))).astype(g.dtype),),
)


@jax.custom_vjp
def ternary_spike(x: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Return sign(x) where |x| >= 1/2, else 0; gradient 1 for |x| <= 1, else 0 (Guo et al. 2024).

    Spikes are thus -1, 0 and 1.
    """
    return jnp.where(jnp.abs(x) >= 0.5, jnp.sign(x), 0)


ternary_spike.defvjp(
    lambda x: (ternary_spike(x), x),
    lambda x, g: (jnp.where(jnp.abs(x) <= 1, g, 0),),
)


def heaviside(x: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Return 1 where x >= 0, else 0 (Eq. 2)."""
    return (x >= 0).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@_check_width
def rectangle(x: Float[Array, "*N"], width: float = 1.0) -> Float[Array, "*N"]:
    """Return H(x), with the gradient 1 / width for |x| <= width / 2, else 0 (Wu et al. 2018)."""
    return heaviside(x)


rectangle.defvjp(
    _check_width(lambda x, width: (heaviside(x), x)),
    lambda width, x, g: (jnp.where(jnp.abs(x) <= width / 2, g / width, 0),),
)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@_check_width
def triangle(x: Float[Array, "*N"], width: float = 1.0) -> Float[Array, "*N"]:
    """Return H(x), with the gradient max(0, 1 - |x| / width) / width (Deng et al. 2022)."""
    return heaviside(x)


triangle.defvjp(
    _check_width(lambda x, width: (heaviside(x), x)),
    lambda width, x, g: (g * jnp.maximum(0, 1 - jnp.abs(x) / width) / width,),
)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@_check_slope
def sigmoid(x: Float[Array, "*N"], slope: float = 4.0) -> Float[Array, "*N"]:
    """Return H(x), with the gradient slope * p * (1 - p), where p = sigmoid(slope * x)."""
    return heaviside(x)


sigmoid.defvjp(
    _check_slope(lambda x, slope: (heaviside(x), x)),
    # 1 - p as sigmoid(-slope * x), which keeps its digits where p rounds to 1.
    lambda slope, x, g: (g * slope * jax.nn.sigmoid(slope * x) * jax.nn.sigmoid(-slope * x),),
)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
@_check_slope
def arctan(x: Float[Array, "*N"], slope: float = 2.0) -> Float[Array, "*N"]:
    """Return H(x), with the gradient (slope / 2) / (1 + (pi slope x / 2)^2) (Fang et al. 2021)."""
    return heaviside(x)


arctan.defvjp(
    _check_slope(lambda x, slope: (heaviside(x), x)),
    lambda slope, x, g: (g * (slope / 2) / (1 + jnp.square(math.pi / 2 * slope * x)),),
)


SPIKES: dict[str, Callable[..., Array]] = {
    "rectangle": rectangle,
    "triangle": triangle,
    "sigmoid": sigmoid,
    "arctan": arctan,
}
"""The firing functions of binary neurons by name, as `config.neuron.spike` gives them."""
