"""PIT with a full matrix (Appendix F): channels mix before they fire and unmix after it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DECAY, LEVELS, NOT_NEGATIVE, SCALE_INIT, flag, set_bounds, whole
from pit_jax.initializers import three_sigma
from pit_jax.neurons.probe import record
from pit_jax.neurons.scale import apply_floor, start_scale
from pit_jax.neurons.scan import narrow, read_currents
from pit_jax.neurons.state import Outputs, begin, finish, match_rows, scan_neuron, take_rows
from pit_jax.neurons.step import charge, pit_fire, prepend_axes, soft_reset
from pit_jax.old_names import serve_old_names
from pit_jax.surrogate import clipped_round

# An accelerator's default precision (TF32, bfloat16) would make A * A^-1 differ from 1 visibly.
matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def factorize(mixing: Float[Array, "C C"]) -> tuple[Array, Array, Array, Array]:
    """Return unit-triangular L and U, made from the triangles of `mixing`, and their inverses."""
    one = jnp.eye(mixing.shape[-1], dtype=mixing.dtype)
    lower, upper = one + jnp.tril(mixing, -1), one + jnp.triu(mixing, 1)
    # Solve for the identity, not for the membranes, which would gather a sharded batch.
    inverse = partial(solve_triangular, b=one, unit_diagonal=True)
    return lower, upper, inverse(lower, lower=True), inverse(upper, lower=False)


def unmix(
    u: Float[Array, "*N C"],
    a: Float[Array, " C"],
    lower_inverse: Float[Array, "C C"],
    upper_inverse: Float[Array, "C C"],
) -> Float[Array, "*N C"]:
    """Return A^-1 u = U^-1 diag(1/a) L^-1 u, from the inverses of L and U."""
    # Channels are the last axis, so M u is u @ M.T.
    return matmul(matmul(u, lower_inverse.T) * prepend_axes(1 / a, u.ndim), upper_inverse.T)


def full_fire(
    u: Float[Array, "*N C"],
    a: Float[Array, " C"],
    factors: tuple[Array, ...],
    *,
    levels: int,
    strength: float,
) -> tuple[Float[Array, "*N C"], Float[Array, "*N C"]]:
    """Return spikes s = A k and counts k = clip(round(A^-1 u), 0, levels), with A = L diag(a) U.

    For the gradient, s is A (k_0 + J (A^-1 u - x_0)), where k_0, x_0 and J are constants, the
    values at the current point. As in Eqs. 30 and 32, J is the mask of Eq. 28 on the path through
    A^-1, and the mask times the factor of Eq. 13 on the path through u.
    """
    lower, upper, lower_inverse, upper_inverse = factors
    hold = jax.lax.stop_gradient
    inverse = (a, lower_inverse, upper_inverse)
    # The two paths need two surrogates, so round once per path, with the other path held: `k` has
    # the gradient for u, and `k_of_inverse`, the same number, only adds its gradient for A^-1.
    k = clipped_round(unmix(u, *hold(inverse)), levels, strength)
    k_of_inverse = clipped_round(unmix(hold(u), *inverse), levels)
    k = k + (k_of_inverse - hold(k_of_inverse))
    return matmul(matmul(k, upper.T) * prepend_axes(a, u.ndim), lower.T), k


@set_bounds(
    levels=LEVELS,
    decay=DECAY,
    strength=NOT_NEGATIVE,
    detach_reset=flag,
    decay_input=flag,
    scale_init=SCALE_INIT,
    unroll=whole(1),
)
class PITFull(nn.Module):
    """`PIT` with a full invertible matrix per step: currents `[B, T, ..., C]` to spikes A_t * k.

    A_t = L diag(a) U has the learned scale `a` `[T, C]` of `PIT` and the parameter `mixing`
    `[T, C, C]`: its lower triangle is L below the diagonal, its upper triangle U above it, and its
    diagonal is not used. `mixing` starts at 0, where this neuron equals `PIT`. The inverse exists
    for every a > 0. Raises ValueError as `PIT` does.

    Args:
        levels: the largest integer that it fires (D); 1 makes its spikes binary.
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        strength: the strength of the rectified gradient (lambda of Eq. 13).
        detach_reset: stop the gradient through the spikes that reset the membrane.
        decay_input: multiply the input current by 1 - decay.
        scale_init: the initializer of the scale, one of initializers.SCALE_INITS: three_sigma,
            released, covering, min_max, lsq or ones.
        unroll: time steps to unroll in one iteration of the compiled loop.
    """

    levels: int = 4
    decay: float = 0.5
    strength: float = 0.01
    detach_reset: bool = False
    decay_input: bool = False
    scale_init: Callable[..., Array] = three_sigma
    unroll: int = 4

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_currents(current)
        state = begin(self, current, initial_state, return_state, "membrane", "steps")
        like = match_rows(self, current, state, "a")
        leak = partial(charge, decay=self.decay, decay_input=self.decay_input)
        reset = partial(soft_reset, detach=self.detach_reset)
        scale = self.param(
            # `mixing` starts at 0, so the diagonal `pit_fire` fires this neuron's own first spikes.
            "a",
            lambda key: start_scale(
                self, like, charge=leak, fire=partial(pit_fire, levels=self.levels), reset=reset
            ),
        )
        rows, channels = scale.shape
        mixing = self.param(
            "mixing", nn.initializers.zeros, (rows, channels, channels), scale.dtype
        )

        def step(
            v: Array, current: Array, a: Array, *factors: Array
        ) -> tuple[Array, tuple[Array, ...]]:
            u = leak(v, current)
            s, k = full_fire(u, a, factors, levels=self.levels, strength=self.strength)
            return reset(u, s), (u, k, s)

        # All steps at once and outside of the loop, where the solves would run one after another.
        a, *factors = (
            take_rows(of_all_steps, state, current.shape[1])
            for of_all_steps in (apply_floor(scale), *jax.vmap(factorize)(mixing))
        )
        (u, count, s), state = scan_neuron(self, step, current, state, a, *factors)
        rounded = jax.vmap(unmix, in_axes=(1, 0, 0, 0), out_axes=1)(u, a, *factors[2:])
        record(self, u, count, self.levels, scale=a, rounded=rounded)
        return finish(narrow(s, current), state, return_state)


serve_old_names(__name__)
