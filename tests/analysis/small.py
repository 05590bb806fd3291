"""A small network with neurons."""

import flax.linen as nn

from pit_jax.neurons import PIT


class Small(nn.Module):
    """A network with two neuron layers."""

    @nn.compact
    def __call__(self, x, train=False):
        hidden = PIT(levels=4)(nn.Dense(6)(x))
        return PIT(levels=4)(nn.Dense(5)(hidden))
