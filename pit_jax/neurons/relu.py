"""The twin of a spiking neuron in an ordinary network."""

import flax.linen as nn
from jaxtyping import Array, Float


class ReLU(nn.Module):
    """max(x, 0) at every step, without a membrane: what a spiking network is compared with."""

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        return nn.relu(current)
