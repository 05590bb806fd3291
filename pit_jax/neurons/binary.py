"""Neurons that fire 0 or 1 from one membrane: IF, LIF and PLIF, and RealSpike with an amplitude."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from pit_jax import surrogate
from pit_jax.checks.bounds import DECAY, FIRING, POSITIVE, RESET, flag, more_than, set_bounds, whole
from pit_jax.neurons.over_time import CHECKPOINTS
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import narrow, read_currents, weigh, widen
from pit_jax.neurons.state import Outputs, begin, finish, run_inner, run_neuron
from pit_jax.neurons.step import Reset, Spike, hard_reset, lif_fire, prepend_axes, soft_reset


@set_bounds(
    decay=DECAY,
    threshold=POSITIVE,
    spike=FIRING,
    reset=RESET,
    detach_reset=flag,
    decay_input=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
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
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    decay: float = 0.5
    threshold: float = 1.0
    spike: Spike = surrogate.rectangle
    reset: Reset = soft_reset
    detach_reset: bool = False
    decay_input: bool = False
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
        fire = partial(
            lif_fire,
            decay=self.decay,
            threshold=self.threshold,
            spike=self.spike,
            reset=self.reset,
            detach_reset=self.detach_reset,
        )
        x = weigh(current, 1 - self.decay) if self.decay_input else current
        u, s, state = run_neuron(self, fire, x, state)
        record(self, u, s, levels=1)
        return finish(narrow(s, current), state, return_state)


@set_bounds(
    threshold=POSITIVE,
    spike=FIRING,
    reset=RESET,
    detach_reset=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class IF(nn.Module):
    """An integrate-and-fire neuron, as in SEW ResNet (Fang et al. 2021): LIF without leak.

    The defaults are SEW's: hard reset without its gradient, arctangent surrogate.

    Args:
        threshold: the membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        reset: how a spike resets the membrane, one of neurons.step.RESETS: soft, hard or clearing.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    threshold: float = 1.0
    spike: Spike = surrogate.arctan
    reset: Reset = hard_reset
    detach_reset: bool = True
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
        fire = partial(
            lif_fire,
            decay=1.0,
            threshold=self.threshold,
            spike=self.spike,
            reset=self.reset,
            detach_reset=self.detach_reset,
        )
        u, s, state = run_neuron(self, fire, current, state)
        record(self, u, s, levels=1)
        return finish(narrow(s, current), state, return_state)


@set_bounds(
    tau=more_than(1, "; 2 halves the membrane each step"),
    threshold=POSITIVE,
    spike=FIRING,
    reset=RESET,
    detach_reset=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
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
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    tau: float = 2.0
    threshold: float = 1.0
    spike: Spike = surrogate.arctan
    reset: Reset = hard_reset
    detach_reset: bool = True
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
        # sigmoid(-ln(tau - 1)) = 1 / tau.
        start = nn.initializers.constant(-math.log(self.tau - 1))
        w = self.param("w", start, (), widen(current.dtype))
        share = jax.nn.sigmoid(w)
        fire = partial(
            lif_fire,
            threshold=self.threshold,
            spike=self.spike,
            reset=self.reset,
            detach_reset=self.detach_reset,
        )
        x = weigh(current, share)
        u, s, state = run_neuron(self, fire, x, state, shared=[1 - share])
        record(self, u, s, levels=1)
        return finish(narrow(s, current), state, return_state)


@set_bounds(
    threshold=POSITIVE,
    spike=FIRING,
    reset=RESET,
    detach_reset=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class RealSpike(nn.Module):
    """An `IF` neuron that sends 0 or a learned amplitude per channel (Guo et al. 2022c).

    Membrane and reset use spikes of 0 and 1. The parameter `amplitude` `[C]` starts at 1, is the
    same at every step, and can be folded into the next layer's weights after training.

    Args:
        threshold: the membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        reset: how a spike resets the membrane, one of neurons.step.RESETS: soft, hard or clearing.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    threshold: float = 1.0
    spike: Spike = surrogate.arctan
    reset: Reset = hard_reset
    detach_reset: bool = True
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
        neuron = IF(
            self.threshold,
            self.spike,
            self.reset,
            self.detach_reset,
            self.unroll,
            self.checkpoint_every,
            name="binary",
        )
        spikes, state = run_inner(neuron, current, state)
        dtype = widen(current.dtype)
        a = self.param("amplitude", nn.initializers.ones, (current.shape[-1],), dtype)
        spikes = prepend_axes(a, spikes.ndim).astype(spikes.dtype) * spikes
        return finish(spikes, state, return_state)
