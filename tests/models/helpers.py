"""Helpers for tests of networks: shapes without computing, and logits in training mode."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pit_jax.models import create
from pit_jax.models.count import parameters_by_kind
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


def count_parameters(name, shape, num_classes, neuron=Unmoved, num_steps=1, **kw):
    """Count the parameters by kind of a network for images `[H, W, C]` or frames `[T, H, W, C]`."""
    model = create(name, num_classes=num_classes, neuron=neuron, num_steps=num_steps, **kw)
    return parameters_by_kind(get_shapes(model, (1, *shape))[1]["params"])


def run_training_mode(model, image):
    """Return logits in training mode and the parameters, all with noise added."""
    variables = jit_once(partial(model.init, train=True))(KEY, image)
    leaves, tree = jax.tree.flatten(variables["params"])
    random = np.random.default_rng(1)
    noisy = [leaf + 0.2 * random.normal(size=leaf.shape) for leaf in leaves]
    variables["params"] = jax.tree.unflatten(tree, noisy)
    logits, _ = jit_once(partial(model.apply, train=True, mutable=["batch_stats"]))(
        variables, image
    )
    return logits, variables["params"]
