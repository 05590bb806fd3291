"""PIT: integers fired through a learned, invertible scale.

The equations of a step and the gradient (Eqs. 30 and 32) are in step.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax.checks.bounds import (
    DECAY,
    LEVELS,
    NOT_NEGATIVE,
    RESET,
    SCALE_INIT,
    flag,
    function,
    set_bounds,
    whole,
)
from pit_jax.initializers import three_sigma
from pit_jax.neurons.over_time import CHECKPOINTS, align
from pit_jax.neurons.probe import record
from pit_jax.neurons.scale import apply_floor, per_channel, start_scale
from pit_jax.neurons.scan import narrow, read_currents, weigh
from pit_jax.neurons.state import Outputs, begin, finish, match_rows, run_neuron, take_rows
from pit_jax.neurons.step import (
    charge,
    clearing_reset,
    hard_reset,
    pit_count,
    pit_fire,
    quotient,
    soft_reset,
)
from pit_jax.old_names import accept_old_fields


@accept_old_fields
@set_bounds(
    levels=LEVELS,
    decay=DECAY,
    strength=NOT_NEGATIVE,
    reset=RESET,
    detach_reset=flag,
    decay_input=flag,
    scale_init=SCALE_INIT,
    parametrize=function(),
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class PIT(nn.Module):
    """An integer LIF neuron with a learned scale (Eqs. 9-13): currents `[B, T, ..., C]` to spikes
    a_t * k.

    The parameter `a` `[T, C]` is initialized from the first batch: `scale_init` (Eq. 12) sees the
    membranes of step t after the earlier steps have fired with their initial scales. With
    `detach_reset` False, as in the paper's equations, dv/du is about 0 inside the window; see
    docs/theory/decisions.md. `hard_reset` works for binary spikes only: `PIT` replaces it with
    `clearing_reset`, so that the membrane is 0 wherever it fires. Raises ValueError when
    `levels` < 1, and when `a` and the input differ in T or C; a single row, T = 1, is used at every
    step of any input.

    Args:
        levels: the largest integer that it fires (D); 1 makes its spikes binary.
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        strength: the strength of the rectified gradient (lambda of Eq. 13).
        reset: how a spike resets the membrane, one of neurons.step.RESETS: soft, hard or clearing;
            hard means clearing.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        decay_input: multiply the input current by 1 - decay.
        scale_init: the initializer of the scale, one of initializers.SCALE_INITS: three_sigma,
            released, covering, min_max, lsq or ones.
        parametrize: how the scale is learned, one of neurons.scale.PARAMETRIZATIONS: per_channel,
            lsq or released.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    levels: int = 4
    decay: float = 0.5
    strength: float = 0.01
    reset: Callable[..., Array] = soft_reset
    detach_reset: bool = False
    decay_input: bool = False
    scale_init: Callable[..., Array] = three_sigma
    parametrize: Callable[..., Array] = per_channel
    unroll: int = 4
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        # hard_reset is u (1 - s), which is 0 for s = 1, but not for a scaled spike s = a k.
        if self.reset is hard_reset:
            self.reset = clearing_reset
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_currents(current)
        state = begin(self, current, initial_state, return_state, "membrane", "steps")
        # Before Flax's own shape error, which does not name T and C.
        like = match_rows(self, current, state, "a", "alpha")
        spike = partial(pit_fire, levels=self.levels, strength=self.strength)
        reset = partial(self.reset, detach=self.detach_reset)
        # Flax calls it in initialization only, when the parameter has no value yet.
        leak = partial(charge, decay=self.decay, decay_input=self.decay_input)
        first_batch = partial(start_scale, self, charge=leak, fire=spike, reset=reset)
        # The floor is applied where the scale is used. The parameter itself may be below it.
        a = apply_floor(self.parametrize(self, first_batch, like))
        a = take_rows(a, state, current.shape[1])

        def fire(u: Array, a: Array) -> tuple[Array, Array]:
            s = spike(u, a)
            return self.decay * reset(u, s), s

        x = weigh(current, 1 - self.decay) if self.decay_input else current
        u, s, state = run_neuron(self, fire, x, state, per_step=[a])
        # The count comes from u, since s / a would round; XLA removes both unless probes are
        # requested.
        aligned = align(a, u.ndim)
        rounded, count = quotient(u, aligned), pit_count(u, aligned, levels=self.levels)
        record(self, u, count, self.levels, scale=a, rounded=rounded)
        # Spikes return to the compute dtype; membranes, scales and probes stay float32.
        return finish(narrow(s, current), state, return_state)
