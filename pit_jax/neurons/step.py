"""The update equations of one time step, as pure functions of arrays: no module, no Flax.

A step is charge, fire and reset. `NAME_step(v, current, ...) -> (v, spikes)` is a whole step of a
neuron, in the order of `jax.lax.scan`; v is the membrane after the reset, 0 at rest. The modules
run `NAME_fire(u, ...) -> (remain, spikes)`, the part of a step after the charge, up to the leak.
docs/guide/streaming.md uses these functions from JAX, nnx and Equinox.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import (
    DECAY,
    FIRING,
    LEVELS,
    NOT_NEGATIVE,
    POSITIVE,
    RESET,
    at_least,
    set_bounds,
)
from pit_jax.old_names import serve_old_names
from pit_jax.surrogate import (
    clipped_round,
    inside,
    rectangle,
    rectifier,
    round_half_up,
    tailed_round,
    ternary_spike,
)

Spike = Callable[[Array], Array]
Reset = Callable[..., Array]


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


def lif_fire(
    u: Float[Array, "*N"],
    decay: float | Array,
    *,
    threshold: float,
    spike: Callable[[Array], Array],
    reset: Callable[..., Array],
    detach_reset: bool,
) -> tuple[Array, Array]:
    """Fire and reset a binary neuron: return what remains of its membrane, and its spikes."""
    s = fire(u, threshold=threshold, spike=spike)
    return decay * reset(u, s, threshold=threshold, detach=detach_reset), s


@set_bounds(spike=FIRING, reset=RESET)
def lif_step(
    v: Float[Array, "*N"],
    current: Float[Array, "*N"],
    *,
    decay: float | Array = 0.5,
    threshold: float = 1.0,
    spike: Spike = rectangle,
    reset: Reset = soft_reset,
    detach_reset: bool = False,
    decay_input: bool = False,
) -> tuple[Float[Array, "*N"], Float[Array, "*N"]]:
    """Return membrane and spikes of a LIF neuron after one step (Eqs. 1-3).

    IF is this neuron with decay 1, PLIF with the decay 1 - sigmoid(w) and `decay_input`.
    """
    u = charge(v, current, decay=decay, decay_input=decay_input)
    s = fire(u, threshold=threshold, spike=spike)
    return reset(u, s, threshold=threshold, detach=detach_reset), s


def clif_reset(
    u: Float[Array, "*N"],
    m: Float[Array, "*N"],
    s: Float[Array, "*N"],
    *,
    tau: float,
    threshold: float,
    detach: bool = False,
) -> tuple[Array, Array]:
    """Return CLIF's membrane u - s (threshold + sigmoid(m')) and m' = m sigmoid(u / tau) + s."""
    # m is updated before the reset, which therefore is deeper after this very spike. `detach`
    # leaves the path from s through m to the reset.
    m = m * jax.nn.sigmoid(u / tau) + s
    taken = jax.lax.stop_gradient(s) if detach else s
    return u - taken * (threshold + jax.nn.sigmoid(m)), m


def clif_fire(
    u: Float[Array, "*N"],
    m: Float[Array, "*N"],
    *,
    tau: float,
    threshold: float,
    spike: Callable[[Array], Array],
    detach_reset: bool,
) -> tuple[Array, Array, Array]:
    """Fire and reset CLIF with its complementary potential m (Huang et al. 2024).

    s = H(u - threshold);  m' = m sigmoid(u / tau) + s;
    (1 - 1/tau) (u - s (threshold + sigmoid(m'))) remains of the membrane.
    """
    s = fire(u, threshold=threshold, spike=spike)
    v, m = clif_reset(u, m, s, tau=tau, threshold=threshold, detach=detach_reset)
    return (1 - 1 / tau) * v, m, s


@set_bounds(tau=at_least(1), spike=FIRING)
def clif_step(
    state: tuple[Array, Array],
    current: Float[Array, "*N"],
    *,
    tau: float = 2.0,
    threshold: float = 1.0,
    spike: Spike = rectangle,
    detach_reset: bool = False,
) -> tuple[tuple[Array, Array], Float[Array, "*N"]]:
    """Return CLIF's state, membrane and complementary potential m, and spikes after one step."""
    if not isinstance(state, tuple | list) or len(state) != 2:
        # One array with a batch of 2 would be taken apart in silence.
        raise ValueError("the state of clif_step must be a pair of arrays, (v, m).")
    v, m = state
    u = charge(v, current, decay=1 - 1 / tau)
    s = fire(u, threshold=threshold, spike=spike)
    return clif_reset(u, m, s, tau=tau, threshold=threshold, detach=detach_reset), s


def glif_fire(
    u: Float[Array, "*N C"],
    decay: Float[Array, " C"],
    gate: Float[Array, " C"],
    drop: Float[Array, " C"],
    threshold: Float[Array, " C"],
    *,
    spike: Callable[[Array], Array],
) -> tuple[Array, Array]:
    """Fire and reset GLIF: decay u (1 - gate s) - drop s remains (Yao et al. 2022, Eq. 9)."""
    decay, gate, drop, threshold = (prepend_axes(x, u.ndim) for x in (decay, gate, drop, threshold))
    # It fires at the threshold too, H(0) = 1; the authors' code needs a membrane above it.
    s = spike(u - threshold)
    return decay * u * (1 - gate * s) - drop * s, s


def ternary_step(
    v: Float[Array, "*N"],
    current: Float[Array, "*N"],
    *,
    decay: float = 0.25,
    threshold: float = 1.0,
    detach_reset: bool = False,
) -> tuple[Float[Array, "*N"], Float[Array, "*N"]]:
    """Return membrane and spikes -1, 0 and 1 of a ternary neuron after one step."""
    u = charge(v, current, decay=decay)
    s = ternary_spike(u / threshold)
    return hard_reset(u, s * jnp.sign(s), detach=detach_reset), s


def ilif_step(
    v: Float[Array, "*N"],
    current: Float[Array, "*N"],
    *,
    levels: int = 4,
    decay: float = 0.5,
    detach_reset: bool = False,
    decay_input: bool = False,
) -> tuple[Float[Array, "*N"], Float[Array, "*N"]]:
    """Return membrane and integers 0..levels of an I-LIF neuron after one step (Eqs. 8, 9, 11)."""
    u = charge(v, current, decay=decay, decay_input=decay_input)
    s = clipped_round(u, levels)
    return soft_reset(u, s, detach=detach_reset), s


@set_bounds(reset=RESET)
def pit_step(
    v: Float[Array, "*N"],
    current: Float[Array, "*N"],
    a: Float[ArrayLike, "..."],
    *,
    levels: int = 4,
    decay: float = 0.5,
    strength: float = 0.01,
    reset: Reset = soft_reset,
    detach_reset: bool = False,
    decay_input: bool = False,
) -> tuple[Float[Array, "*N"], Float[Array, "*N"]]:
    """Return membrane and spikes a * k of a PIT neuron after one step (Eqs. 9-13).

    `a` > 0 is the scale of this step, which broadcasts as in `pit_fire`. The module PIT also keeps
    it above a floor. `reset` is `soft_reset` or `clearing_reset`, which `hard_reset` means too.
    """
    # hard_reset is u (1 - s), which is 0 for s = 1, but not for a scaled spike s = a k.
    reset = clearing_reset if reset is hard_reset else reset
    u = charge(v, current, decay=decay, decay_input=decay_input)
    s = pit_fire(u, a, levels=levels, strength=strength)
    return reset(u, s, detach=detach_reset), s


def qb_lif_step(
    v: Float[Array, "*N"],
    current: Float[Array, "*N"],
    a: Float[ArrayLike, "..."],
    *,
    levels: int = 4,
    decay: float = 0.5,
    detach_reset: bool = False,
    decay_input: bool = False,
) -> tuple[Float[Array, "*N"], Float[Array, "*N"]]:
    """Return membrane and spikes a * k of a QB-LIF neuron after one step; `a` > 0 is the scale."""
    u = charge(v, current, decay=decay, decay_input=decay_input)
    s = qb_lif_fire(u, jnp.asarray(a), levels=levels)
    return soft_reset(u, s, detach=detach_reset), s


@set_bounds(a=POSITIVE, levels=LEVELS)
def qb_lif_fire(u: Float[Array, "*N"], a: Float[Array, "..."], *, levels: int) -> Array:
    """Return a * clip(round(u / a), 0, levels), as `pit_fire` does, with QB-LIF's gradient.

    The surrogate gradient is defined by `tailed_round`, for `u` and for `a`:
    ds/du = J and ds/da = k - (u / a) J, with J = 1 for 0 <= u/a <= levels, else exp(-distance / a).
    """
    return prepend_axes(a, u.ndim) * tailed_round(quotient(u, a), levels)


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
    # Above the window k is D: only a larger scale could make the spike larger. With `where` last
    # XLA sums one array; a product of g and k - where(...) keeps two from the forward pass.
    count = pit_count(u, a, levels=levels)
    grad_a = jnp.where(window, g * (count - x), g * count)  # Eq. 32
    # Sum over the axes over which `a` was broadcast.
    wide = prepend_axes(a, u.ndim).shape
    axes = tuple(axis for axis, size in enumerate(wide) if size == 1)
    grad_a = jnp.sum(grad_a, axes).reshape(a.shape).astype(a.dtype)
    return grad_u, grad_a


_pit_fire.defvjp(_pit_fire_forward, _pit_fire_backward)


serve_old_names(__name__)
