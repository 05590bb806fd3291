"""The recording of a neuron layer has the spikes that it sends to the next layer."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.analysis.recorder import recorder
from pit_jax.neurons import LIF, NEURONS, ReLU
from pit_jax.neurons.mpbn import NormedLIF
from pit_jax.neurons.probe import firing_rates, neuron_layers
from tests.helpers import jit_once


class One(nn.Module):
    """A network of one neuron layer."""

    neuron: type[nn.Module]

    @nn.compact
    def __call__(self, x, train=False):
        return self.neuron()(x)


@pytest.mark.parametrize("neuron", [*NEURONS.values(), partial(NormedLIF)])
def test_the_spike_is_the_output_of_the_neuron_with_its_scale(neuron):
    x = 3 * jax.random.normal(jax.random.key(0), (4, 2, 5))
    model = One(neuron)
    variables = jit_once(model.init)(jax.random.key(1), x)
    variables = jax.tree.map(lambda leaf: leaf * jnp.asarray(1.5, leaf.dtype), dict(variables))
    found = recorder(model)(variables, x)
    if neuron is ReLU:
        assert found == {}
        return
    (layer,) = found.values()
    np.testing.assert_array_equal(layer.spike, jax.jit(model.apply)(variables, x))
    assert np.asarray(layer.count).any()


class Amplified(nn.Module):
    """A user's neuron around one of ours."""

    @nn.compact
    def __call__(self, x):
        return 3 * LIF()(x)


class Watched(nn.Module):
    """A user's layer that sows values under the names of a neuron's probes."""

    @nn.compact
    def __call__(self, x):
        self.sow("intermediates", "rate", jnp.mean(x))
        self.sow("intermediates", "count", x.size)
        return LIF()(x)


def test_a_users_neuron_records_the_spikes_that_it_scales():
    x = 3 * jax.random.normal(jax.random.key(0), (4, 2, 5))
    model = One(Amplified)
    for neurons, gain in ((), 1), ((Amplified,), 3):
        (layer,) = recorder(model, neurons)({}, x).values()
        np.testing.assert_array_equal(layer.spike, gain * layer.count)


def test_values_sown_under_a_neurons_names_are_not_a_layer():
    x = jnp.ones((4, 2, 5))
    model = One(Watched)
    assert neuron_layers(model, {}, x) == ["Watched_0/LIF_0"]
    _, probes = model.apply({}, x, mutable=["intermediates"])
    assert firing_rates(probes["intermediates"])["Watched_0/LIF_0"].shape == (4, 2)
    assert list(recorder(model)({}, x)) == ["Watched_0/LIF_0"]
