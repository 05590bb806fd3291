"""What every neuron of the table NEURONS must do, and what its parts do by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pit_jax.neurons import NEURONS, charge, hard_reset, soft_reset

SPIKING = [name for name in NEURONS if name != "ReLU"]  # ReLU has no membrane and no loop.
ALL = pytest.mark.parametrize("name", NEURONS)
ALL_SPIKING = pytest.mark.parametrize("name", SPIKING)


def currents(shape=(4, 4, 5, 3), dtype=jnp.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0.7, 1.5, shape), dtype)


def ready(name, x, **fields):
    """A neuron and its variables: PIT's scales are half of Eq. 12, so that `x` reaches the top."""
    neuron = NEURONS[name](**fields)
    return neuron, jax.tree.map(lambda a: a / 2, init(neuron, x))


@partial(jax.jit, static_argnums=0)
def init(neuron, x):
    return neuron.init(jax.random.key(0), x)


def run(neuron, variables, x):
    """Output and probes."""
    y, sown = neuron.apply(variables, x, mutable=["intermediates"])
    return y, {probe: values[0] for probe, values in sown.get("intermediates", {}).items()}


def gradients(neuron, variables, x):
    """Of a sum with different weights, for the variables and the currents."""
    weights = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    return jax.grad(lambda variables, x: jnp.sum(weights * neuron.apply(variables, x)), (0, 1))(
        variables, x
    )


# Compiled once for all tests that share a neuron and a shape.
jit_run = jax.jit(run, static_argnums=0)
jit_gradients = jax.jit(gradients, static_argnums=0)


TRACES = {
    "ReLU": [({}, None, [-1, 0, 0.5, 2], None, [0, 0, 0.5, 2])],
    # fields, a, currents, membranes before firing, integers
    "IF": [
        ({}, None, [0.5, 0.75, 0.75, 0.5], [0.5, 1.25, 0.75, 1.25], [0, 1, 0, 1]),
        ({"reset": soft_reset}, None, [0.5, 0.75, 0.75, 0.5], [0.5, 1.25, 1, 0.5], [0, 1, 1, 0]),
        ({"threshold": 2.0}, None, [1, 0.5, 0.5, -3], [1, 1.5, 2, -3], [0, 0, 1, 0]),
    ],
    "LIF": [
        ({}, None, [1.5, 0.25, 1, -1], [1.5, 0.5, 1.25, -0.875], [1, 0, 1, 0]),
        (
            {"threshold": 2.0, "decay": 0.25},
            None,
            [3, 1, 2, 0],
            [3, 1.25, 2.3125, 0.078125],
            [1, 0, 1, 0],
        ),
        ({"reset": hard_reset}, None, [1.5, 0.5, 0.75, 1], [1.5, 0.5, 1, 1], [1, 0, 1, 1]),
        (
            {"decay": 0.25, "decay_input": True},
            None,
            [4, 0, 2, -1],
            [3, 0.5, 1.625, -0.59375],
            [1, 0, 1, 0],
        ),
    ],
    "ILIF": [
        ({"levels": 4}, None, [2.5, 1, 6, -2], [2.5, 0.75, 5.875, -1.0625], [3, 1, 4, 0]),
        (
            {"levels": 2, "decay_input": True},
            None,
            [3, 5, -4, 2],
            [1.5, 2.25, -1.875, 0.0625],
            [2, 2, 0, 0],
        ),
    ],
    "PIT": [
        (
            {"levels": 4},
            [0.5, 2, 1, 0.25],
            [1.25, 3.125, 6, -1],
            [1.25, 3, 5.5, -0.25],
            [3, 2, 4, 0],
        ),
        (
            {"levels": 1, "decay": 0.25, "decay_input": True},
            [1, 1, 0.5, 0.5],
            [2, 0, 1, -1],
            [1.5, 0.125, 0.78125, -0.6796875],
            [1, 0, 1, 0],
        ),
    ],
}


@pytest.mark.parametrize(
    "name, fields, a, current, membrane, count",
    [(name, *trace) for name, traces in TRACES.items() for trace in traces],
)
def test_membranes_and_spikes_are_those_worked_out_by_hand(
    strict, name, fields, a, current, membrane, count
):
    x = jnp.array(current, jnp.float32)[None, :, None]
    variables = {} if a is None else {"params": {"a": jnp.array(a, jnp.float32)[:, None]}}
    y, probes = jit_run(NEURONS[name](**fields), variables, x)
    scale = 1 if a is None else np.array(a)
    np.testing.assert_array_equal(y[0, :, 0], scale * np.array(count))
    if membrane is None:
        assert not probes
    else:
        np.testing.assert_array_equal(probes["membrane"][0, :, 0], membrane)
        np.testing.assert_array_equal(probes["count"][0, :, 0], count)


H = 1 / (1 + (np.pi / 4) ** 2)  # Arctangent's surrogate a quarter from the threshold.
# Currents of two steps, and the gradient of 3 s_0 + 5 s_1 for them: through the reset, detached.
GRADIENTS = {
    "ReLU": [({}, [-1, 2], [0, 5], None)],
    "IF": [
        # s_0 = 0 and s_1 = 1, u - 1 = -1/4 and 1/4; dv_0/du_0 = 1 - s_0 - u_0 h, or 1 - s_0.
        ({}, [0.75, 0.5], [3 * H + 5 * H * (1 - 0.75 * H), 5 * H], [8 * H, 5 * H]),
        # s_0 = 1, u_0 = 5/4, u_1 = 3/4: nothing of u_0 is left but through the reset itself.
        ({}, [1.25, 0.75], [3 * H - 5 * H * 1.25 * H, 5 * H], [3 * H, 5 * H]),
    ],
    "LIF": [
        # u - 2 = -1/4 and 3/8, both under the rectangle; dv_0/du_0 = 1 - 2, or 1.
        ({"threshold": 2.0}, [1.75, 1.5], [3 - 5 / 2, 5], [3 + 5 / 2, 5]),
        # dv_0/du_0 = 1 - s_0 - u_0 = -3/4.
        ({"threshold": 2.0, "reset": hard_reset}, [1.75, 1.5], [3 - 15 / 8, 5], [5.5, 5]),
        # Each current counts 3/4: u = 3/2 and (3/2 - 1) / 4 + 3/4, and 3/8 of a width below 1.
        (
            {"decay": 0.25, "decay_input": True},
            [2, 1],
            [(3 + 5 / 4 * (1 - 1)) * 3 / 4, 15 / 4],
            [(3 + 5 / 4) * 3 / 4, 15 / 4],
        ),
        # u_0 = 3 is out of reach of the rectangle.
        ({}, [3, 0.25], [5 / 2, 5], [5 / 2, 5]),
    ],
    "ILIF": [
        ({}, [1.25, 2], [3, 5], [3 + 5 / 2, 5]),  # Both inside: dv_0/du_0 = 0, or 1.
        ({}, [-1, 2], [5 / 2, 5], [5 / 2, 5]),  # u_0 below.
        ({"levels": 2}, [1, 2.25], [3, 0], [3, 0]),  # u_1 above.
    ],
    "PIT": [
        # a = 1 and 2, strength 1/2; u_0 / a = 5/4 and u_1 / a = 17/16, factors 9/8 and 33/32.
        (
            {"strength": 0.5},
            [1.25, 2],
            [3 * 9 / 8 + 5 * 33 / 32 * (1 - 9 / 8) / 2, 5 * 33 / 32],
            [3 * 9 / 8 + 5 * 33 / 32 / 2, 5 * 33 / 32],
        ),
    ],
}


@pytest.mark.parametrize(
    "name, fields, current, through_reset, detached",
    [(name, *row) for name, rows in GRADIENTS.items() for row in rows],
)
def test_gradients_for_the_currents_are_those_worked_out_by_hand(
    x64, name, fields, current, through_reset, detached
):
    x = jnp.array(current, float)[None, :, None]
    variables = {"params": {"a": jnp.array([[1.0], [2.0]])}} if name == "PIT" else {}
    weights = jnp.array([3.0, 5.0])[None, :, None]

    def gradient(**detach):
        neuron = NEURONS[name](**fields, **detach)
        return jax.grad(lambda x: jnp.sum(weights * neuron.apply(variables, x)))(x)[0, :, 0]

    if detached is None:
        np.testing.assert_allclose(gradient(), through_reset, rtol=1e-14)
    else:
        np.testing.assert_allclose(gradient(detach_reset=False), through_reset, rtol=1e-14)
        np.testing.assert_allclose(gradient(detach_reset=True), detached, rtol=1e-14)


def test_every_neuron_has_a_trace_and_a_gradient():
    assert TRACES.keys() == GRADIENTS.keys() == NEURONS.keys()


@ALL
@pytest.mark.parametrize("space", [(), (2, 3)], ids=str)
def test_shape_and_dtype_are_kept(strict, name, space):
    x = currents((2, 3, *space, 4))
    y = jit_run(*ready(name, x), x)[0]
    assert (y.shape, y.dtype) == (x.shape, jnp.float32)


@ALL
def test_bfloat16_is_kept_with_a_membrane_in_float32(name):
    x = currents(dtype=jnp.bfloat16)
    neuron, variables = ready(name, x)
    y, probes = jit_run(neuron, variables, x)
    assert (y.shape, y.dtype) == (x.shape, jnp.bfloat16)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((variables, probes)))


@ALL
def test_float64_is_kept_throughout(x64, name):
    x = currents(dtype=jnp.float64)
    neuron, variables = ready(name, x)
    y, probes = jit_run(neuron, variables, x)
    assert (y.shape, y.dtype) == (x.shape, jnp.float64)
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((variables, probes)))


@ALL
def test_jit_changes_nothing_away_from_ties(strict, name):
    x = currents()
    neuron, variables = ready(name, x)
    y, eager = run(neuron, variables, x)
    y_jit, jitted = jit_run(neuron, variables, x)
    if name in SPIKING:
        a = np.asarray(variables["params"]["a"])[:, None] if variables else 1
        halves = 2 * np.asarray(eager["membrane"]) / a  # Every neuron's threshold is on one.
        assert np.abs(halves - np.rint(halves)).min() > 1e-5
        np.testing.assert_array_equal(jitted["count"], eager["count"])
        np.testing.assert_allclose(jitted["membrane"], eager["membrane"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(y_jit, y)


@ALL
def test_samples_of_a_batch_do_not_see_each_other(strict, name):
    x = currents()
    neuron, variables = ready(name, x)
    changed = x.at[2].set(currents(x.shape[1:], seed=1))
    same = np.array([0, 1, 3])
    y, y_changed = (jit_run(neuron, variables, x)[0] for x in (x, changed))
    np.testing.assert_array_equal(y[same], y_changed[same])
    assert (y[2] != y_changed[2]).any()
    of_x, of_x_changed = (jit_gradients(neuron, variables, x)[1] for x in (x, changed))
    np.testing.assert_array_equal(of_x[same], of_x_changed[same])
    assert (of_x[2] != of_x_changed[2]).any()


@ALL
def test_a_step_does_not_see_the_steps_after_it(strict, name):
    x = currents()
    neuron, variables = ready(name, x)
    changed = x.at[:, 2:].set(currents(x[:, 2:].shape, seed=1))
    y, y_changed = (jit_run(neuron, variables, x)[0] for x in (x, changed))
    np.testing.assert_array_equal(y[:, :2], y_changed[:, :2])
    assert (y[:, 2:] != y_changed[:, 2:]).any()


@ALL_SPIKING
def test_the_membrane_of_a_step_reaches_the_next(name):
    x = currents()
    neuron, variables = ready(name, x)
    changed = x.at[:, 0].add(-3)
    last, changed_last = (jit_run(neuron, variables, x)[1]["membrane"][:, -1] for x in (x, changed))
    assert (last != changed_last).any()


@ALL_SPIKING
def test_an_unrolled_loop_is_the_loop(x64, name):
    x = currents(dtype=jnp.float64)
    loop, variables = ready(name, x, unroll=1)
    unrolled, _ = ready(name, x, unroll=x.shape[1])
    for both in (jit_run, jit_gradients):
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=0, atol=1e-12),
            both(loop, variables, x),
            both(unrolled, variables, x),
        )


@ALL_SPIKING
def test_as_many_steps_as_unroll_need_no_loop(name):
    x = currents()
    _, variables = ready(name, x)
    for unroll, loops in [(1, True), (2, True), (4, False), (8, False)]:
        lowered = jit_run.lower(NEURONS[name](unroll=unroll), variables, x).as_text()
        assert ("stablehlo.while" in lowered) == loops


@ALL
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_are_finite_at_corners_and_far_away(name, dtype):
    corners = [0, -0.0, 0.5, 1, -1, 4, 4.5, 1e6, -1e6, 1e30, -1e30, 1e-39, -1e-39, 1.5, 2.5, 0.25]
    x = jnp.array(corners, dtype).reshape(2, 4, 2)
    neuron, variables = ready(name, currents(x.shape))
    of_variables, of_x = jit_gradients(neuron, variables, x)
    assert of_x.any() and of_x.dtype == dtype
    for leaf in jax.tree.leaves((of_variables, of_x)):
        assert np.isfinite(leaf.astype(jnp.float32)).all()


@ALL
def test_a_neuron_works_in_nnx_with_gradients(name):
    x = currents((2, 3, 4))
    linen = NEURONS[name]()
    variables = linen.init(jax.random.key(0), x)
    neuron = nnx.bridge.ToNNX(NEURONS[name](), rngs=nnx.Rngs(0)).lazy_init(x)
    np.testing.assert_array_equal(neuron(x), linen.apply(variables, x))

    def loss(neuron, x):
        return jnp.sum(neuron(x) ** 2)

    of_neuron, of_x = nnx.grad(loss, argnums=(0, 1))(neuron, x)
    want, want_x = jax.grad(lambda v, x: jnp.sum(linen.apply(v, x) ** 2), (0, 1))(variables, x)
    assert of_x.any()
    np.testing.assert_array_equal(of_x, want_x)
    if variables:
        assert want["params"]["a"].any()
        np.testing.assert_array_equal(of_neuron["a"][...], want["params"]["a"])


@ALL_SPIKING
@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_a_wrong_rank_is_an_error_that_says_what_to_do(name, shape):
    neuron, variables = ready(name, currents((2, 4, 3)))
    for call in (partial(neuron.apply, variables), partial(neuron.init, jax.random.key(0))):
        with pytest.raises(ValueError, match=r"currents \[B, T, ..., C\], got shape [^.]*; add"):
            call(jnp.ones(shape))


@pytest.mark.parametrize(
    "shape, numbers",
    [((2, 5, 3), "T=4 steps .* has T=5 and C=3"), ((2, 4, 7), "C=3 channels.* has T=4 and C=7")],
)
def test_steps_or_channels_that_do_not_fit_the_scales_are_an_error_with_both_numbers(
    shape, numbers
):
    neuron, variables = ready("PIT", currents((2, 4, 3)))
    with pytest.raises(ValueError, match=numbers):
        neuron.apply(variables, jnp.ones(shape))


@pytest.mark.parametrize("name", ["ILIF", "PIT"])
def test_less_than_one_level_is_an_error_at_construction(name):
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        NEURONS[name](levels=0)


@ALL_SPIKING
def test_probes_show_membrane_integers_and_rate(strict, name):
    x = currents()
    neuron, variables = ready(name, x)
    y, probes = jit_run(neuron, variables, x)
    levels = getattr(neuron, "levels", 1)
    a = np.asarray(variables["params"]["a"])[:, None] if variables else np.float32(1)
    assert probes.keys() == {"membrane", "count", "rate"}
    assert probes["membrane"].shape == probes["count"].shape == x.shape
    count = np.asarray(probes["count"])
    assert set(np.unique(count)) == set(range(levels + 1))
    np.testing.assert_array_equal(y, a * count)
    assert probes["rate"].shape == x.shape[:2]
    want = [[count[b, t].sum() / count[b, t].size / levels for t in range(4)] for b in range(4)]
    np.testing.assert_allclose(probes["rate"], want, rtol=1e-6)
    np.testing.assert_array_equal(probes["membrane"][:, 0], x[:, 0])  # From rest.


def test_probes_cost_nothing_under_jit_unless_asked_for():
    x = currents()
    neuron, variables = ready("PIT", x, unroll=1)

    def arrays_of_all_steps(f):
        text = jax.jit(f).lower(variables, x).compile().as_text()
        (loop,) = [line for line in text.splitlines() if " while(" in line]
        return loop.partition(" while(")[0].count("f32[4,4,5,3]")

    # The loop carries the currents in and the spikes out; with probes also membranes and counts.
    assert arrays_of_all_steps(neuron.apply) == 2
    assert arrays_of_all_steps(partial(run, neuron)) == 4


def test_charge_leaks_then_adds_the_current_or_its_share(strict):
    v, current = jnp.array([2.0, -4.0]), jnp.array([1.0, 8.0])
    np.testing.assert_array_equal(charge(v, current, decay=0.25), [1.5, 7])
    np.testing.assert_array_equal(charge(v, current, decay=0.25, decay_input=True), [1.25, 5])
    np.testing.assert_array_equal(charge(v, current, decay=1.0), [3, 4])


@pytest.mark.parametrize(
    "reset, want, du, ds",
    [
        (soft_reset, [0.5, -1.0, 0.25], [1, 1, 1], [-2, -2, -2]),  # u - 2 s
        (hard_reset, [0.0, -1.0, 0.0], [0, 1, 0], [-2.5, 1.0, -2.25]),  # u (1 - s)
    ],
)
def test_resets_by_hand_and_their_gradients_attached_and_detached(strict, reset, want, du, ds):
    u, s = jnp.array([2.5, -1.0, 2.25]), jnp.array([1.0, 0.0, 1.0])
    for detach in (False, True):
        v, pull = jax.vjp(partial(reset, threshold=2.0, detach=detach), u, s)
        np.testing.assert_array_equal(v, want)
        of_u, of_s = pull(jnp.ones(3))
        np.testing.assert_array_equal(of_u, du)
        np.testing.assert_array_equal(of_s, np.zeros(3) if detach else ds)
