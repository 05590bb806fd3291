"""What is recorded of a neuron layer is what it hands to the layer behind it."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.analysis.recorder import recorder
from pit_jax.neurons import NEURONS, ReLU
from pit_jax.neurons.mpbn import NormedLIF


class One(nn.Module):
    """One layer of neurons, whose output is that of the network."""

    neuron: type[nn.Module]

    @nn.compact
    def __call__(self, x, train=False):
        return self.neuron()(x)


@pytest.mark.parametrize("neuron", [*NEURONS.values(), partial(NormedLIF)])
def test_the_spike_is_what_the_neuron_gives_with_its_scale(neuron):
    x = 3 * jax.random.normal(jax.random.key(0), (4, 2, 5))
    model = One(neuron)
    variables = jax.jit(model.init)(jax.random.key(1), x)
    variables = jax.tree.map(lambda leaf: leaf * jnp.asarray(1.5, leaf.dtype), dict(variables))
    found = recorder(model)(variables, x)
    if neuron is ReLU:
        assert found == {}
        return
    (layer,) = found.values()
    np.testing.assert_array_equal(layer.spike, model.apply(variables, x))
    assert np.asarray(layer.count).any()
