"""The step functions inside modules of Equinox, compiled with `filter_jit`, against ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.neurons import LIF, PIT
from pit_jax.neurons.step import lif_step, pit_step
from tests.neurons.table import draw_currents

eqx = pytest.importorskip("equinox")


class SpikingLayer(eqx.Module):
    """A linear layer and LIF neurons, which get and return their membranes."""

    linear: eqx.nn.Linear
    decay: float

    def __call__(self, v, x):
        """Return membranes and spikes `[C]` of one step for one sample."""
        return lif_step(v, self.linear(x), decay=self.decay)


class PITLayer(eqx.Module):
    """PIT neurons with a scale per step, `[T, C]`."""

    a: jax.Array
    levels: int = eqx.field(static=True)

    def __call__(self, x):
        """Return the spikes `[T, C]` of one sample."""
        step = lambda v, inputs: pit_step(v, *inputs, levels=self.levels)  # noqa: E731
        return jax.lax.scan(step, jnp.zeros_like(x[0]), (x, self.a))[1]


def test_a_lif_layer_step_by_step_equals_the_module():
    layer = SpikingLayer(eqx.nn.Linear(3, 4, key=jax.random.key(0)), 0.5)
    x = draw_currents((2, 6, 3))
    step = eqx.filter_jit(lambda layer, v, x: jax.vmap(layer)(v, x))
    v, spikes = jnp.zeros((2, 4)), []
    for t in range(6):
        v, s = step(layer, v, x[:, t])
        spikes.append(s)
    currents = jax.vmap(jax.vmap(layer.linear))(x)
    np.testing.assert_array_equal(jnp.stack(spikes, 1), LIF(decay=0.5).apply({}, currents))
    assert jnp.stack(spikes).any()


def test_spikes_and_gradients_of_a_pit_layer_equal_those_of_the_module():
    x = draw_currents((2, 4, 3))
    neuron = PIT(levels=3)
    variables = neuron.init(jax.random.key(0), x)
    layer = PITLayer(variables["params"]["a"], 3)

    @eqx.filter_jit
    def differentiate(layer, x):
        return eqx.filter_value_and_grad(lambda layer: jnp.sum(jax.vmap(layer)(x) ** 2))(layer)

    loss, grads = differentiate(layer, x)
    want, want_grads = jax.value_and_grad(lambda v: jnp.sum(neuron.apply(v, x) ** 2))(variables)
    np.testing.assert_array_equal(jax.vmap(layer)(x), neuron.apply(variables, x))
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(grads.a, want_grads["params"]["a"], rtol=1e-5, atol=1e-6)
    assert grads.a.any()
