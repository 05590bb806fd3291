"""Helpers for tests of networks: shapes and parameter counts without computing."""

from functools import partial, reduce
from operator import getitem

import flax.linen as nn
import jax
import jax.numpy as jnp

from pit_jax.models import create
from pit_jax.models.count import parameters_by_kind
from pit_jax.models.trace import trace
from pit_jax.neurons.probe import record
from tests.helpers import jit_once

KEY = jax.random.key(0)


class Unmoved(nn.Module):
    """A neuron with PIT's parameters and probes but no steps, for fast traces of large networks."""

    @nn.compact
    def __call__(self, current):
        self.param("a", nn.initializers.ones, (current.shape[1], current.shape[-1]))
        record(self, current, current, levels=1)
        return current


def get_shapes(model, x_shape, **kw):
    """Return output and variables of `init` as shapes and dtypes, without computing them."""
    x = jax.ShapeDtypeStruct(x_shape, jnp.float32)
    return jax.eval_shape(partial(model.init_with_output, mutable=True, **kw), KEY, x)


def init_layers(model, x_shape, *names):
    """Initialize only the layers `names`, e.g. "stage1_block1/conv1", as a list of their leaves."""

    def init():
        params = model.init(KEY, jnp.ones(x_shape))["params"]
        # XLA drops the layers that are not returned.
        return [reduce(getitem, name.split("/"), params) for name in names]

    return jit_once(init)()


def list_neurons(model, x_shape):
    """Return the output shapes of the neuron layers by path, in execution order."""
    nodes = trace(model, x_shape).nodes
    return {node.path: node.shape for node in nodes if node.kind == "neuron"}


def count_parameters(name, shape, num_classes, neuron=Unmoved, num_steps=1, **kw):
    """Count the parameters by kind of a network for images `[H, W, C]` or frames `[T, H, W, C]`."""
    model = create(name, num_classes=num_classes, neuron=neuron, num_steps=num_steps, **kw)
    return parameters_by_kind(get_shapes(model, (1, *shape))[1]["params"])
