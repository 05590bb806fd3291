"""PITFull equals PIT without mixing, stays invertible, and has the gradient of its surrogate."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pit_jax.neurons import PIT, PITFull
from pit_jax.neurons.pit_full import factorize
from pit_jax.neurons.scale import apply_floor
from tests.helpers import count_thresholds, jit_once

CHANNELS = 5


def draw_currents(steps, channels=CHANNELS, batch=32, seed=0):
    return np.random.default_rng(seed).normal(0.7, 1.5, (batch, steps, 4, channels))


def make_mixed(steps, channels=CHANNELS, size=0.4):
    """Return parameters in which no entry of `mixing` is 0."""
    random = np.random.default_rng(1)
    return {
        "a": jnp.asarray(random.uniform(0.4, 1.2, (steps, channels))),
        "mixing": jnp.asarray(random.uniform(-size, size, (steps, channels, channels))),
    }


def fire(neuron, params, x):
    y, sown = jit_once(partial(neuron.apply, mutable=["intermediates"]))({"params": params}, x)
    return {"output": y} | {name: value[0] for name, value in sown["intermediates"].items()}


def matrix(a, mixing):
    """Return A = L diag(a) U."""
    one = np.eye(a.shape[-1])
    return (one + np.tril(mixing, -1)) @ (a[..., None] * (one + np.triu(mixing, 1)))


@pytest.mark.parametrize("steps", [1, 3])
def test_without_mixing_it_is_initialized_and_fires_like_pit_bit_for_bit(strict, steps):
    x = jnp.asarray(draw_currents(steps), jnp.float32)
    pit, full = (jit_once(f().init)(jax.random.key(0), x)["params"] for f in (PIT, PITFull))
    np.testing.assert_array_equal(full["a"], pit["a"])
    np.testing.assert_array_equal(full["mixing"], np.zeros((steps, CHANNELS, CHANNELS)))
    want, got = fire(PIT(), pit, x), fire(PITFull(), full, x)
    for probe in ("output", "count", "rate"):
        np.testing.assert_array_equal(got[probe], want[probe], err_msg=probe)
    # XLA may contract u - a k to one rounding in one of the two programs.
    np.testing.assert_allclose(got["membrane"], want["membrane"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_without_mixing_membranes_equal_those_of_pit_if_products_are_exact(strict, steps):
    x = jnp.asarray(draw_currents(steps), jnp.float32)
    exponents = np.random.default_rng(1).integers(-2, 2, (steps, CHANNELS))
    a = jnp.asarray(np.exp2(exponents), jnp.float32)
    want = fire(PIT(), {"a": a}, x)
    mixing = jnp.zeros((steps, CHANNELS, CHANNELS))
    got = fire(PITFull(), {"a": a, "mixing": mixing}, x)
    assert set(np.unique(want["count"])) == {0, 1, 2, 3, 4}
    for probe, value in want.items():
        np.testing.assert_array_equal(got[probe], value, err_msg=probe)


def test_without_mixing_its_gradients_equal_those_of_pit(x64):
    x = jnp.asarray(draw_currents(3))
    a = make_mixed(3)["a"]
    weights = jnp.asarray(draw_currents(3, seed=2))

    def gradient(neuron, params):
        def loss(params, x):
            return jnp.sum(weights * neuron.apply({"params": params}, x))

        return jit_once(jax.grad(loss, (0, 1)))(params, x)

    grad_pit, grad_x = gradient(PIT(strength=0.3), {"a": a})
    grad_full, grad_x_full = gradient(
        PITFull(strength=0.3), {"a": a, "mixing": jnp.zeros((3, CHANNELS, CHANNELS))}
    )
    np.testing.assert_allclose(grad_full["a"], grad_pit["a"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(grad_x_full, grad_x, rtol=0, atol=1e-11)


def test_it_fires_the_clipped_integers_of_the_unmixed_membrane(x64):
    x, params = draw_currents(3), make_mixed(3)
    got = fire(PITFull(), params, jnp.asarray(x))
    v = np.zeros_like(x[:, 0])
    for t in range(3):
        u = v / 2 + x[:, t]
        a = matrix(np.asarray(params["a"][t]), np.asarray(params["mixing"][t]))
        k = count_thresholds(u @ np.linalg.inv(a).T, 4)
        v = u - k @ a.T
        np.testing.assert_allclose(got["membrane"][:, t], u, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(got["count"][:, t], k)
        np.testing.assert_allclose(got["output"][:, t], k @ a.T, rtol=0, atol=1e-12)


def multiply_by_inverse(params):
    """Return A A^-1, computed from the factors that the neuron uses."""
    lower, upper, lower_inverse, upper_inverse = jax.vmap(factorize)(params["mixing"])
    a = apply_floor(params["a"])[..., None, :]
    return np.asarray((lower * a @ upper) @ (upper_inverse / a @ lower_inverse))


def test_the_inverse_is_accurate_at_first_and_after_200_steps_of_descent(strict):
    teacher, student = make_mixed(2, size=0.8), make_mixed(2)
    x = jnp.asarray(draw_currents(2, batch=64), jnp.float32)
    teacher, params = jax.tree.map(lambda p: p.astype(jnp.float32), (teacher, student))
    target = jit_once(PITFull().apply)({"params": teacher}, x)

    def loss(params):
        return jnp.mean((PITFull().apply({"params": params}, x) - target) ** 2)

    def descend(params, _):
        value, gradient = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

    one = np.broadcast_to(np.eye(CHANNELS), (2, CHANNELS, CHANNELS))
    np.testing.assert_allclose(multiply_by_inverse(params), one, rtol=0, atol=1e-5)
    trained, losses = jit_once(lambda params: jax.lax.scan(descend, params, length=200))(params)
    np.testing.assert_allclose(multiply_by_inverse(trained), one, rtol=0, atol=1e-5)
    assert losses[-1] < losses[0] / 2
    assert jnp.abs(trained["mixing"] - params["mixing"]).max() > 0.1


STRENGTH = 0.3  # Larger than the paper's 0.01, so that a wrong factor shows.


def straight_through(params, x, frozen):
    """Return spikes `[B, T, N, C]` of a surrogate that is smooth in `params` and `x`, in NumPy.

    s~ = A (k_0 + J_u (A_0^-1 u - x_0) + J_A (A^-1 u_0 - x_0)), where the index 0 marks constants
    from `frozen`, J_u is the mask times the factor of Eq. 13, and J_A is the mask alone.
    """
    v, spikes = np.zeros_like(x[:, 0]), []
    for t, at in enumerate(frozen):
        u = v / 2 + x[:, t]
        a = matrix(params["a"][t], params["mixing"][t])
        of_u = u @ at["inverse"].T - at["x"]
        of_a = at["u"] @ np.linalg.inv(a).T - at["x"]
        mask = (at["x"] >= 0) & (at["x"] <= 4)
        factor = 1 + STRENGTH * np.abs(at["x"] - np.rint(at["x"]))
        spikes.append((at["k"] + mask * factor * of_u + mask * of_a) @ a.T)
        v = u - spikes[-1]
    return np.stack(spikes, 1)


def freeze(params, x):
    """Return u_0, A_0^-1, x_0 = A_0^-1 u_0 and k_0 of every step."""
    v, frozen = np.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        u = v / 2 + x[:, t]
        a = matrix(params["a"][t], params["mixing"][t])
        inverse = np.linalg.inv(a)
        frozen.append({"u": u, "inverse": inverse, "x": u @ inverse.T})
        frozen[-1]["k"] = count_thresholds(frozen[-1]["x"], 4)
        v = u - frozen[-1]["k"] @ a.T
    return frozen


def finite_differences(f, x, step=1e-5):
    """Return the gradient of `f` at the array `x`, entry by entry."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            ends.append(f(moved))
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize("steps", [1, 2])
def test_gradients_equal_those_of_the_frozen_straight_through_surrogate(x64, steps):
    x = draw_currents(steps, channels=3, batch=4)
    params = jax.tree.map(np.asarray, make_mixed(steps, channels=3))
    weights = draw_currents(steps, channels=3, batch=4, seed=2)
    frozen = freeze(params, x)
    for at in frozen:  # Values below, inside and above the window, and none close to a kink.
        assert (at["x"] < 0).any() and (at["x"] > 4).any()
        assert ((at["x"] > 0) & (at["x"] < 4)).sum() > 5
        assert np.abs(2 * at["x"] - np.rint(2 * at["x"])).min() > 1e-4

    def loss(params, x):
        return jnp.sum(weights * PITFull(strength=STRENGTH).apply({"params": params}, x))

    got, got_x = jit_once(jax.grad(loss, (0, 1)))(params, x)

    def surrogate(**moved):
        moved_x = moved.pop("x", x)
        return np.sum(weights * straight_through(params | moved, moved_x, frozen))

    want = {
        name: finite_differences(lambda p, name=name: surrogate(**{name: p}), params[name])
        for name in params
    }
    want_x = finite_differences(lambda x: surrogate(x=x), x)
    for name in params:
        assert np.abs(want[name]).max() > 0.1
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(got_x, want_x, rtol=0, atol=1e-6)


def test_the_diagonal_of_mixing_has_no_effect(x64):
    x, params = jnp.asarray(draw_currents(2)), make_mixed(2)

    @jit_once
    @jax.value_and_grad
    def differentiate(params):
        return jnp.sum(PITFull().apply({"params": params}, x) ** 2)

    diagonal = np.eye(CHANNELS, dtype=bool)
    loss, gradients = differentiate(params)
    gradient = np.asarray(gradients["mixing"])
    np.testing.assert_array_equal(gradient[:, diagonal], np.zeros((2, CHANNELS)))
    assert gradient[:, ~diagonal].all()
    moved = params | {"mixing": params["mixing"] + 7 * diagonal}
    assert differentiate(moved)[0] == loss


@pytest.mark.parametrize("unroll", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_no_device_gathers_the_batch(unroll):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    divided, whole = (
        NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec())
    )
    neuron = PITFull(unroll=unroll)
    params = jax.tree.map(lambda p: p.astype(jnp.float32), make_mixed(2))

    def loss(params, x):
        return jnp.sum(neuron.apply({"params": params}, x) ** 2)

    step = jax.jit(
        jax.value_and_grad(loss, (0, 1)),
        in_shardings=(whole, divided),
        out_shardings=(whole, (whole, divided)),
    )
    x = jax.ShapeDtypeStruct((32, 2, 4, CHANNELS), jnp.float32)
    text = step.lower(params, x).compile().as_text()
    assert "all-reduce" in text  # The parameters' gradients are summed over the devices.
    assert "all-gather" not in text
