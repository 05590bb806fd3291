"""ReLU with the interface of a neuron, for ordinary networks to compare spiking ones with."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax.checks.arrays import read_array
from pit_jax.neurons.state import Outputs, begin, finish


class ReLU(nn.Module):
    """A ReLU, max(x, 0) at every step, without a membrane."""

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_array("the currents of a neuron", current)
        state = begin(self, current, initial_state, return_state)
        return finish(nn.relu(current), state, return_state)
