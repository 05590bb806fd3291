"""ReLU with the interface of a neuron, for ordinary networks to compare spiking ones with."""

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax.checks.arrays import read_array


class ReLU(nn.Module):
    """A ReLU, max(x, 0) at every step, without a membrane."""

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        return nn.relu(read_array("the currents of a neuron", current))
