"""Properties that every neuron in NEURONS must have; table.py has the data of each."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pit_jax.neurons import NEURONS
from tests.helpers import count_thresholds, jit_once
from tests.neurons.table import (
    ROWS,
    differentiate,
    draw_currents,
    get_dtypes,
    get_parameters,
    jit_gradients,
    jit_run,
    make_ready,
    run,
)

MEMBRANE = [name for name in ROWS if name != "QAT"]  # ReLU and QAT have no loop over time.
ALL = pytest.mark.parametrize("name", NEURONS)
ALL_SPIKING = pytest.mark.parametrize("name", ROWS)
ALL_WITH_A_MEMBRANE = pytest.mark.parametrize("name", MEMBRANE)


def test_every_neuron_but_relu_has_a_row():
    assert ["ReLU", *ROWS] == list(NEURONS)


@ALL
@pytest.mark.parametrize("space", [(), (2, 3)], ids=str)
def test_shape_and_dtype_are_kept(strict, name, space):
    x = draw_currents((2, 3, *space, 4))
    y, _, _ = get_dtypes(name, x)
    assert (y.shape, y.dtype) == (x.shape, jnp.float32)


@ALL
@pytest.mark.parametrize(
    "dtype, wide", [(jnp.bfloat16, False), (jnp.bfloat16, True), (jnp.float32, True)]
)
def test_a_narrow_dtype_is_kept_with_membranes_and_parameters_in_float32(name, dtype, wide):
    with jax.enable_x64(wide):
        x = draw_currents(dtype=dtype)
        y, probes, variables = get_dtypes(name, x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((variables, probes)))


@ALL
def test_float64_is_kept_throughout(x64, name):
    x = draw_currents(dtype=jnp.float64)
    y, probes, variables = get_dtypes(name, x)
    assert (y.shape, y.dtype) == (x.shape, jnp.float64)
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((variables, probes)))


@ALL
def test_jit_does_not_change_spikes_away_from_ties(strict, name):
    x = draw_currents()
    neuron, variables = make_ready(name, x)
    y, eager = run(neuron, variables, x)
    y_jit, jitted = jit_run(neuron, variables, x)
    if name in ROWS:
        halves = 2 * ROWS[name].in_units(get_parameters(variables), np.asarray(eager["membrane"]))
        assert np.abs(halves - np.rint(halves)).min() > 1e-5
        np.testing.assert_array_equal(jitted["count"], eager["count"])
        np.testing.assert_allclose(jitted["membrane"], eager["membrane"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(y_jit, y)


@ALL
def test_samples_of_a_batch_are_independent(strict, name):
    x = draw_currents()
    neuron, variables = make_ready(name, x)
    changed = x.at[2].set(draw_currents(x.shape[1:], seed=1))
    same = np.array([0, 1, 3])
    y, y_changed = (jit_run(neuron, variables, x)[0] for x in (x, changed))
    np.testing.assert_array_equal(y[same], y_changed[same])
    assert (y[2] != y_changed[2]).any()
    grad_x, grad_x_changed = (jit_gradients(neuron, variables, x)[1] for x in (x, changed))
    np.testing.assert_array_equal(grad_x[same], grad_x_changed[same])
    assert (grad_x[2] != grad_x_changed[2]).any()


@ALL
def test_a_step_does_not_depend_on_later_steps(strict, name):
    x = draw_currents()
    neuron, variables = make_ready(name, x)
    changed = x.at[:, 2:].set(draw_currents(x[:, 2:].shape, seed=1))
    y, y_changed = (jit_run(neuron, variables, x)[0] for x in (x, changed))
    np.testing.assert_array_equal(y[:, :2], y_changed[:, :2])
    assert (y[:, 2:] != y_changed[:, 2:]).any()


@ALL_WITH_A_MEMBRANE
def test_the_first_step_changes_the_membrane_of_the_last(strict, name):
    x = draw_currents()
    neuron, variables = make_ready(name, x)
    changed = x.at[:, 0].add(-3)
    last, changed_last = (jit_run(neuron, variables, x)[1]["membrane"][:, -1] for x in (x, changed))
    assert (last != changed_last).any()


@ALL_WITH_A_MEMBRANE
def test_an_unrolled_loop_computes_the_same(x64, name):
    x = draw_currents(dtype=jnp.float64)
    loop, variables = make_ready(name, x, unroll=1)
    unrolled = NEURONS[name](unroll=x.shape[1])

    @partial(jit_once, static_argnums=0)
    def run_both_ways(neuron, variables, x):
        return run(neuron, variables, x), differentiate(neuron, variables, x)

    chex.assert_trees_all_close(
        run_both_ways(loop, variables, x), run_both_ways(unrolled, variables, x), rtol=0, atol=1e-12
    )


@ALL_WITH_A_MEMBRANE
def test_a_loop_is_compiled_only_for_more_steps_than_unroll(name):
    x = draw_currents()
    _, variables = make_ready(name, x)
    for unroll, loops in [(2, True), (4, False), (8, False)]:
        lowered = jit_run.lower(NEURONS[name](unroll=unroll), variables, x).as_text()
        assert ("stablehlo.while" in lowered) == loops


@ALL
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_are_finite_at_corners_and_for_extreme_currents(strict, name, dtype):
    corners = [0, -0.0, 0.5, 1, -1, 4, 4.5, 1e6, -1e6, 1e30, -1e30, 1e-39, -1e-39, 1.5, 2.5, 0.25]
    # 15 values per step: over the steps every sequence moves through the corners.
    x = jnp.asarray(np.resize(corners, (4, 4, 5, 3)), dtype)
    neuron, variables = make_ready(name, draw_currents())
    grads = jit_gradients(neuron, variables, x)
    assert grads[1].any() and grads[1].dtype == dtype
    chex.assert_tree_all_finite(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), grads))


@ALL
def test_a_neuron_works_in_nnx_with_gradients(name):
    key, x = jax.random.key(0), draw_currents((2, 3, 4))

    def loss(neuron, x):
        y = neuron(x)
        return jnp.sum(y**2), y

    @jax.jit
    def run_in_nnx(x):
        neuron = nnx.bridge.ToNNX(NEURONS[name]()).lazy_init(x, rngs=key)
        grads, y = nnx.grad(loss, argnums=(0, 1), has_aux=True)(neuron, x)
        return y, grads[1], nnx.to_pure_dict(grads[0])

    @jax.jit
    def run_in_linen(x):
        neuron = NEURONS[name]()
        grad = jax.grad(lambda v, x: loss(partial(neuron.apply, v), x), (0, 1), has_aux=True)
        grads, y = grad(neuron.init(key, x), x)
        return y, grads[1], grads[0].get("params", {})

    found, expected = run_in_nnx(x), run_in_linen(x)
    chex.assert_trees_all_equal(found, expected)
    assert all(gradient.any() for gradient in jax.tree.leaves(expected))


@ALL_WITH_A_MEMBRANE
@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_a_wrong_rank_is_an_error_with_advice(name, shape):
    neuron, variables = make_ready(name, draw_currents((2, 4, 3)))
    for call in (partial(neuron.apply, variables), partial(neuron.init, jax.random.key(0))):
        with pytest.raises(ValueError, match=r"currents \[B, T, ..., C\], got shape [^.]*; add"):
            call(jnp.ones(shape))


@pytest.mark.parametrize("name", ["PIT", "PITFull"])
@pytest.mark.parametrize(
    "shape, numbers",
    [((2, 5, 3), "T=4 steps .* has T=5 and C=3"), ((2, 4, 7), "C=3 channels.* has T=4 and C=7")],
)
def test_a_number_of_steps_or_channels_unlike_the_scales_is_an_error_with_both_numbers(
    name, shape, numbers
):
    neuron, variables = make_ready(name, draw_currents((2, 4, 3)))
    with pytest.raises(ValueError, match=numbers):
        neuron.apply(variables, jnp.ones(shape))


@pytest.mark.parametrize("name", ["ILIF", "PIT", "PITFull", "QAT", "QBLIF"])
def test_levels_below_one_are_an_error_at_construction(name):
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        NEURONS[name](levels=0)


@ALL_SPIKING
def test_probes_have_membrane_counts_and_rate(strict, name):
    x = draw_currents()
    row = ROWS[name]
    neuron, variables = make_ready(name, x)
    params = get_parameters(variables)
    y, probes = jit_run(neuron, variables, x)
    assert {"membrane", "count", "levels", "rate"} <= probes.keys()
    assert probes["levels"] == row.levels
    assert probes["membrane"].shape == probes["count"].shape == x.shape
    count = np.asarray(probes["count"])
    assert set(np.unique(count)) == set(row.fired)
    np.testing.assert_array_equal(y, row.leaves(params, count))
    assert probes["rate"].shape == x.shape[:2]
    fired = np.abs(count)
    want = [[fired[b, t].sum() / fired[b, t].size / row.levels for t in range(4)] for b in range(4)]
    np.testing.assert_allclose(probes["rate"], want, rtol=1e-6)
    first = row.first(params, np.asarray(x[:, 0]))  # From rest.
    np.testing.assert_allclose(probes["membrane"][:, 0], first, rtol=0, atol=1e-6)


@ALL_SPIKING
def test_probes_of_rounding_neurons_have_the_scale_and_the_rounded_values(strict, name):
    x = draw_currents()
    neuron, variables = make_ready(name, x)
    params = get_parameters(variables)
    _, probes = jit_run(neuron, variables, x)
    assert ("scale" in probes) == (name in ("PIT", "PITFull", "QAT", "QBLIF"))
    assert ("rounded" in probes) == (name in ("PIT", "PITFull", "QAT", "QBLIF", "ILIF"))
    if "scale" in probes:
        np.testing.assert_array_equal(probes["scale"], params["a"])
    if "rounded" in probes:
        want = ROWS[name].in_units(params, np.asarray(probes["membrane"]))
        np.testing.assert_allclose(probes["rounded"], want, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(
            probes["count"], count_thresholds(np.asarray(probes["rounded"]), 4)
        )


def test_probes_cost_nothing_under_jit_unless_requested():
    x = draw_currents()
    neuron, variables = make_ready("PIT", x, unroll=1)

    def count_carried_arrays(f):
        text = jax.jit(f).lower(variables, x).compile().as_text()
        (loop,) = [line for line in text.splitlines() if " while(" in line]
        return loop.partition(" while(")[0].count("f32[4,4,5,3]")

    # The loop carries membranes in the buffer of the currents; all else is computed from them.
    assert count_carried_arrays(neuron.apply) == 1
    assert count_carried_arrays(partial(run, neuron)) == 1
