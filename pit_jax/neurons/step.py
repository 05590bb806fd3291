"""The update equations of one time step: charge, fire, reset. Pure functions, no Flax."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DECAY, LEVELS, NOT_NEGATIVE, POSITIVE, set_bounds
from pit_jax.old_names import serve_old_names
from pit_jax.surrogate import inside, rectifier, round_half_up


@set_bounds(decay=DECAY)
def charge(
    v: Float[Array, "*N"],
    current: Float[Array, "*N"],
    *,
    decay: float | Array,
    decay_input: bool = False,
) -> Float[Array, "*N"]:
    """Return the membrane before firing, u_t = decay * v_{t-1} + I_t (Eqs. 1 and 9).

    Eq. 9 prints I_{t-1}; see docs/theory/notation.md. With `decay_input` the current enters as
    (1 - decay) * I_t, as in the authors' released code.
    """
    return decay * v + ((1 - decay) * current if decay_input else current)


@set_bounds(threshold=POSITIVE)
def fire(
    u: Float[Array, "*N"], *, threshold: float, spike: Callable[[Array], Array]
) -> Float[Array, "*N"]:
    """Return binary spikes s_t = H(u_t - threshold) (Eq. 2), with the surrogate of `spike`."""
    return spike(u - threshold)


@set_bounds(threshold=POSITIVE)
def soft_reset(
    u: Float[Array, "*N"], s: Float[Array, "*N"], *, threshold: float = 1.0, detach: bool = False
) -> Float[Array, "*N"]:
    """Return v_t = u_t - threshold * s_t (Eqs. 3, 11); `detach` stops the gradient through s_t."""
    # Inside PIT's window ds/du is the factor f of Eq. 13, so dv/du = 1 - f is between -strength / 2
    # and 0. With `detach` it is 1, and the gradient reaches earlier steps.
    return u - threshold * (jax.lax.stop_gradient(s) if detach else s)


def hard_reset(
    u: Float[Array, "*N"], s: Float[Array, "*N"], *, threshold: float = 1.0, detach: bool = False
) -> Float[Array, "*N"]:
    """Return v_t = u_t * (1 - s_t) for binary s_t; `detach` stops the gradient through s_t.

    The threshold has no effect.
    """
    del threshold
    # A product, not `where`: `where` has no gradient for its condition, this has dv/ds = -u.
    return u * (1 - (jax.lax.stop_gradient(s) if detach else s))


def clearing_reset(
    u: Float[Array, "*N"], s: Float[Array, "*N"], *, threshold: float = 1.0, detach: bool = False
) -> Float[Array, "*N"]:
    """Return v_t = 0 where s_t is not 0, else u_t, the released code's hard reset of scaled spikes.

    No gradient passes through s_t, detached or not. The threshold has no effect.
    """
    del threshold, detach
    return jnp.where(s != 0, 0, u)


# The resets under the names that a config uses.
RESETS: dict[str, Callable[..., Array]] = {
    "soft": soft_reset,
    "hard": hard_reset,
    "clearing": clearing_reset,
}


def lif_step(
    v: Float[Array, "*N"],
    current: Float[Array, "*N"],
    *,
    decay: float | Array,
    threshold: float,
    spike: Callable[[Array], Array],
    reset: Callable[..., Array],
    detach_reset: bool,
    decay_input: bool = False,
) -> tuple[Array, tuple[Array, Array]]:
    """Run one step of a binary neuron: return v_t and (u_t, s_t)."""
    u = charge(v, current, decay=decay, decay_input=decay_input)
    s = fire(u, threshold=threshold, spike=spike)
    return reset(u, s, threshold=threshold, detach=detach_reset), (u, s)


def clif_step(
    state: tuple[Array, Array],
    current: Float[Array, "*N"],
    *,
    tau: float,
    threshold: float,
    spike: Callable[[Array], Array],
    detach_reset: bool,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Run one step of CLIF on (membrane v, complementary potential m) (Huang et al. 2024).

    u = (1 - 1/tau) v + I;  s = H(u - threshold);  m' = m sigmoid(u / tau) + s;
    v' = u - s (threshold + sigmoid(m')).
    """
    v, m = state
    u = charge(v, current, decay=1 - 1 / tau)
    s = fire(u, threshold=threshold, spike=spike)
    # m is updated before the reset, which therefore is deeper after this very spike. `detach`
    # leaves the path from s through m to the reset.
    m = m * jax.nn.sigmoid(u / tau) + s
    taken = jax.lax.stop_gradient(s) if detach_reset else s
    return (u - taken * (threshold + jax.nn.sigmoid(m)), m), (u, s)


class Gates(NamedTuple):
    """Learned values of a GLIF layer, each `[C]` and between 0 and 1; see `glif_step`."""

    leak_gate: Array
    input_gate: Array
    reset_gate: Array
    decay: Array
    leak: Array
    reset: Array
    threshold: Array


def glif_step(
    state: tuple[Array, Array],
    current: Float[Array, "*N C"],
    conductance: Float[Array, " C"],
    gates: Gates,
    *,
    spike: Callable[[Array], Array],
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Run one step of GLIF on (u, s) of the previous step (Yao et al. 2022, Eq. 9).

    alpha, beta and gamma are the gates of leak, input and reset; the reset is part of the charge:
    u' = (1 - alpha (1 - decay)) u (1 - gamma s) - (1 - alpha) leak
         + (1 - beta (1 - conductance)) I - (1 - gamma) reset s.
    """
    u, s = state
    g = Gates(*(prepend_axes(gate, u.ndim) for gate in gates))
    conductance = prepend_axes(conductance, u.ndim)
    u = (
        (1 - g.leak_gate * (1 - g.decay)) * u * (1 - g.reset_gate * s)
        - (1 - g.leak_gate) * g.leak
        + (1 - g.input_gate * (1 - conductance)) * current
        - (1 - g.reset_gate) * g.reset * s
    )
    # It fires at the threshold too, H(0) = 1; the authors' code needs a membrane above it.
    s = spike(u - g.threshold)
    return (u, s), (u, s)


@set_bounds(a=POSITIVE, levels=LEVELS)
def pit_count(u: Float[Array, "*N"], a: Float[Array, "..."], *, levels: int) -> Float[Array, "*N"]:
    """Return PIT's count clip(round(u / a), 0, levels); `a` broadcasts as in `pit_fire`."""
    # This equals the number of thresholds d - 1/2, d = 1 ... levels, that u / a reaches, which is
    # how binary spikes send the count in inference.
    return jnp.clip(round_half_up(quotient(u, a)), 0, levels)


@set_bounds(a=POSITIVE, levels=LEVELS, strength=NOT_NEGATIVE)
def pit_fire(
    u: Float[Array, "*N"], a: Float[ArrayLike, "..."], *, levels: int, strength: float = 0.01
) -> Float[Array, "*N"]:
    """Return scaled integer spikes s = a * clip(round(u / a), 0, levels) (Eq. 10).

    `a` > 0 broadcasts against the last axes of `u`. The gradient for `u` is Eq. 30, with the mask
    0 <= u/a <= levels and the factor of Eq. 13; for `a` it is Eq. 32, summed to the shape of `a`.
    Raises ValueError when `levels` < 1 or `a` does not broadcast to the shape of `u`.
    """
    if jnp.broadcast_shapes(u.shape, jnp.shape(a)) != u.shape:
        raise ValueError(
            f"a {jnp.shape(a)} does not broadcast to u {u.shape}; it has too many axes."
        )
    return _pit_fire(u, jnp.asarray(a), levels, strength)


def prepend_axes(a: Array, ndim: int) -> Array:
    """Return `a` with axes of size 1 in front, for callers that disable rank promotion."""
    return a.reshape((1,) * (ndim - a.ndim) + a.shape)


def quotient(u: Float[Array, "*N"], a: Float[Array, "..."]) -> Float[Array, "*N"]:
    """Return u / a, computed as u * (1 / a)."""
    # XLA rewrites a division by a broadcast array to this product, which rounds differently.
    # Written out, ties round the same way with and without jit, and in NumPy.
    return u * prepend_axes(1 / a, u.ndim)


# A custom_vjp, because Eqs. 30 and 32 use two different surrogates for the same rounding.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _pit_fire(u: Array, a: Array, levels: int, strength: float) -> Array:
    return prepend_axes(a, u.ndim) * pit_count(u, a, levels=levels)


def _pit_fire_forward(
    u: Array, a: Array, levels: int, strength: float
) -> tuple[Array, tuple[Array, Array]]:
    # Only u is stored for each neuron; count and quotient are computed from it again.
    return _pit_fire(u, a, levels, strength), (u, a)


def _pit_fire_backward(
    levels: int, strength: float, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    # s = a k with k = clip(round(x), 0, D), x = u / a, so
    #   ds/du = a dk/dx dx/du = dk/dx               since dx/du = 1 / a,
    #   ds/da = k + a dk/dx dx/da = k - x dk/dx     since dx/da = -u / a^2 = -x / a.
    # dk/dx is replaced by a surrogate: the mask 0 <= x <= D (Eq. 28), times the factor of Eq. 13
    # (Eq. 29) for u. The paper prints Eq. 32 without the factor; see docs/theory/decisions.md.
    u, a = saved
    x = quotient(u, a)
    window = inside(x, levels)
    # `where`, not a product with the mask: it stops the NaN of an infinite x.
    grad_u = jnp.where(window, g * rectifier(x, strength), 0).astype(u.dtype)  # Eq. 30
    # Above the window this is D: only a larger scale could make the spike larger.
    grad_a = g * (pit_count(u, a, levels=levels) - jnp.where(window, x, 0))  # Eq. 32
    # The transpose of a broadcast is the sum over the broadcast axes.
    # The cast inside brings the sum back to the dtype of `a`.
    (grad_a,) = jax.linear_transpose(lambda a: jnp.broadcast_to(a.astype(g.dtype), u.shape), a)(
        grad_a
    )
    return grad_u, grad_a


_pit_fire.defvjp(_pit_fire_forward, _pit_fire_backward)


serve_old_names(__name__)
