"""The batch norm with its own gradient against Flax's."""

import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.layers.normalize import BatchNorm
from tests.helpers import jit_once

KEY = jax.random.key(0)
SHAPE = (4, 3, 2, 2, 5)


def make_input(shape=SHAPE, dtype=float, offset=1.0):
    """Return a batch whose last channel is constant."""
    x = np.random.default_rng(0).normal(offset, 2, shape)
    x[..., -1] = 0.25
    return jnp.asarray(x, dtype)


def make_loss(norm, x, **call):
    """Return variables and a loss of parameters and x that also reads the running statistics."""
    variables = norm.init(KEY, x, use_running_average=False)
    rng = np.random.default_rng(1)
    variables = variables | {
        "params": jax.tree.map(
            lambda v: jnp.asarray(rng.normal(1, 0.5, v.shape), v.dtype), variables["params"]
        )
    }
    weights = jnp.asarray(rng.normal(size=x.shape), jnp.promote_types(x.dtype, jnp.float32))

    def loss(params, x):
        y, new = norm.apply(
            variables | {"params": params},
            x,
            use_running_average=False,
            mutable=["batch_stats"],
            **call,
        )
        stats = new["batch_stats"]
        terms = (weights * jnp.tanh(y)).sum(), (stats["mean"] ** 2).sum(), (stats["var"] ** 2).sum()
        return sum(terms), (y, stats)

    return variables["params"], loss


def train(norm, x, **call):
    """Return outputs and statistics, and the gradients by parameters and x."""
    params, loss = make_loss(norm, x, **call)
    return jit_once(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)


def assert_equal(ours, theirs, tolerance=1e-12):
    chex.assert_trees_all_equal_dtypes(ours, theirs)
    chex.assert_trees_all_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"momentum": 0.5, "epsilon": 1e-3},
        {"dtype": jnp.float32, "param_dtype": jnp.float64},
        # Settings and axes without a rule run Flax's own code.
        {"axis": 1},
        {"use_bias": False},
        {"use_scale": False},
        {"use_fast_variance": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [SHAPE, (7, 5)], ids=str)
def test_values_statistics_and_gradients_equal_flax(x64, fields, shape):
    x = make_input(shape)
    ours, theirs = (train(cls(**fields), x) for cls in (BatchNorm, nn.BatchNorm))
    assert_equal(ours, theirs, 1e-5 if fields.get("dtype") == jnp.float32 else 1e-12)


def test_a_mask_and_an_axis_name_are_those_of_flax(x64):
    x = make_input()
    mask = jnp.asarray(np.random.default_rng(2).uniform(size=(4, 3, 2, 2, 1)) < 0.5)
    assert_equal(train(BatchNorm(), x, mask=mask), train(nn.BatchNorm(), x, mask=mask))

    def normalize(cls, x):
        norm = cls(use_running_average=False, axis_name="parts")
        variables = norm.init(KEY, x[0])
        run = partial(norm.apply, variables, mutable=["batch_stats"])
        return jax.vmap(run, axis_name="parts")(x)

    assert_equal(normalize(BatchNorm, x), normalize(nn.BatchNorm, x))


def test_values_and_gradients_of_bfloat16_have_statistics_in_float32():
    x = make_input((64, 2, 5), jnp.bfloat16)
    (by_params, by_x), (y, stats) = train(BatchNorm(dtype=jnp.bfloat16), x)
    assert y.dtype == by_x.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((by_params, stats)))
    (exact_params, exact_x), (exact_y, exact_stats) = train(nn.BatchNorm(), x.astype(jnp.float32))
    chex.assert_trees_all_close(stats, exact_stats, rtol=1e-5)
    np.testing.assert_allclose(y.astype(jnp.float32), exact_y, rtol=2**-8, atol=2**-8)
    # The loss reads an output with 8 bits; the channel that is constant is divided by 0.003.
    varying = np.s_[..., :-1]
    np.testing.assert_allclose(by_x[varying], exact_x[varying], rtol=0.1, atol=0.05)
    np.testing.assert_allclose(by_params["bias"], exact_params["bias"], rtol=0.05, atol=0.1)


def test_evaluation_and_initialization_are_those_of_flax():
    x = make_input(dtype=jnp.float32)
    ours, theirs = (
        jit_once(cls(True).init_with_output)(KEY, x) for cls in (BatchNorm, nn.BatchNorm)
    )
    chex.assert_trees_all_equal(ours, theirs)
    run = partial(BatchNorm(True).apply, ours[1])
    _, tangent = jax.jvp(run, (x,), (jnp.ones_like(x),))  # Without a rule of ours.
    np.testing.assert_allclose(tangent, np.full(SHAPE, 1 / np.sqrt(1 + 1e-5)), rtol=1e-6)


def test_training_without_statistics_starts_with_those_of_flax(x64):
    x = make_input()

    def start(cls):
        params = {"params": cls().init(KEY, x, use_running_average=False)["params"]}
        return cls().apply(params, x, use_running_average=False, mutable=["batch_stats"])

    assert_equal(*(jit_once(partial(start, cls))() for cls in (BatchNorm, nn.BatchNorm)))


def test_hessian_vector_products_equal_flax(x64):
    x = make_input()[..., :-1]

    def differentiate_twice(norm):
        params, loss = make_loss(norm, x)
        by_x = jax.grad(lambda x: loss(params, x)[0])
        forward = jax.jvp(by_x, (x,), (jnp.cos(x),))
        return forward, jax.grad(lambda x: (by_x(x) ** 2).sum())(x)

    assert_equal(
        *(jit_once(partial(differentiate_twice, cls()))() for cls in (BatchNorm, nn.BatchNorm))
    )


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_float32_gradients_are_as_accurate_as_those_of_flax(x64, offset):
    x = make_input((512, 5), offset=offset)[..., :-1].astype(jnp.float32)
    exact, _ = train(nn.BatchNorm(), x.astype(jnp.float64))

    def measure_error(norm):
        found, _ = train(norm, x)
        errors = jax.tree.map(lambda a, b: jnp.abs(a - b).max() / jnp.abs(b).max(), found, exact)
        return max(jax.tree.leaves(errors))

    ours, theirs = measure_error(BatchNorm()), measure_error(nn.BatchNorm())
    assert ours <= 1.5 * theirs + 1e-6, (ours, theirs)


def test_variables_names_and_calls_are_those_of_one_flax_module():
    class Network(nn.Module):
        norm: type

        @nn.compact
        def __call__(self, x):
            return self.norm(use_running_average=False)(nn.Dense(5)(x))

    x, calls = jnp.ones((2, 5)), []

    def count(run, args, kwargs, context):
        calls.append(type(context.module).__name__)
        return run(*args, **kwargs)

    ours, theirs = (Network(norm).init(KEY, x) for norm in (BatchNorm, nn.BatchNorm))
    chex.assert_trees_all_equal(ours, theirs)
    with nn.intercept_methods(count):
        _, new = Network(BatchNorm).apply(ours, x, mutable=True, capture_intermediates=True)
    assert sorted(calls) == ["BatchNorm", "Dense", "Network"]
    assert len(new["intermediates"]["BatchNorm_0"]["__call__"]) == 1
    fields = {f.name: f.default for f in dataclasses.fields(nn.BatchNorm) if f.name != "parent"}
    mine = {f.name: f.default for f in dataclasses.fields(BatchNorm) if f.name != "parent"}
    assert mine == fields


def test_the_gradient_saves_the_input_alone():
    x = make_input(dtype=jnp.float32)

    def count_saved(cls):
        params, loss = make_loss(cls(), x)

        def normalize(x):
            return loss(params, x)[1][0]

        saved = jax.eval_shape(lambda x: jax.tree.leaves(jax.vjp(normalize, x)[1]), x)
        return sum(leaf.size >= x.size for leaf in saved)

    # The input for the norm, and the output for nothing: `loss` is not differentiated.
    assert count_saved(BatchNorm) == 1 < count_saved(nn.BatchNorm)


class Stack(nn.Module):
    """Convolutions with norms between them, as in a residual network."""

    norm: type

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = nn.relu(self.norm(use_running_average=False)(x))
            x = nn.Conv(16, (3, 3))(x)
        return x


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="XLA fuses differently on each device")
def test_a_compiled_step_moves_fewer_bytes_than_with_the_norm_of_flax():
    x = jax.ShapeDtypeStruct((8, 1, 16, 16, 16), jnp.float32)

    def compile_step(norm):
        net = Stack(norm)
        variables = jax.eval_shape(net.init, KEY, x)

        def loss(variables, x):
            y, new = net.apply(variables, x, mutable=["batch_stats"])
            return (y**2).sum(), new

        return jax.jit(jax.grad(loss, has_aux=True)).lower(variables, x).compile()

    ours, theirs = compile_step(BatchNorm), compile_step(nn.BatchNorm)
    moved = [step.cost_analysis()["bytes accessed"] for step in (ours, theirs)]
    held = [step.memory_analysis().temp_size_in_bytes for step in (ours, theirs)]
    assert moved[0] < 0.9 * moved[1] and held[0] <= held[1], (moved, held)
