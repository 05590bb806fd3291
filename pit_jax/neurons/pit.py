"""PIT: integers fired through a learned, invertible scale."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.init import SCALE_FLOOR, three_sigma, warn_of_floored_scales
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import over_time
from pit_jax.neurons.step import charge, check_levels, pit_count, pit_fire, soft_reset


@jax.custom_vjp
def positive(a: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """max(a, 1e-3); the floor lets the whole gradient through, so that a scale can come back."""
    return jnp.maximum(a, SCALE_FLOOR)


positive.defvjp(lambda a: (jnp.maximum(a, SCALE_FLOOR), None), lambda _, g: (g,))


class PIT(nn.Module):
    """Integer LIF with a learned scale (Eqs. 9-13): currents `[B, T, ..., C]` to spikes a_t * k.

    The parameter `a` `[T, C]` starts from the first batch: `scale_init` (Eq. 12) reads the
    membranes of step t after the steps before it have fired with theirs. `strength` is the lambda
    of Eq. 13. With `detach_reset` False, as in the paper's equations, dv/du is about 0 inside the
    window; see docs/decisions.md. Raises ValueError when `levels` < 1, or when the input has
    another number of steps or channels than `a`.
    """

    levels: int = 4
    decay: float = 0.5
    strength: float = 0.01
    detach_reset: bool = False
    decay_input: bool = False
    scale_init: Callable[..., Array] = three_sigma
    unroll: int = 4

    def __post_init__(self) -> None:
        check_levels(self.levels)
        super().__post_init__()

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        if current.ndim >= 3 and self.has_variable("params", "a"):
            self._check_fits(current)
        a = positive(self.param("a", self._first_batch_scale, current))

        def step(v: Array, current: Array, a: Array) -> tuple[Array, tuple[Array, ...]]:
            u = self._charge(v, current)
            s = self._fire(u, a)
            count = pit_count(u, a, levels=self.levels)
            return soft_reset(u, s, detach=self.detach_reset), (u, count, s)

        u, count, s = over_time(step, current, a, unroll=self.unroll)
        record(self, u, count, self.levels)
        return s.astype(current.dtype)

    def _charge(self, v: Array, current: Array) -> Array:
        return charge(v, current, decay=self.decay, decay_input=self.decay_input)

    def _fire(self, u: Array, a: Array) -> Array:
        return pit_fire(u, a, levels=self.levels, strength=self.strength)

    def _first_batch_scale(self, key: Array, current: Array) -> Array:
        del key

        def step(v: Array, current: Array) -> tuple[Array, Array]:
            u = self._charge(v, current)
            a = positive(self.scale_init(u, levels=self.levels))
            return soft_reset(u, self._fire(u, a)), a[None]  # One row: the batch shares it.

        a = over_time(step, current, unroll=self.unroll)[0]
        if not isinstance(a, jax.core.Tracer):
            warn_of_floored_scales({"/".join((*self.path, "a")): a})
        return a

    def _check_fits(self, current: Array) -> None:
        steps, channels = jnp.shape(self.get_variable("params", "a"))
        if current.shape[1] != steps or current.shape[-1] != channels:
            raise ValueError(
                f"the scale a of {self.name or type(self).__name__} is for T={steps} steps and "
                f"C={channels} channels, but the input {current.shape} has T={current.shape[1]} "
                f"and C={current.shape[-1]}; initialise again, or feed as many steps as before."
            )
