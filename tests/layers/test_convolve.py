"""Convolutions whose weight gradient is a product against those of lax."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.layers import conv
from pit_jax.models import create
from pit_jax.models.trace import trace
from pit_jax.neurons import LIF
from tests.helpers import jit_once, walk_equations

KEY = jax.random.key(0)


def differentiate(layer, x):
    """Return output, and gradients by parameters and input, of a convolution."""
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype),
        jax.eval_shape(layer.init, KEY, x)["params"],
    )

    def loss(params, x):
        y = layer.apply({"params": params}, x)
        return jnp.sin(y).sum(), y

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)


def use_lax(layer):
    return layer.clone(conv_general_dilated=None)


def uses_products(layer, shape):
    """Return whether the gradient of a convolution for inputs of a shape has products."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(layer.init, KEY, x)
    gradient = jax.make_jaxpr(jax.grad(lambda v, x: layer.apply(v, x).sum()))(variables, x)
    return "dot_general" in {name for name, _ in walk_equations(gradient.jaxpr)}


@pytest.mark.parametrize("bias", [None, nn.initializers.zeros])
@pytest.mark.parametrize(
    "shape", [(3, 2, 7, 10, 16), (2, 1, 4, 4, 16), (2, 10, 11, 17), (1, 1, 1, 16)], ids=str
)
def test_values_and_gradients_equal_lax(x64, shape, bias):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    layer = conv(18, 1, 2, bias=bias)
    assert uses_products(layer, shape)
    ours, theirs = (
        differentiate(each, x) for each in (layer, layer.clone(conv_general_dilated=None))
    )
    np.testing.assert_array_equal(ours[1], theirs[1])
    for one, other in zip(jax.tree.leaves(ours[0]), jax.tree.leaves(theirs[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_second_derivatives_equal_lax(x64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 9, 16)))
    layer = conv(16, 1, 2)

    @partial(jit_once, static_argnums=0)
    def differentiate_twice(layer):
        def by_x(x):
            return differentiate(layer, x)[0]

        return jax.jvp(by_x, (x,), (jnp.cos(x),)), jax.grad(lambda x: by_x(x)[1].var())(x)

    ours, theirs = differentiate_twice(layer), differentiate_twice(use_lax(layer))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-10)


def test_the_product_is_chosen_where_it_is_faster():
    assert uses_products(conv(32, 1, 2), (2, 8, 8, 16))
    others = [
        (conv(32, 1, 2), (2, 16, 16, 3)),  # images
        (conv(32, 3, 2), (2, 16, 16, 16)),
        (conv(32, 1, 1), (2, 16, 16, 16)),
        (conv(32, 1, 3), (2, 16, 16, 16)),
        (conv(32, 1, 2, groups=2), (2, 16, 16, 16)),
        (conv(32, 1, 2).clone(input_dilation=2), (2, 16, 16, 16)),
        (conv(32, 1, 2).clone(padding="SAME"), (2, 16, 16, 16)),
        (conv(32, 1, 2).clone(padding=1), (2, 16, 16, 16)),
    ]
    assert [uses_products(*each) for each in others] == [False] * len(others)


def test_other_devices_compile_the_gradient_of_lax():
    layer, x = conv(32, 1, 2), jax.ShapeDtypeStruct((2, 16, 16, 16), jnp.float32)
    variables = jax.eval_shape(layer.init, KEY, x)
    step = jax.jit(jax.grad(lambda v, x: layer.apply(v, x).sum()))

    def lower(platform):
        return step.trace(variables, x).lower(lowering_platforms=(platform,)).as_text()

    assert lower("cpu").count("dot_general") == 1
    assert "dot_general" not in lower("cuda")


def test_a_trace_and_rematerialization_find_the_convolutions():
    make = partial(create, "resnet8", num_classes=3, neuron=LIF, width=16)
    nodes = trace(make(), (1, 32, 32, 3)).nodes
    windows = {node.path: node.window for node in nodes if node.kind == "conv"}
    assert None not in windows.values()
    assert windows["stage2_block1/conv1"] == (3, 2) and windows["stage2_block1/shortcut"] == (1, 2)

    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(make().init, KEY, x)

    def count_convolutions(remat):
        def loss(params, stats, x):
            found = {"params": params, "batch_stats": stats}
            return make(remat=remat).apply(found, x, train=True, mutable=["batch_stats"])[0].sum()

        jaxpr = jax.make_jaxpr(jax.grad(loss))(variables["params"], variables["batch_stats"], x)
        return [name for name, _ in walk_equations(jaxpr.jaxpr)].count("conv_general_dilated")

    # With this policy the outputs of convolutions are stored: none is computed again.
    assert count_convolutions("convolutions") == count_convolutions("none")
    assert count_convolutions("blocks") > count_convolutions("none")
