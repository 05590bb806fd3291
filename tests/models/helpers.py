"""What the tests of every network need: shapes without computing, and small steps of training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers import jit_once

KEY = jax.random.key(0)


def shapes(model, x_shape, **kw):
    """Output and variables of the first call as shapes and dtypes; nothing is computed."""
    x = jax.ShapeDtypeStruct(x_shape, jnp.float32)
    return jax.eval_shape(partial(model.init_with_output, mutable=True, **kw), KEY, x)


def trained_logits(model, image):
    """Logits in training mode and the parameters, none of them at its start: all noise."""
    variables = jit_once(partial(model.init, train=True))(KEY, image)
    leaves, tree = jax.tree.flatten(variables["params"])
    random = np.random.default_rng(1)
    noisy = [leaf + 0.2 * random.normal(size=leaf.shape) for leaf in leaves]
    variables["params"] = jax.tree.unflatten(tree, noisy)
    logits, _ = jit_once(partial(model.apply, train=True, mutable=["batch_stats"]))(
        variables, image
    )
    return logits, variables["params"]
