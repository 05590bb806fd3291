"""What the tests of every network need: shapes without computing, and small steps of training."""

from functools import partial

import jax
import jax.numpy as jnp

KEY = jax.random.key(0)


def shapes(model, x_shape, **kw):
    """Output and variables of the first call as shapes and dtypes; nothing is computed."""
    x = jax.ShapeDtypeStruct(x_shape, jnp.float32)
    return jax.eval_shape(partial(model.init_with_output, mutable=True, **kw), KEY, x)
