"""The norms against NumPy references, in training, in evaluation and over several batches."""

import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from pit_jax import layers
from pit_jax.layers import TEBN, PerStepBatchNorm, TDBatchNorm, batch_norm, conv
from pit_jax.layers.norm import no_norm
from pit_jax.models import create
from pit_jax.neurons import LIF
from tests.helpers import jit_once

NORMS = {
    "batch_norm": batch_norm,
    "per step": PerStepBatchNorm,
    "tdBN": partial(TDBatchNorm, threshold=0.5, alpha=2**-0.5),
    "TEBN": TEBN,
}
ALL = pytest.mark.parametrize("name", NORMS)
# Flax's batch norm promotes dtypes, and initializes its statistics in float32 under x64.
OURS = pytest.mark.parametrize("name", [name for name in NORMS if name != "batch_norm"])
SHAPE = (4, 3, 2, 2, 5)
KEY = jax.random.key(0)


def make_batch(seed=0, shape=SHAPE):
    """Return a batch with a different distribution in each channel and step."""
    rng = np.random.default_rng(seed)
    space = (1,) * (len(shape) - 3)
    spread = rng.uniform(0.5, 2, (shape[1], *space, shape[-1]))
    return rng.normal(size=shape) * spread + rng.normal(size=spread.shape)


def make_parameters(steps=SHAPE[1], channels=SHAPE[-1]):
    """Return parameters of all names that differ from their initial values."""
    rng = np.random.default_rng(7)
    return {
        "scale": rng.uniform(0.5, 2, channels),
        "bias": rng.normal(size=channels),
        "p": rng.uniform(0.5, 2, steps),
    }


def make_norm(name, x, *, jit=True, **fields):
    """Return a function `(variables, x, train) -> (y, batch_stats)` and variables for it."""

    def run(variables, x, train):
        norm = NORMS[name](use_running_average=not train, **fields)
        y, new = norm.apply(variables, x, mutable=["batch_stats"])
        return y, new["batch_stats"]

    x = jnp.asarray(x)
    variables = jit_once(NORMS[name](use_running_average=True, **fields).init)(KEY, x)
    like = make_parameters(x.shape[1], x.shape[-1])
    params = {leaf: jnp.asarray(like[leaf], v.dtype) for leaf, v in variables["params"].items()}
    stats = jax.tree.map(lambda v: v.astype(float), variables["batch_stats"])
    run = jit_once(run, static_argnames="train") if jit else run
    return run, {"params": params, "batch_stats": stats}


def normalize(name, x, mean, var, params):
    """Return the norm's output, given mean and variance of every step, `[T, C]` or `[1, C]`."""
    between = (1,) * (x.ndim - 3)
    mean, var = (s.reshape(1, len(s), *between, -1) for s in (mean, var))
    y = (x - mean) / np.sqrt(var + 1e-5)
    if name == "tdBN":
        y = y * 0.5 / np.sqrt(2)
    y = params["scale"] * y + params["bias"]
    if name == "TEBN":
        y = y * params["p"].reshape(1, -1, *between, 1)
    return y


def compute_statistics(name, x):
    """Return mean and variance of the channels in each step, or in all steps together."""
    if name == "per step":
        steps = [x[:, t].reshape(-1, x.shape[-1]) for t in range(x.shape[1])]
    else:
        steps = [x.reshape(-1, x.shape[-1])]
    return np.array([s.mean(0) for s in steps]), np.array([s.var(0) for s in steps])


def assert_close(one, other, tolerance=1e-9):
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@ALL
@pytest.mark.parametrize("shape", [SHAPE, (6, 3, 5), (5, 1, 3, 2)], ids=str)
def test_training_normalizes_by_the_batch(x64, name, shape):
    x = make_batch(shape=shape)
    run, variables = make_norm(name, x)
    y, _ = run(variables, x, train=True)
    assert_close(
        y, normalize(name, x, *compute_statistics(name, x), make_parameters(shape[1], shape[-1]))
    )


@ALL
def test_running_statistics_move_by_a_tenth_of_the_difference(x64, name):
    run, variables = make_norm(name, make_batch())
    mean, var = np.zeros(5), np.ones(5)
    for seed in range(3):
        x = make_batch(seed)
        _, stats = run(variables, x, train=True)
        variables = variables | {"batch_stats": stats}
        # The per-step norm updates its one set of statistics once per step, in order.
        for step_mean, step_var in zip(*compute_statistics(name, x), strict=True):
            mean, var = 0.9 * mean + 0.1 * step_mean, 0.9 * var + 0.1 * step_var
    assert_close(stats["mean"], mean)
    assert_close(stats["var"], var)


@ALL
def test_evaluation_normalizes_by_the_running_statistics_without_an_update(x64, name):
    x = make_batch()
    run, variables = make_norm(name, x)
    mean, var = np.linspace(-1, 1, 5), np.linspace(0.5, 2, 5)
    variables = variables | {"batch_stats": {"mean": jnp.asarray(mean), "var": jnp.asarray(var)}}
    y, stats = run(variables, x, train=False)
    assert_close(y, normalize(name, x, mean[None], var[None], make_parameters()))
    np.testing.assert_array_equal(stats["mean"], mean)
    np.testing.assert_array_equal(stats["var"], var)


@pytest.mark.parametrize(
    "name, steps, fields",
    [("per step", 1, {}), ("tdBN", 3, {"alpha": 1.0, "threshold": 1.0}), ("TEBN", 3, {})],
)
@pytest.mark.parametrize("train", [True, False])
def test_a_norm_with_neutral_settings_equals_batch_norm(x64, name, steps, fields, train):
    x = make_batch(shape=(4, steps, 2, 2, 5))
    run, variables = make_norm(name, x, **fields)
    plain, expected = make_norm("batch_norm", x)
    if name == "TEBN":
        variables["params"]["p"] = jnp.ones(steps)
    jax.tree.map(assert_close, run(variables, x, train), plain(expected, x, train))


def test_a_factor_also_multiplies_the_bias_of_its_step(x64):
    x = make_batch()
    run, variables = make_norm("TEBN", x)
    variables["params"] |= {"scale": jnp.zeros(5), "p": jnp.array([1.0, -2.0, 0.5])}
    y, _ = run(variables, x, train=True)
    for t, p in enumerate([1, -2, 0.5]):
        assert_close(y[:, t], np.broadcast_to(p * make_parameters()["bias"], y[:, t].shape))


def test_the_output_of_tdbn_has_the_deviation_alpha_times_threshold(x64):
    x = make_batch()
    norm = TDBatchNorm(use_running_average=False, threshold=0.25, alpha=0.5)
    y, _ = norm.init_with_output(KEY, jnp.asarray(x))
    assert_close(np.std(y, axis=(0, 1, 2, 3)), np.full(5, 0.125), 1e-5)


@ALL
def test_all_norms_have_the_same_variables_except_for_the_factors_of_tebn(name):
    variables = jax.eval_shape(NORMS[name](use_running_average=False).init, KEY, jnp.ones(SHAPE))
    params = {"scale": (5,), "bias": (5,)} | ({"p": (3,)} if name == "TEBN" else {})
    assert jax.tree.map(jnp.shape, variables) == {
        "params": params,
        "batch_stats": {"mean": (5,), "var": (5,)},
    }


@ALL
@pytest.mark.parametrize("train", [True, False])
def test_initialization_uses_the_initializers_and_does_not_update_statistics(name, train):
    norm = NORMS[name](
        use_running_average=not train,
        scale_init=nn.initializers.constant(3.0),
        bias_init=nn.initializers.constant(-1.0),
    )
    variables = jit_once(norm.init)(KEY, jnp.asarray(make_batch(), jnp.float32))
    starts = {"scale": 3, "bias": -1, "p": 1, "mean": 0, "var": 1}
    for leaves in variables.values():
        for leaf, value in leaves.items():
            np.testing.assert_array_equal(value, np.full(value.shape, starts[leaf], np.float32))


@ALL
@pytest.mark.parametrize("start", [1.0, 0.5, 0.0])
def test_gain_multiplies_the_initial_scale_and_nothing_else(name, start):
    make = partial(NORMS[name], use_running_average=False)
    make = partial(make, scale_init=nn.initializers.constant(start))
    x = jnp.asarray(make_batch(), jnp.float32)
    plain, gained = (jit_once(norm.init)(KEY, x) for norm in (make(), make(gain=4 / 3)))
    assert plain["params"].keys() == gained["params"].keys()
    expected = jnp.float32(4 / 3) * plain["params"]["scale"]
    np.testing.assert_array_equal(gained["params"].pop("scale"), expected)
    plain["params"].pop("scale")
    chex.assert_trees_all_equal(gained, plain)


@pytest.mark.parametrize(
    "network, zeros",
    [
        ("resnet8", set()),
        ("ms_resnet18", {"norm2"}),  # The last norm of each block's branch starts at 0.
        ("vgg11", set()),
    ],
)
def test_gain_multiplies_all_scales_of_a_network_and_zeros_remain(network, zeros):
    def scales(**norm):
        model = create(network, num_classes=2, neuron=LIF, norm=partial(batch_norm, **norm))

        @jit_once  # Nothing else of the network is returned, and therefore compiled.
        def init(x):
            params = flatten_dict(model.init(KEY, x)["params"], sep="/")
            return {path: leaf for path, leaf in params.items() if path.endswith("/scale")}

        return init(jnp.zeros((1, 16, 16, 1)))

    plain, gained = scales(), scales(gain=4 / 3)
    at_zero = {path.split("/")[-2] for path, leaf in plain.items() if not leaf.any()}
    assert plain and at_zero == zeros
    for path, scale in plain.items():
        np.testing.assert_array_equal(gained[path], jnp.float32(4 / 3) * scale)


@pytest.mark.parametrize("fields", [{}, {"momentum": 0.1, "epsilon": 1e-4}])
def test_batch_norm_is_flax_batch_norm_with_momentum_and_epsilon_of_pytorch(fields):
    norm = batch_norm(False, dtype=jnp.bfloat16, name="norm", **fields)
    flaxs = {"momentum": 0.9, "epsilon": 1e-5} | fields
    expected = nn.BatchNorm(False, dtype=jnp.bfloat16, name="norm", param_dtype=float, **flaxs)
    assert isinstance(norm, nn.BatchNorm) and type(norm).__name__ == "BatchNorm"
    for field in dataclasses.fields(expected):
        assert getattr(norm, field.name) == getattr(expected, field.name)


def test_the_table_of_norms_has_all_norms_of_the_package():
    ours = {"batch_norm", "PerStepBatchNorm", "TDBatchNorm", "TEBN"}
    assert layers.NORMS == {name: getattr(layers, name) for name in ours} | {"no_norm": no_norm}


def test_no_norm_accepts_the_keywords_of_networks_and_returns_its_input():
    x = jnp.asarray(make_batch())
    assert no_norm(use_running_average=False, scale_init=nn.initializers.zeros, name="norm")(x) is x
    with pytest.raises(TypeError, match="gain"):
        no_norm(gain=2.0)  # A gain would be ignored silently.


@ALL
def test_output_is_bfloat16_with_parameters_and_statistics_in_float32(name):
    x = jnp.asarray(make_batch(), jnp.bfloat16)
    run, variables = make_norm(name, x, dtype=jnp.bfloat16)
    y, stats = run(variables, x, train=True)
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((variables, stats)))
    exact = np.asarray(x, np.float64)
    mean, var = compute_statistics(name, exact)
    np.testing.assert_allclose(y, normalize(name, exact, mean, var, make_parameters()), 2**-8, 1e-5)
    # Sums in bfloat16 would be off in the third digit.
    moved = sum(0.1 * 0.9**age * m for age, m in enumerate(mean[::-1]))
    assert_close(stats["mean"], moved, 1e-6)


@OURS
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16], ids=str)
def test_no_dtype_or_rank_is_promoted_implicitly(strict, name, dtype):
    x = jnp.asarray(make_batch(), dtype or jnp.float32)
    run, variables = make_norm(name, x, jit=False, dtype=dtype)
    for train in (True, False):
        y, _ = jax.eval_shape(partial(run, train=train), variables, x)
        assert y.dtype == x.dtype


@OURS
def test_variables_and_output_are_float64_under_x64(x64, name):
    run, _ = make_norm(name, make_batch(), jit=False)
    x = jnp.asarray(make_batch())
    variables = jax.eval_shape(NORMS[name](use_running_average=False).init, KEY, x)
    after = jax.eval_shape(partial(run, train=True), variables, x)
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((variables, after)))


@OURS
def test_a_batch_on_several_devices_is_normalized_as_one_batch(x64, name):
    x = make_batch()
    run, variables = make_norm(name, x)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    both = (run(variables, each, train=True) for each in (sharded, x))
    jax.tree.map(assert_close, *both)


@OURS
def test_gradients_equal_finite_differences(x64, name):
    x = make_batch(shape=(3, 2, 2, 1, 2))
    run, variables = make_norm(name, x, jit=False)
    weights = np.random.default_rng(1).normal(size=x.shape)

    def f(params, x):
        return (weights * run(variables | {"params": params}, x, train=True)[0]).sum()

    check_grads(jax.jit(f), (variables["params"], jnp.asarray(x)), order=1, modes=["rev"])


@ALL
def test_a_constant_channel_becomes_its_bias_with_finite_gradients(name):
    x = jnp.full(SHAPE, 0.3)
    run, variables = make_norm(name, x, jit=False)

    def f(params, x):
        y = run(variables | {"params": params}, x, train=True)[0]
        return y.sum(), y

    grads, y = jit_once(jax.grad(f, argnums=(0, 1), has_aux=True))(variables["params"], x)
    bias = normalize(name, np.zeros(SHAPE), np.zeros((1, 5)), np.ones((1, 5)), make_parameters())
    assert_close(y, bias, 1e-3)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_a_number_of_steps_unlike_the_factors_is_an_error():
    norm = TEBN(use_running_average=True, name="norm1")
    variables = norm.init(KEY, jnp.ones(SHAPE))
    with pytest.raises(ValueError, match=r"p of norm1 are for T=3 steps.*\(4, 2, 5\) has T=2"):
        norm.apply(variables, jnp.ones((4, 2, 5)))


class Net(nn.Module):
    """A minimal network that takes a norm."""

    norm: object

    @nn.compact
    def __call__(self, x, train=False):
        norm = partial(self.norm, use_running_average=not train, dtype=None)
        x = conv(4, 3, name="conv1")(x)
        x = norm(name="norm1", scale_init=nn.initializers.constant(0.5))(x)
        x = norm(name="norm2")(conv(2, 3, name="conv2")(nn.relu(x)))
        return nn.relu(x).mean((2, 3))


@ALL
def test_a_network_works_with_every_norm(name):
    net, x = Net(NORMS[name]), jnp.asarray(make_batch(shape=(2, 3, 4, 4, 1)), jnp.float32)
    variables = jit_once(net.init)(KEY, x)
    assert set(variables["params"]) == {"conv1", "norm1", "conv2", "norm2"}

    def loss(params):
        y, new = net.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
        return (y[..., 0] * jnp.arange(1, 4)).sum(), new["batch_stats"]

    grads, stats = jit_once(jax.grad(loss, has_aux=True))(variables["params"])
    for leaf in jax.tree.leaves(grads):
        assert jnp.isfinite(leaf).all() and (leaf != 0).any()
    assert all((stats[norm]["mean"] != 0).all() for norm in ("norm1", "norm2"))
    assert jax.eval_shape(net.apply, variables | {"batch_stats": stats}, x).shape == (2, 3, 2)
