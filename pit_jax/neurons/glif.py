"""GLIF: a leaky neuron that learns which of its mechanisms to use."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax import surrogate
from pit_jax.checks.bounds import FIRING, inside, set_bounds, whole
from pit_jax.neurons.over_time import CHECKPOINTS, align
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import narrow, read_currents, weigh, widen
from pit_jax.neurons.state import Outputs, begin, finish, match_rows, run_neuron, take_rows
from pit_jax.neurons.step import glif_fire, prepend_axes


@set_bounds(
    decay=inside(0, 1),
    threshold=inside(0, 1),
    leak=inside(0, 1),
    reset=inside(0, 1),
    conductance=inside(0, 1),
    spike=FIRING,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class GLIF(nn.Module):
    """A gated LIF neuron (Yao et al. 2022): `[B, T, ..., C]` currents to spikes 0 and 1.

    Every channel learns (7 + T) values through a sigmoid: three gates, between two forms each of
    leak, input and reset; the time constants and potentials of these forms; and one conductance
    per step. The gates start within 0.025 of 1/2.

    Args:
        decay: the initial decay of the exponential leak, between 0 and 1.
        threshold: the initial threshold, between 0 and 1.
        leak: the initial potential of the linear leak, between 0 and 1.
        reset: the initial potential that a soft reset subtracts, between 0 and 1.
        conductance: the initial conductance of each step, between 0 and 1.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about √T.
    """

    decay: float = 0.25
    threshold: float = 0.5
    leak: float = 0.0625
    reset: float = 0.5
    conductance: float = 0.5
    spike: Callable[[Array], Array] = surrogate.rectangle
    # Its four parameters are sums over neurons, and straight code computes all steps for each sum:
    # 4 steps of ResNet18 compile in 21 CPU seconds instead of 9.
    unroll: int = 1
    checkpoint_every: int | None = None

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_currents(current)
        state = begin(self, current, initial_state, return_state, "membrane", "steps")
        rows = match_rows(self, current, state, "conductance_logit").shape[1]
        steps, channels = current.shape[1], current.shape[-1]
        dtype = widen(current.dtype)

        def make_parameter(name: str, start: float, *shape: int) -> Array:
            logit = math.log(start / (1 - start))  # The inverse of the sigmoid below.
            return jax.nn.sigmoid(
                self.param(name, nn.initializers.constant(logit), (*shape, channels), dtype)
            )

        def gate(name: str) -> Array:
            return jax.nn.sigmoid(self.param(name, _near_zero, (channels,), dtype))

        leak_gate, input_gate, reset_gate = map(gate, ("leak_gate", "input_gate", "reset_gate"))
        decay = make_parameter("decay_logit", self.decay)
        leak = make_parameter("leak_logit", self.leak)
        reset = make_parameter("reset_logit", self.reset)
        threshold = make_parameter("threshold_logit", self.threshold)
        conductance = make_parameter("conductance_logit", self.conductance, rows)
        conductance = take_rows(conductance, state, steps)
        # The part of a charge that does not depend on the neuron: weighted currents and the leak.
        weight = align(1 - input_gate[None] * (1 - conductance), current.ndim)
        x = weigh(current, weight) - prepend_axes((1 - leak_gate) * leak, current.ndim)
        u, s, after = run_neuron(
            self,
            partial(glif_fire, spike=self.spike),
            x,
            state,
            shared=[
                1 - leak_gate * (1 - decay),
                reset_gate,
                (1 - reset_gate) * reset,
                threshold,
            ],
        )
        record(self, u, s, levels=1)
        if state is not None:  # A membrane of NaN fires 0, which must not pass for a spike train.
            s = jnp.where(jnp.isnan(align(conductance, s.ndim)), jnp.nan, s)
        return finish(narrow(s, current), after, return_state)


# sigmoid(x) is 1/2 + x/4 near 0, so these gates start within 0.025 of 1/2.
def _near_zero(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    return jax.random.uniform(key, shape, dtype, -0.1, 0.1)
