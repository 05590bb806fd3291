"""Integers 0..D without PIT: the neurons I-LIF and QB-LIF, and the quantized activation QAT."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DECAY, LEVELS, SCALE_INIT, flag, function, set_bounds, whole
from pit_jax.initializers import lsq, three_sigma
from pit_jax.neurons.over_time import CHECKPOINTS
from pit_jax.neurons.probe import record
from pit_jax.neurons.scale import apply_floor, check_start, per_channel, read_scale, scale_gradient
from pit_jax.neurons.scan import narrow, read_currents, read_values, weigh, widen
from pit_jax.neurons.state import Outputs, begin, finish, run_neuron
from pit_jax.neurons.step import pit_count, pit_fire, qb_lif_fire, quotient, soft_reset
from pit_jax.old_names import accept_old_fields
from pit_jax.surrogate import clipped_round


@accept_old_fields
@set_bounds(
    levels=LEVELS,
    decay=DECAY,
    detach_reset=flag,
    decay_input=flag,
    normalize=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class ILIF(nn.Module):
    """An integer LIF neuron (Luo et al. 2024; Eqs. 8, 9 and 11): `[B, T, ..., C]` currents to
    integers 0..levels.

    The surrogate gradient is 1 for 0 <= u <= levels and 0 elsewhere. E-SpikeFormer's neuron (Yao et
    al. 2025) is this one with `normalize` and decay 0. Raises ValueError when `levels` < 1.

    Args:
        levels: the largest integer that it fires (D); 1 makes its spikes binary.
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        detach_reset: stop the gradient through the spikes that reset the membrane.
        decay_input: multiply the input current by 1 - decay.
        normalize: divide the output by levels; the reset uses the integers.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    levels: int = 4
    decay: float = 0.5
    detach_reset: bool = False
    decay_input: bool = False
    normalize: bool = False
    unroll: int = 4
    checkpoint_every: int | None = None

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_currents(current)
        state = begin(self, current, initial_state, return_state, "membrane")

        def fire(u: Array) -> tuple[Array, Array]:
            s = clipped_round(u, self.levels)
            return self.decay * soft_reset(u, s, detach=self.detach_reset), s

        x = weigh(current, 1 - self.decay) if self.decay_input else current
        u, s, state = run_neuron(self, fire, x, state)
        record(self, u, s, self.levels, rounded=u)
        # Divide here, not in the loop: the reset subtracts the integer.
        s = narrow(s / self.levels if self.normalize else s, current)
        return finish(s, state, return_state)


@accept_old_fields
@set_bounds(levels=LEVELS, scale_init=SCALE_INIT, parametrize=function())
class QAT(nn.Module):
    """A quantized ReLU, a * clip(round(x / a), 0, levels): `PIT` without membrane or time.

    The scale `a` `[C]` is the same at every step and initialized by `scale_init` from the first
    batch. Its gradient is Eq. 32; the gradient for x is plain straight-through.
    `scale_init=initializers.lsq` with `parametrize=scale.lsq` is LSQ (Esser et al. 2020). Raises
    ValueError when `levels` < 1.

    Args:
        levels: the largest integer of its output (D).
        scale_init: the initializer of the scale, one of initializers.SCALE_INITS: three_sigma,
            released, covering, min_max, lsq or ones.
        parametrize: how the scale is learned, one of neurons.scale.PARAMETRIZATIONS: per_channel,
            lsq or released.
    """

    levels: int = 4
    scale_init: Callable[..., Array] = three_sigma
    parametrize: Callable[..., Array] = per_channel

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_values(current)
        state = begin(self, current, initial_state, return_state)
        x = current.astype(widen(current.dtype))
        # All steps share one scale, so the initializer reads the values of all steps.
        a = apply_floor(self.parametrize(self, lambda x: check_start(self, read_scale(self, x)), x))
        count = pit_count(x, a, levels=self.levels)
        record(self, x, count, self.levels, scale=a, rounded=quotient(x, a))
        # With strength 0 the gradient for x is 1 inside the window.
        s = narrow(pit_fire(x, a, levels=self.levels, strength=0.0), current)
        return finish(s, state, return_state)


@set_bounds(
    levels=LEVELS,
    decay=DECAY,
    detach_reset=flag,
    decay_input=flag,
    scale_init=SCALE_INIT,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class QBLIF(nn.Module):
    """A quantized burst LIF neuron: currents `[B, T, ..., C]` to spikes a * clip(round(u/a), 0, D).

    Our reading of QB-LIF (arXiv 2604.25688), of which only the abstract is known here: one learned
    scale per layer, the parameter `a` `[1]`, which all steps and channels share. Its surrogate
    gradient is 1 inside the window 0 <= u/a <= D and exp(-distance / a) outside, for `u` and for
    `a`; the gradient of `a` is the mean over channels. The decay, the soft reset, this mean and the
    start are ours: `scale_init` reads the currents of the first batch, of all steps together.
    Raises ValueError when `levels` < 1.

    Args:
        levels: the largest integer that it fires (D); 1 makes its spikes binary.
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        detach_reset: stop the gradient through the spikes that reset the membrane.
        decay_input: multiply the input current by 1 - decay.
        scale_init: the initializer of the scale, one of initializers.SCALE_INITS: three_sigma,
            released, covering, min_max, lsq or ones.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    levels: int = 4
    decay: float = 0.5
    detach_reset: bool = False
    decay_input: bool = False
    scale_init: Callable[..., Array] = lsq
    unroll: int = 4
    checkpoint_every: int | None = None

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_currents(current)
        state = begin(self, current, initial_state, return_state, "membrane")
        x = weigh(current, 1.0 - self.decay if self.decay_input else 1.0)
        # The gradient of the single scale is a sum over channels, whose steps can move it to its
        # floor. The mean moves it as much as PIT's scales move on average.
        a = scale_gradient(self.param("a", lambda key: self._start(x)), 1 / x.shape[-1])
        a = apply_floor(a)

        def fire(u: Array, a: Array) -> tuple[Array, Array]:
            s = qb_lif_fire(u, a, levels=self.levels)
            return self.decay * soft_reset(u, s, detach=self.detach_reset), s

        u, s, state = run_neuron(self, fire, x, state, shared=[a])
        count = pit_count(u, a, levels=self.levels)
        record(self, u, count, self.levels, scale=a, rounded=quotient(u, a))
        return finish(narrow(s, current), state, return_state)

    def _start(self, x: Float[Array, "*BTNC"]) -> Float[Array, " 1"]:
        """Return one scale for the currents of all steps and channels, as if they were membranes.

        A scale for all steps cannot start step by step, as PIT's does: the membranes of a later
        step depend on it.
        """
        return check_start(self, read_scale(self, x.reshape(len(x), -1, 1)))
