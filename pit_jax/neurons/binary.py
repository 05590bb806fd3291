"""Neurons that fire 0 or 1 from one membrane: IF, LIF and PLIF."""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from pit_jax import surrogate
from pit_jax.checks.bounds import DECAY, FIRING, POSITIVE, RESET, flag, more_than, set_bounds, whole
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import narrow, read_currents, run_over_time, widen
from pit_jax.neurons.step import hard_reset, lif_step, soft_reset

Reset = Callable[..., Array]
Spike = Callable[[Array], Array]


@set_bounds(
    decay=DECAY,
    threshold=POSITIVE,
    spike=FIRING,
    reset=RESET,
    detach_reset=flag,
    decay_input=flag,
    unroll=whole(1),
)
class LIF(nn.Module):
    """A leaky integrate-and-fire neuron (Eqs. 1-3): `[B, T, ..., C]` currents to spikes 0 and 1.

    The defaults are the paper's baseline on CIFAR (Huang et al. 2024): decay 1/2, soft reset with
    its gradient, rectangular surrogate.

    Args:
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        threshold: the membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        reset: how a spike resets the membrane, one of neurons.step.RESETS: soft, hard or clearing.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        decay_input: multiply the input current by 1 - decay.
        unroll: time steps to unroll in one iteration of the compiled loop.
    """

    decay: float = 0.5
    threshold: float = 1.0
    spike: Spike = surrogate.rectangle
    reset: Reset = soft_reset
    detach_reset: bool = False
    decay_input: bool = False
    unroll: int = 4

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        current = read_currents(current)
        step = partial(
            lif_step,
            decay=self.decay,
            threshold=self.threshold,
            spike=self.spike,
            reset=self.reset,
            detach_reset=self.detach_reset,
            decay_input=self.decay_input,
        )
        u, s = run_over_time(step, current, unroll=self.unroll)
        record(self, u, s, levels=1)
        return narrow(s, current)


@set_bounds(threshold=POSITIVE, spike=FIRING, reset=RESET, detach_reset=flag, unroll=whole(1))
class IF(nn.Module):
    """An integrate-and-fire neuron, as in SEW ResNet (Fang et al. 2021): LIF without leak.

    The defaults are SEW's: hard reset without its gradient, arctangent surrogate.

    Args:
        threshold: the membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        reset: how a spike resets the membrane, one of neurons.step.RESETS: soft, hard or clearing.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: time steps to unroll in one iteration of the compiled loop.
    """

    threshold: float = 1.0
    spike: Spike = surrogate.arctan
    reset: Reset = hard_reset
    detach_reset: bool = True
    unroll: int = 4

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        current = read_currents(current)
        step = partial(
            lif_step,
            decay=1.0,
            threshold=self.threshold,
            spike=self.spike,
            reset=self.reset,
            detach_reset=self.detach_reset,
        )
        u, s = run_over_time(step, current, unroll=self.unroll)
        record(self, u, s, levels=1)
        return narrow(s, current)


@set_bounds(
    tau=more_than(1, "; 2 halves the membrane each step"),
    threshold=POSITIVE,
    spike=FIRING,
    reset=RESET,
    detach_reset=flag,
    unroll=whole(1),
)
class PLIF(nn.Module):
    """A LIF neuron with a learned decay (Fang et al. 2021b): `[B, T, ..., C]` currents to spikes
    0 and 1.

    u = v + (I - v) sigmoid(w) with one parameter `w` per layer, initially -ln(tau - 1), where the
    time constant is `tau` steps. The defaults are the authors': hard reset without its gradient,
    arctangent surrogate. Raises ValueError unless `tau` > 1.

    Args:
        tau: the initial time constant in steps, more than 1; the initial decay is 1 - 1 / tau.
        threshold: the membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        reset: how a spike resets the membrane, one of neurons.step.RESETS: soft, hard or clearing.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: time steps to unroll in one iteration of the compiled loop.
    """

    tau: float = 2.0
    threshold: float = 1.0
    spike: Spike = surrogate.arctan
    reset: Reset = hard_reset
    detach_reset: bool = True
    unroll: int = 4

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        current = read_currents(current)
        # sigmoid(-ln(tau - 1)) = 1 / tau.
        start = nn.initializers.constant(-math.log(self.tau - 1))
        w = self.param("w", start, (), widen(current.dtype))
        step = partial(
            lif_step,
            # With `decay_input` the current is weighted by 1 - decay = sigmoid(w), as in the
            # equation.
            decay=1 - jax.nn.sigmoid(w),
            threshold=self.threshold,
            spike=self.spike,
            reset=self.reset,
            detach_reset=self.detach_reset,
            decay_input=True,
        )
        u, s = run_over_time(step, current, unroll=self.unroll)
        record(self, u, s, levels=1)
        return narrow(s, current)
