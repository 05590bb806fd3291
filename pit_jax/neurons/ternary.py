"""Neurons that fire -1, 0 or 1, with and without a learned amplitude."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DECAY, POSITIVE, flag, set_bounds, whole
from pit_jax.neurons.over_time import CHECKPOINTS
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import narrow, read_currents, widen
from pit_jax.neurons.state import Outputs, begin, finish, run_inner, run_neuron
from pit_jax.neurons.step import hard_reset
from pit_jax.surrogate import ternary_spike


@set_bounds(
    decay=DECAY,
    threshold=POSITIVE,
    detach_reset=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class Ternary(nn.Module):
    """A ternary neuron (Guo et al. 2024): `[B, T, ..., C]` currents to spikes -1, 0 and 1.

    s = sign(u) where |u| >= threshold / 2; any spike resets the membrane to 0.

    Args:
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        threshold: it fires where |u| is at least half of this.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    decay: float = 0.25
    threshold: float = 1.0
    detach_reset: bool = False
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
            s = ternary_spike(u / self.threshold)  # It fires from 1/2 on.
            # |s|, with the gradient 0 at s = 0. jnp.abs has the gradient 1 there, which would let
            # membranes that do not fire learn through the reset.
            fired = s * jnp.sign(s)
            return self.decay * hard_reset(u, fired, detach=self.detach_reset), s

        u, s, state = run_neuron(self, fire, current, state)
        record(self, u, s, levels=1)
        return finish(narrow(s, current), state, return_state)


@set_bounds(
    decay=DECAY,
    threshold=POSITIVE,
    detach_reset=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class TrainableTernary(nn.Module):
    """A `Ternary` neuron that sends -alpha, 0 or alpha, with one learned alpha per layer.

    `alpha` starts at 1 and can be folded into the next layer's weights after training.

    Args:
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        threshold: it fires where |u| is at least half of this.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    decay: float = 0.25
    threshold: float = 1.0
    detach_reset: bool = False
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
        neuron = Ternary(
            self.decay,
            self.threshold,
            self.detach_reset,
            self.unroll,
            self.checkpoint_every,
            name="ternary",
        )
        spikes, state = run_inner(neuron, current, state)
        alpha = self.param("alpha", nn.initializers.ones, (), widen(current.dtype))
        spikes = alpha.astype(spikes.dtype) * spikes
        return finish(spikes, state, return_state)
