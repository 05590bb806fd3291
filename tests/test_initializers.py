"""PIT's scales are initialized by Eq. 12 from the membranes of the first batch, step by step."""

import math
import warnings
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pit_jax.initializers import SCALE_INITS, ones, three_sigma, warn_of_floored_scales
from pit_jax.models import create
from pit_jax.neurons import PIT, PITFull
from tests.helpers import collect_by_layer, count_thresholds, jit_once

LEVELS, STEPS = 4, 3


def eq_12(u: np.ndarray, levels: int) -> np.ndarray:
    """Compute Eq. 12 in NumPy with both distances."""
    u = u.reshape(-1, u.shape[-1])
    mean = u.sum(0) / len(u)
    sigma = np.sqrt(((u - mean) ** 2).sum(0) / len(u))  # ddof 0
    return np.maximum(np.abs(mean - 3 * sigma), np.abs(mean + 3 * sigma)) / math.sqrt(levels)


def init_with_probes(model, x, **kw):
    """Return the initial variables of a jitted `init`, including membranes."""
    init = partial(model.init_with_output, mutable=True, **kw)
    return jit_once(init)(jax.random.key(0), x)[1]


def make_images():
    return np.random.default_rng(0).normal(size=(8, 8, 8, 3))


def make_network(stages=(1,)):
    return create(
        "resnet8",
        num_classes=5,
        neuron=partial(PIT, levels=LEVELS),
        num_steps=STEPS,
        stages=stages,
        width=8,
    )


def test_eq_12_by_hand(strict):
    u = jnp.array([[1.0, -3.0], [3.0, -1.0]])  # mean 2 and -2, sigma 1
    np.testing.assert_array_equal(three_sigma(u, levels=4), [2.5, 2.5])
    np.testing.assert_array_equal(three_sigma(u[:, None, None], levels=1), [5, 5])


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 4, 3), (2, 0, 3), (2, 0)])
@pytest.mark.parametrize("name", SCALE_INITS)
def test_initial_scales_of_membranes_without_values_are_refused_not_nan(name, shape):
    with pytest.raises(ValueError, match="^u must be membranes .* at least one sample .*, got"):
        SCALE_INITS[name](jnp.zeros(shape), levels=4)


@pytest.mark.parametrize("shift", [-2.0, 0.0, 5.0])
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_eq_12_is_the_larger_distance_for_either_sign_of_the_mean(x64, levels, shift):
    u = np.random.default_rng(0).normal(shift, 1.5, (4, 5, 6, 7))
    np.testing.assert_allclose(
        three_sigma(jnp.asarray(u), levels=levels), eq_12(u, levels), rtol=1e-13
    )


@pytest.mark.parametrize("decay_input", [False, True])
def test_scales_are_initialized_step_by_step_from_the_remaining_membrane(x64, decay_input):
    current = np.random.default_rng(0).normal(0.5, 1, (16, STEPS, 5, 6))
    decay, levels = 0.25, 2
    neuron = PIT(levels=levels, decay=decay, decay_input=decay_input)
    variables = init_with_probes(neuron, current)

    v = np.zeros((16, 5, 6))
    for t in range(STEPS):
        u = decay * v + (1 - decay if decay_input else 1) * current[:, t]
        a = eq_12(u, levels)
        v = u - a * count_thresholds(u / a, levels)
        np.testing.assert_allclose(variables["params"]["a"][t], a, rtol=0, atol=1e-12)
        membrane = variables["intermediates"]["membrane"][0][:, t]
        np.testing.assert_allclose(membrane, u, rtol=0, atol=1e-12)
    # A membrane that forgot the first step would give other scales.
    assert np.abs(eq_12(current[:, 1], levels) - variables["params"]["a"][1]).max() > 0.01


@pytest.mark.parametrize("steps", [1, 2])
def test_later_steps_do_not_change_earlier_scales(x64, steps):
    current = jnp.asarray(np.random.default_rng(0).normal(size=(8, STEPS, 6)))
    init = jit_once(PIT().init)
    all_steps = init(jax.random.key(0), current)["params"]["a"]
    some = init(jax.random.key(0), current[:, :steps])["params"]["a"]
    assert some.shape == (steps, 6)
    np.testing.assert_allclose(some, all_steps[:steps], rtol=0, atol=1e-12)


def test_every_layer_and_step_of_a_network_starts_at_eq_12(x64):
    variables = init_with_probes(make_network(stages=(1, 1)), make_images(), train=True)
    scales = collect_by_layer(variables["params"], "a")
    membranes = collect_by_layer(variables["intermediates"], "membrane")
    assert len(scales) == 5 and scales.keys() == membranes.keys()
    for layer, a in scales.items():
        u = np.asarray(membranes[layer])
        assert a.shape == (STEPS, u.shape[-1])
        want = [eq_12(u[:, t], LEVELS) for t in range(STEPS)]
        np.testing.assert_allclose(a, want, rtol=0, atol=1e-12, err_msg=layer)


def test_initial_scales_are_equal_on_one_and_four_devices(x64):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    x = make_images()
    init = partial(make_network().init, train=True)
    one = jit_once(init)(jax.random.key(0), jax.device_put(x, jax.devices()[0]))
    # Virtual devices share threads, and the collectives below need all of them.
    jax.block_until_ready(one)
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    replicated = NamedSharding(mesh, PartitionSpec())
    four = jit_once(init, out_shardings=replicated)(jax.random.key(0), sharded)
    assert len(sharded.sharding.device_set) == 4
    chex.assert_trees_all_close(one["params"], four["params"], rtol=0, atol=1e-12)


def make_constant_channels():
    """Return currents `[B, T, C]` whose middle channel is always 0 and whose last is always 3."""
    current = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)
    current[..., 1], current[..., 2] = 0, 3
    return jnp.asarray(current)


@pytest.mark.parametrize("neuron", [PIT, PITFull])
def test_the_scale_of_a_silent_channel_starts_at_the_floor_with_a_warning(strict, neuron):
    with pytest.warns(UserWarning, match=r"2 of 6 scales of .*a start at the floor 0.001"):
        a = neuron(levels=4).init(jax.random.key(0), make_constant_channels())["params"]["a"]
    np.testing.assert_array_equal(a[:, 1], np.full(2, 1e-3, np.float32))
    # A constant current that is not 0 gives |mu| / sqrt(levels), above the floor.
    assert a[0, 2] == 1.5
    assert np.isfinite(a).all()


def test_under_jit_scales_start_at_the_floor_without_a_warning(strict):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        a = jit_once(PIT().init)(jax.random.key(0), make_constant_channels())["params"]["a"]
    assert not caught
    np.testing.assert_array_equal(a[:, 1], np.full(2, 1e-3, np.float32))


def test_a_warning_after_jit_names_the_layer_and_counts_its_channels():
    init = jit_once(make_network().init)
    healthy = init(jax.random.key(0), make_images())
    warn_of_floored_scales(healthy["params"])  # Warnings are errors here.
    silent = init(jax.random.key(0), np.zeros_like(make_images()))
    with pytest.warns(UserWarning) as caught:
        warn_of_floored_scales(silent["params"])
    first = str(caught[0].message)
    assert "24 of 24 scales of stage1_block1/PIT_0/a start at the floor 0.001" in first


@pytest.mark.parametrize("name", ["a", "alpha"])  # The latter of the released parametrization.
def test_only_scales_at_the_floor_are_counted(name):
    scale = jnp.array([[1e-3, 1.1e-3, 0.5]])
    params = {"conv": {"kernel": jnp.zeros(3)}, "PIT_0": {name: scale, "p": jnp.zeros((1, 1))}}
    with pytest.warns(
        UserWarning, match=f"1 of 3 scales of PIT_0/{name} start at the floor"
    ) as caught:
        warn_of_floored_scales(params)
    assert len(caught) == 1


def test_ones_start_every_scale_at_one(strict):
    current = make_constant_channels()
    a = jit_once(PIT(scale_init=ones).init)(jax.random.key(0), current)["params"]["a"]
    np.testing.assert_array_equal(a, np.ones((2, 3)))
    assert a.dtype == jnp.float32


def test_a_custom_initializer_sees_membranes_and_levels_of_every_step(strict):
    def double_first_sample(u, *, levels):
        return 2 * u[0] + levels

    current = jnp.array([[[1.0, 2.0], [4.0, 0.0]]])  # B T C = 1 2 2
    neuron = PIT(levels=3, decay=0.5, scale_init=double_first_sample)
    a = jit_once(neuron.init)(jax.random.key(0), current)["params"]["a"]
    # a_0 = 5 and 7, so nothing fires (u/a < 1/2) and u_1 = current + u_0 / 2 = 4.5 and 1.
    np.testing.assert_array_equal(a, [[5, 7], [12, 5]])


def test_the_floor_also_holds_for_custom_initializers(strict):
    with pytest.warns(UserWarning, match="4 of 4 scales"):
        a = PIT(scale_init=lambda u, *, levels: -jnp.ones(u.shape[-1])).init(
            jax.random.key(0), jnp.ones((3, 2, 2))
        )["params"]["a"]
    np.testing.assert_array_equal(a, np.full((2, 2), 1e-3, np.float32))
