"""How PIT's scale is parametrized: functions `(neuron, first_batch, current) -> a`.

`first_batch(current)` returns the initial scale, `[T, C]` or `[C]`. The function creates the
neuron's parameters from it and returns the scale to fire with, before the floor.
`PARAMETRIZATIONS` has these functions under the names that a config uses.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.initializers import SCALE_FLOOR, refuse_nonfinite_scales, warn_of_floored_scales
from pit_jax.neurons.scan import run_over_time
from pit_jax.old_names import serve_old_names

FirstBatch = Callable[[Array], Array]


@jax.custom_vjp
def apply_floor(a: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Return max(a, 1e-3), with the identity's gradient, so that a scale can leave the floor."""
    return jnp.maximum(a, SCALE_FLOOR)


# The gradient of jnp.maximum is 0 below the floor: such a scale would stay there forever.
apply_floor.defvjp(lambda a: (jnp.maximum(a, SCALE_FLOOR), None), lambda _, g: (g,))


def read_scale(neuron: nn.Module, u: Float[Array, "*BNC"]) -> Float[Array, " C"]:
    """Return the scale that `scale_init` computes from membranes `u`, at least the floor."""
    return apply_floor(neuron.scale_init(u, levels=neuron.levels))


def check_start(neuron: nn.Module, a: Float[Array, "*TC"]) -> Float[Array, "*TC"]:
    """Return the initial scale; raise ValueError if it is not finite, warn if it is at the floor.

    Under `jit` values are unknown, and nothing is checked.
    """
    if not isinstance(a, jax.core.Tracer):
        scales = {"/".join((*neuron.path, "a")): a}
        refuse_nonfinite_scales(scales)
        warn_of_floored_scales(scales)
    return a


def start_scale(
    neuron: nn.Module,
    current: Float[Array, "*BTNC"],
    *,
    charge: Callable[[Array, Array], Array],
    fire: Callable[[Array, Array], Array],
    reset: Callable[[Array, Array], Array],
) -> Float[Array, "T C"]:
    """Return the initial scale of every step: initialize a step, let it fire and reset, continue.

    Raises ValueError for scales that are not finite, and warns of channels at the floor, except
    under `jit`, where values are unknown.
    """

    def step(v: Array, current: Array) -> tuple[Array, Array]:
        u = charge(v, current)
        a = read_scale(neuron, u)
        return reset(u, fire(u, a)), a[None]  # One row: the batch shares it.

    # The loop returns [B, T, C] with B = 1, see above.
    return check_start(neuron, run_over_time(step, current, unroll=neuron.unroll)[0])


def scale_gradient(a: Float[Array, "*N"], factor: float) -> Float[Array, "*N"]:
    """Return `a` unchanged, with its gradient multiplied by `factor`."""
    # a + (a - a) * factor is exactly a; a * factor + stop_gradient(a * (1 - factor)) would round.
    return jax.lax.stop_gradient(a) + (a - jax.lax.stop_gradient(a)) * factor


def per_channel(neuron: nn.Module, first_batch: FirstBatch, current: Array) -> Array:
    """Learn every value of the parameter `a`, as in the paper (Eq. 32)."""
    return neuron.param("a", lambda key: first_batch(current))


def lsq(neuron: nn.Module, first_batch: FirstBatch, current: Array) -> Array:
    """Learn `per_channel` with LSQ's gradient factor 1 / sqrt(N * levels) (Esser et al. 2020).

    N is the number of membranes that share one scale.
    """
    a = per_channel(neuron, first_batch, current)
    return scale_gradient(a, 1 / math.sqrt(current.size / a.size * neuron.levels))


def released(neuron: nn.Module, first_batch: FirstBatch, current: Array) -> Array:
    """Learn one factor `p` per step of a constant vector `alpha`, as the released code does.

    `p` starts at 1, and its gradient is halved; `alpha` has no gradient.
    """
    # A parameter although it is constant: it is saved, and the published size of VGG11 counts it.
    alpha = jax.lax.stop_gradient(neuron.param("alpha", lambda key: first_batch(current)))
    # One factor per step, `[T, 1]`; QAT has no time axis, so there it is `[1]`.
    p = neuron.param("p", lambda key: jnp.ones((*alpha.shape[:-1], 1), alpha.dtype))
    return alpha * scale_gradient(p, 0.5)


PARAMETRIZATIONS: dict[str, Callable[..., Array]] = {
    "per_channel": per_channel,
    "lsq": lsq,
    "released": released,
}


serve_old_names(__name__)
