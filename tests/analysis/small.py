"""A network for tests that need some neurons, whatever they compute."""

import flax.linen as nn

from pit_jax.neurons import PIT


class Small(nn.Module):
    """Two layers of neurons, the second one in a place of its own."""

    @nn.compact
    def __call__(self, x, train=False):
        hidden = PIT(levels=4)(nn.Dense(6)(x))
        return PIT(levels=4)(nn.Dense(5)(hidden))
