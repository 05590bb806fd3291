"""CLIF: a leaky neuron with a second, complementary potential."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax import surrogate
from pit_jax.checks.bounds import FIRING, POSITIVE, at_least, flag, set_bounds, whole
from pit_jax.neurons.over_time import CHECKPOINTS
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import narrow, read_currents
from pit_jax.neurons.state import Outputs, begin, finish, run_neuron
from pit_jax.neurons.step import clif_fire


@set_bounds(
    tau=at_least(1),
    threshold=POSITIVE,
    spike=FIRING,
    detach_reset=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class CLIF(nn.Module):
    """A complementary LIF neuron (Huang et al. 2024): `[B, T, ..., C]` currents to spikes 0 and 1.

    A second potential m, which decays slowly and grows with every spike, deepens the soft reset to
    threshold + sigmoid(m).

    Args:
        tau: the time constant of the membrane in steps; its decay is 1 - 1 / tau.
        threshold: the membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    tau: float = 2.0
    threshold: float = 1.0
    spike: Callable[[Array], Array] = surrogate.rectangle
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
        state = begin(self, current, initial_state, return_state, "membrane", "potential")
        fire = partial(
            clif_fire,
            tau=self.tau,
            threshold=self.threshold,
            spike=self.spike,
            detach_reset=self.detach_reset,
        )
        u, s, state = run_neuron(self, fire, current, state, extra=1)
        record(self, u, s, levels=1)
        return finish(narrow(s, current), state, return_state)
