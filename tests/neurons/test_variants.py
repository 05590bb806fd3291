"""Variants equal their plain neuron with neutral settings; parameters start as documented."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax import initializers
from pit_jax.neurons import (
    IF,
    ILIF,
    NEURONS,
    PIT,
    PLIF,
    QAT,
    RealSpike,
    Ternary,
    TrainableTernary,
    scale,
)
from pit_jax.neurons.scale import apply_floor, scale_gradient
from pit_jax.neurons.step import clearing_reset, hard_reset, soft_reset
from tests.helpers import jit_once
from tests.neurons.table import draw_currents

KEY = jax.random.key(0)
SCALES = np.float32([[0.3], [1.7], [0.9]])  # Scales of three channels.


def run_both_ways(neuron, params, x):
    """Return the output, and gradients of a weighted sum of it for parameters and currents."""
    weights = jnp.asarray(np.random.default_rng(2).normal(size=x.shape), x.dtype)

    @jax.jit
    def run(params, x):
        y, pull = jax.vjp(lambda params, x: neuron.apply({"params": params}, x), params, x)
        return y, *pull(weights)

    return run(params, x)


def init(neuron, x):
    """Return the initial parameters of a neuron."""
    return jit_once(neuron.init)(KEY, jnp.asarray(x))["params"]


@pytest.mark.parametrize(
    "variant, params, plain, plain_params, steps",
    [
        (RealSpike(), {"amplitude": np.ones(3, np.float32)}, IF(), {}, 4),
        (TrainableTernary(), {"alpha": np.float32(1)}, Ternary(), {}, 4),
        (PIT(strength=0.0), {"a": np.ones((4, 3), np.float32)}, ILIF(), {}, 4),
        (QAT(), {"a": SCALES[:, 0]}, PIT(strength=0.0), {"a": SCALES.T}, 1),
    ],
    ids=["RealSpike is IF", "TrainableTernary is Ternary", "PIT is ILIF", "QAT is PIT"],
)
def test_with_neutral_settings_a_variant_equals_its_plain_neuron_bit_for_bit(
    strict, variant, params, plain, plain_params, steps
):
    x = draw_currents((8, steps, 5, 3))
    y, grad_params, grad_x = run_both_ways(variant, params, x)
    want, grad_plain_params, want_grad_x = run_both_ways(plain, plain_params, x)
    assert len(np.unique(want)) > 1 and want_grad_x.any()
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(grad_x, want_grad_x)
    if grad_plain_params:
        np.testing.assert_array_equal(grad_params["a"], grad_plain_params["a"][0])


def test_gradients_of_amplitudes_follow_the_product_rule(x64):
    x = draw_currents((8, 4, 5, 3), float)
    weights = np.random.default_rng(2).normal(size=x.shape)
    amplitude, alpha = np.array([0.5, -2.0, 3.0]), np.array(0.75)
    for neuron, plain, params in [
        (RealSpike(), IF(), {"amplitude": amplitude}),
        (TrainableTernary(), Ternary(), {"alpha": alpha}),
    ]:
        ((name, value),) = params.items()
        y, grad_params, grad_x = run_both_ways(neuron, params, x)
        spikes = np.asarray(jit_once(plain.apply)({}, x))
        np.testing.assert_array_equal(y, value * spikes)
        want = (weights * spikes).reshape(-1, 3).sum(0)
        np.testing.assert_allclose(
            grad_params[name], want if value.ndim else want.sum(), rtol=1e-12
        )
        pull = jax.vjp(jax.jit(partial(plain.apply, {})), x)[1]
        np.testing.assert_allclose(
            grad_x, pull(jnp.asarray(value * weights))[0], atol=1e-12, rtol=0
        )


@pytest.mark.parametrize(
    "name, count",
    [
        ("PLIF", lambda steps, channels: 1),
        ("GLIF", lambda steps, channels: (7 + steps) * channels),
        ("PIT", lambda steps, channels: steps * channels),
        ("PITFull", lambda steps, channels: steps * channels * (1 + channels)),
        ("RealSpike", lambda steps, channels: channels),
        ("TrainableTernary", lambda steps, channels: 1),
        ("QAT", lambda steps, channels: channels),
        ("QBLIF", lambda steps, channels: 1),
        *((name, lambda steps, channels: 0) for name in ("ReLU", "IF", "LIF", "CLIF", "ILIF")),
        ("Ternary", lambda steps, channels: 0),
    ],
)
def test_neurons_have_as_many_parameters_as_in_their_papers(name, count):
    for steps, channels in [(1, 3), (4, 5)]:
        shape = jax.ShapeDtypeStruct((2, steps, 7, channels), jnp.float32)
        variables = jax.eval_shape(NEURONS[name]().init, KEY, shape)
        assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count(steps, channels)


@pytest.mark.parametrize("tau, decay", [(2.0, 1 / 2), (4.0, 3 / 4), (1.25, 1 / 5)])
def test_plif_starts_at_the_decay_of_its_time_constant(x64, tau, decay):
    w = init(PLIF(tau=tau), draw_currents((1, 2, 3), float))["w"]
    assert 1 - jax.nn.sigmoid(w) == pytest.approx(decay, abs=1e-15)


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_a_time_constant_of_plif_of_at_most_one_step_is_an_error(tau):
    with pytest.raises(ValueError, match=f"tau must be more than 1, got {tau}"):
        PLIF(tau=tau)


def test_glif_starts_with_half_open_gates_and_the_papers_values(x64):
    params = init(NEURONS["GLIF"](), draw_currents((1, 4, 64), float))
    start = {name: np.asarray(jax.nn.sigmoid(value)) for name, value in params.items()}
    gates = np.stack([start.pop(f"{name}_gate") for name in ("leak", "input", "reset")])
    assert np.abs(gates - 0.5).max() < 0.025 and gates.std() > 0.01
    assert len(np.unique(gates)) == gates.size  # All gates of all channels differ.
    values = {"decay": 0.25, "leak": 0.0625, "reset": 0.5, "threshold": 0.5, "conductance": 0.5}
    assert start.keys() == {f"{name}_logit" for name in values}
    for name, value in values.items():
        np.testing.assert_allclose(start[f"{name}_logit"], value, rtol=1e-14, err_msg=name)


def membranes(shape=(6, 5, 4, 3)):
    return np.random.default_rng(0).normal([-2.0, 0.0, 5.0], [1.0, 2.0, 0.5], shape)


def variance(u, ddof):
    return ((u - u.sum(0) / len(u)) ** 2).sum(0) / (len(u) - ddof)


INITS = {
    "three_sigma": lambda u, levels: (
        (np.abs(u.mean(0)) + 3 * np.sqrt(variance(u, 0))) / math.sqrt(levels)
    ),
    "released": lambda u, levels: (
        np.maximum(np.abs(u.mean(0) - 3 * variance(u, 1)), np.abs(u.mean(0) + 3 * variance(u, 1)))
        / math.sqrt(levels)
    ),
    "covering": lambda u, levels: 3 * np.sqrt(variance(u, 0)) / levels,
    "min_max": lambda u, levels: np.abs(u).max(0) / levels,
    "lsq": lambda u, levels: 2 * np.abs(u).mean(0) / math.sqrt(levels),
    "ones": lambda u, levels: np.ones(u.shape[-1]),
}


@pytest.mark.parametrize("levels", [1, 3, 4])
@pytest.mark.parametrize("name", INITS)
def test_initial_scales_equal_their_formula(x64, name, levels):
    u = membranes()
    want = INITS[name](u.reshape(-1, 3), levels)
    scale_init = getattr(initializers, name)
    np.testing.assert_allclose(scale_init(jnp.asarray(u), levels=levels), want, rtol=1e-13)
    if levels == 3:
        # Membranes start at 0, so those of the first step are the currents.
        for neuron in (PIT, QAT):
            params = init(neuron(levels=levels, scale_init=scale_init), u[:, None])
            np.testing.assert_allclose(np.ravel(params["a"]), want, rtol=1e-13)


def test_the_released_initializer_divides_by_n_minus_1_but_not_by_zero(strict):
    u = jnp.array([[1.0], [3.0]])  # Mean 2, variance 2.
    np.testing.assert_array_equal(initializers.released(u, levels=4), [(2 + 3 * 2) / 2])
    np.testing.assert_array_equal(initializers.released(u[:1], levels=4), [1 / 2])


EXTREMES = [0.0, 1e-37, 1e-30, 1e-3, 1 / 3, 1.0, math.pi, 1e10, 3e38]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("mode", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("factor", [0.5, 1 / 3, 1e-6, 0.0, 7.0])
def test_scaling_a_gradient_does_not_change_the_value(mode, wide, factor):
    with jax.enable_x64(wide):
        a = jnp.array(EXTREMES + [-x for x in EXTREMES] + [1e300] * wide)
        value, pull = jax.vjp(mode(partial(scale_gradient, factor=factor)), a)
        np.testing.assert_array_equal(value, a)
        g = jnp.linspace(-3, 3, a.size)
        np.testing.assert_array_equal(pull(g)[0], g * factor)


@pytest.mark.parametrize("neuron", [PIT, QAT])
def test_lsq_divides_the_gradient_by_the_root_of_membranes_times_levels(strict, neuron):
    x = draw_currents((8, 4, 5, 3))
    a = SCALES[:, 0] if neuron is QAT else np.tile(SCALES.T, (4, 1))
    shared = 8 * 5 * (4 if neuron is QAT else 1)  # Membranes that share a scale.
    plain = run_both_ways(neuron(levels=3), {"a": a}, x)
    y, grad_params, grad_x = run_both_ways(neuron(levels=3, parametrize=scale.lsq), {"a": a}, x)
    np.testing.assert_array_equal(y, plain[0])
    np.testing.assert_array_equal(grad_x, plain[2])
    factor = np.float32(1 / math.sqrt(shared * 3))
    assert plain[1]["a"].all()
    np.testing.assert_array_equal(grad_params["a"], plain[1]["a"] * factor)


def test_the_released_scale_is_a_constant_vector_times_a_learned_factor_per_step(x64):
    x = draw_currents((8, 4, 5, 3), float)
    neuron = PIT(parametrize=scale.released)
    start = init(neuron, x)
    np.testing.assert_array_equal(start["alpha"], init(PIT(), x)["a"])
    np.testing.assert_array_equal(start["p"], np.ones((4, 1)))

    alpha, p = start["alpha"], jnp.array([[0.5], [1.25], [0.75], [2.0]])
    y, grad_params, grad_x = run_both_ways(neuron, {"alpha": alpha, "p": p}, x)
    want, grad_plain, want_grad_x = run_both_ways(PIT(), {"a": alpha * p}, x)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(grad_x, want_grad_x)
    np.testing.assert_array_equal(grad_params["alpha"], np.zeros((4, 3)))
    grad_p = (grad_plain["a"] * alpha).sum(1, keepdims=True) / 2
    np.testing.assert_allclose(grad_params["p"], grad_p, rtol=1e-12)


def test_the_released_scale_has_one_factor_for_a_neuron_without_steps(strict):
    x = draw_currents((8, 4, 5, 3))
    neuron = QAT(parametrize=scale.released)
    params = init(neuron, x)
    assert (params["alpha"].shape, params["p"].shape) == ((3,), (1,))
    y = jit_once(neuron.apply)({"params": params}, x)
    want = jit_once(QAT().apply)({"params": {"a": params["alpha"]}}, x)
    np.testing.assert_array_equal(y, want)


def test_the_floor_also_holds_for_released_scales(strict):
    params = {"alpha": jnp.full((1, 2), 0.5), "p": jnp.full((1, 1), -1.0)}
    x = jnp.full((1, 1, 2), 1.0)
    y = jit_once(PIT(parametrize=scale.released).apply)({"params": params}, x)
    np.testing.assert_array_equal(y, np.full((1, 1, 2), 4 * apply_floor(jnp.float32(-0.5))))


def test_a_hard_reset_of_pit_clears_the_membrane_wherever_it_fires():
    hard = PIT(reset=hard_reset)
    assert hard == PIT(reset=clearing_reset) and hard.clone().reset is clearing_reset
    assert PIT().reset is soft_reset
    x = jnp.asarray(np.abs(draw_currents((2, 4, 3))), jnp.float32)
    params = {"a": jnp.full((4, 3), 0.3, jnp.float32)}
    _, sown = jit_once(partial(hard.apply, mutable=["intermediates"]))({"params": params}, x)
    u, count = (sown["intermediates"][name][0] for name in ("membrane", "count"))
    fired = count[:, :-1] > 0
    assert fired.any() and not fired.all()
    remaining = jnp.where(fired, 0, u[:, :-1])
    np.testing.assert_array_equal(u[:, 1:], 0.5 * remaining + x[:, 1:])
