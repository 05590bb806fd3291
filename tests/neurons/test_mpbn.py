"""Membrane potential batch norm: a trace by hand, NumPy references, and the folded threshold."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pit_jax.layers import batch_norm
from pit_jax.models import create
from pit_jax.neurons.mpbn import NormedLIF, fold_threshold
from tests.helpers import jit_once

KEY = jax.random.key(0)
SHAPE = (6, 5, 2, 3)
PARAMS = {"scale": [2.0, 0.5, 1.0], "bias": [0.5, 0.25, -0.5]}
STATS = {"mean": [1.0, -0.5, 0.0], "var": [4.0, 0.5, 1.0]}


def draw_currents(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(0.3, 1, shape)


def variables(dtype=float):
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype),
        {"params": PARAMS, "batch_stats": STATS},
        is_leaf=lambda leaf: isinstance(leaf, list),
    )


def evaluate(neuron, variables, x):
    s, probes = jax.jit(partial(neuron.apply, mutable=["intermediates"]))(variables, jnp.asarray(x))
    assert set(probes) == {"intermediates"}
    return np.asarray(s), {
        name: np.asarray(value[0]) for name, value in probes["intermediates"].items()
    }


def train(neuron, variables, x):
    s, new = jit_once(partial(neuron.apply, mutable=["batch_stats"]))(variables, jnp.asarray(x))
    return np.asarray(s), new["batch_stats"]


def test_the_normalized_membrane_fires_and_the_raw_one_is_reset(x64):
    # It fires for (u - 1) / 2 * 2 + 1/2 >= 3/4, that is u >= 5/4. Resetting the normalized membrane
    # would give other membranes in later steps.
    neuron = NormedLIF(decay=0.5, threshold=0.75)
    params = {"scale": jnp.array([2.0]), "bias": jnp.array([0.5])}
    stats = {"mean": jnp.array([1.0]), "var": jnp.array([4 - 1e-5])}
    x = jnp.array([1, 1, 0.5, 1, -2, 2.5]).reshape(1, 6, 1)
    s, probes = evaluate(neuron, {"params": params, "batch_stats": stats}, x)
    np.testing.assert_array_equal(probes["membrane"].ravel(), [1, 1.5, 0.5, 1.25, -2, 1.5])
    np.testing.assert_array_equal(s.ravel(), [0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize("steps", [1, 5])
def test_training_normalizes_each_step_by_its_own_batch(x64, steps):
    neuron, state = NormedLIF(), variables()
    mean, var = np.array(STATS["mean"]), np.array(STATS["var"])
    for seed in range(2):
        x = draw_currents(seed)[:, :steps]
        s, stats = train(neuron, state, x)
        state = state | {"batch_stats": stats}
        v = np.zeros_like(x[:, 0])
        for t in range(steps):
            u = 0.25 * v + x[:, t]
            cells = u.reshape(-1, 3)
            mean, var = 0.9 * mean + 0.1 * cells.mean(0), 0.9 * var + 0.1 * cells.var(0)
            normed = (u - cells.mean(0)) / np.sqrt(cells.var(0) + 1e-5)
            fired = np.array(PARAMS["scale"]) * normed + np.array(PARAMS["bias"]) >= 0.5
            np.testing.assert_array_equal(s[:, t], fired)
            v = np.where(fired, 0, u)
        np.testing.assert_allclose(stats["mean"], mean, rtol=0, atol=1e-12)
        np.testing.assert_allclose(stats["var"], var, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_one_step_equals_batch_norm_and_a_threshold(x64, training):
    x = jnp.asarray(draw_currents()[:, :1])
    norm = batch_norm(use_running_average=not training)
    normed, new = jit_once(partial(norm.apply, mutable=["batch_stats"]))(variables(), x)
    if training:
        s, stats = train(NormedLIF(), variables(), x)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-12), stats, new["batch_stats"])
    else:
        s, _ = evaluate(NormedLIF(), variables(), x)
    np.testing.assert_array_equal(s, normed >= 0.5)


def test_a_folded_threshold_fires_the_same_spikes(x64):
    neuron, x = NormedLIF(), draw_currents(shape=(8, 20, 4, 3))
    s, _ = evaluate(neuron, variables(), x)
    threshold = fold_threshold(neuron, **variables())
    assert threshold.shape == (3,)
    # A plain LIF with a threshold per channel.
    v = np.zeros_like(x[:, 0])
    for t in range(x.shape[1]):
        u = 0.25 * v + x[:, t]
        fired = u >= np.asarray(threshold)
        np.testing.assert_array_equal(s[:, t], fired)
        v = np.where(fired, 0, u)
    assert 0.05 < s.mean((0, 1, 2)).min() < s.mean((0, 1, 2)).max() < 0.95


@pytest.mark.parametrize("scale", [0.0, -0.5])
def test_a_scale_that_is_not_positive_does_not_fold(scale):
    state = variables()
    state["params"]["scale"] = jnp.array([1.0, scale, 1.0])
    with pytest.raises(ValueError, match=f"smallest of 3 is {scale}"):
        fold_threshold(NormedLIF(), **state)


def test_initialization_does_not_update_the_statistics():
    new = jit_once(NormedLIF().init)(KEY, jnp.asarray(draw_currents(), jnp.float32))
    starts = {"scale": 1, "bias": 0, "mean": 0, "var": 1}
    for collection in ("params", "batch_stats"):
        for leaf, value in new[collection].items():
            np.testing.assert_array_equal(value, np.full(3, starts[leaf], np.float32))


@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_finite_differences_for_a_smooth_spike(x64, training):
    # This includes gradients through the batch's statistics, and through the reset.
    neuron = NormedLIF(spike=jnp.tanh, unroll=1)
    x, state = jnp.asarray(draw_currents(shape=(3, 3, 3))), variables()
    weights = np.random.default_rng(1).normal(size=x.shape)

    def f(params, x):
        mutable = ["batch_stats"] if training else ["intermediates"]
        return (weights * neuron.apply(state | {"params": params}, x, mutable=mutable)[0]).sum()

    check_grads(jax.jit(f), (state["params"], x), order=1, modes=["rev"])


def test_a_detached_reset_passes_no_gradient_through_the_spike(x64):
    x, state = jnp.asarray(draw_currents(shape=(3, 2, 3))), variables()

    def last(x, detach):
        neuron = NormedLIF(spike=jnp.tanh, detach_reset=detach)
        return neuron.apply(state, x)[:, 1].sum()

    whole, detached = (jit_once(jax.grad(partial(last, detach=d)))(x) for d in (False, True))
    np.testing.assert_allclose(whole[:, 1], detached[:, 1], atol=1e-12)
    assert (np.abs(whole[:, 0] - detached[:, 0]) > 1e-6).all()


@pytest.mark.parametrize("training", [True, False])
def test_an_unrolled_loop_computes_the_same(x64, training):
    run = train if training else evaluate
    loop, straight = (run(NormedLIF(unroll=n), variables(), draw_currents()) for n in (1, 5))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-12), loop, straight)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=str)
def test_spikes_have_the_dtype_of_the_currents_and_all_else_is_float32(strict, dtype):
    neuron, x = NormedLIF(), jnp.asarray(draw_currents(), dtype)
    start = jax.eval_shape(neuron.init, KEY, x)
    apply = partial(neuron.apply, mutable=["batch_stats", "intermediates"])
    s, new = jax.eval_shape(apply, start, x)
    assert (s.shape, s.dtype) == (x.shape, dtype)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((start, new)))


def test_currents_without_a_time_axis_are_an_error():
    with pytest.raises(ValueError, match="add a time axis"):
        NormedLIF().init(KEY, jnp.ones((2, 3)))


def test_a_network_with_normed_neurons_trains_and_evaluates():
    net = create("resnet8", num_classes=3, neuron=NormedLIF, num_steps=2, stages=(1,), width=4)
    x = jax.random.normal(KEY, (4, 6, 6, 3))
    start = jit_once(net.init)(KEY, x)

    def loss(params):
        state = {"params": params, "batch_stats": start["batch_stats"]}
        y, new = net.apply(state, x, train=True, mutable=["batch_stats"])
        return y[..., 0].sum(), new["batch_stats"]

    grads, stats = jit_once(jax.grad(loss, has_aux=True))(start["params"])
    neurons = [layer for layer in grads if layer.startswith("NormedLIF")]
    assert neurons
    for layer in neurons:
        assert (stats[layer]["mean"] != 0).all()
        for leaf in grads[layer].values():
            assert jnp.isfinite(leaf).all() and (leaf != 0).any()
    state = {"params": start["params"], "batch_stats": stats}
    evaluated = jit_once(net.apply)
    # In evaluation, a sample's logits do not depend on its batch.
    np.testing.assert_allclose(evaluated(state, x)[:2], evaluated(state, x[:2]), rtol=0, atol=1e-5)
