"""pit_fire against Eqs. 10, 30 and 32, value by value, and the floor of its scale."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pit_jax.neurons import ILIF, PIT, charge, fire, pit_count, pit_fire, soft_reset
from pit_jax.neurons.pit import apply_floor
from pit_jax.surrogate import clipped_round, rectangle
from tests.helpers import count_thresholds, jit_once

pytestmark = pytest.mark.usefixtures("strict")
EAGER_AND_JIT = pytest.mark.parametrize("mode", [lambda f: f, jax.jit], ids=["eager", "jit"])
# XLA's CPU code treats smaller float32 as 0.
TINY = float(np.finfo(np.float32).tiny)


def make_near_ties(a: np.ndarray, rows: int = 4096) -> np.ndarray:
    """Return membranes `[rows, C]` within 3 ulp of a * (k + 1/2), from below 0 to above 5."""
    random = np.random.default_rng(1)
    k = random.integers(-1, 6, (rows, a.size)).astype(np.float32)
    ulps = random.integers(-3, 4, k.shape, dtype=np.int32)
    return ((a * (k + np.float32(0.5))).view(np.int32) + ulps).view(np.float32)


def draw_scales(channels: int = 64) -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(size=channels)).astype(np.float32)


@partial(jax.jit, static_argnames=("levels", "strength"))
def differentiate(u, a, g, levels, strength):
    return jax.vjp(lambda u, a: pit_fire(u, a, levels=levels, **strength), u, a)[1](g)


def vjp(u, a, g=1.0, *, levels, **strength):
    """Return gradients for u and a, with the incoming gradient `g`."""
    g = np.broadcast_to(np.asarray(g, u.dtype), u.shape)
    return tuple(map(np.asarray, differentiate(u, a, g, levels, FrozenDict(strength))))


@EAGER_AND_JIT
@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_eq_10_is_bit_equal_to_numpy_even_at_ties(mode, levels):
    a = draw_scales()
    u = make_near_ties(a)
    x = u * (np.float32(1) / a)
    assert np.mean(x == np.floor(x) + 0.5) > 0.1  # The sample has true ties.
    want = count_thresholds(x, levels)
    assert set(np.unique(want)) == set(range(levels + 1)) or levels == 8
    count = mode(lambda u, a: pit_count(u, a, levels=levels))(jnp.asarray(u), jnp.asarray(a))
    s = mode(lambda u, a: pit_fire(u, a, levels=levels))(jnp.asarray(u), jnp.asarray(a))
    assert count.dtype == s.dtype == jnp.float32
    np.testing.assert_array_equal(count, want)
    np.testing.assert_array_equal(s, a * want)


@pytest.mark.parametrize("a", [0.25, 1.0, 4.0])
def test_ties_of_a_power_of_two_round_up(a):
    k = np.arange(-2, 7, dtype=np.float32)
    s = pit_fire(jnp.asarray(a * (k + np.float32(0.5))), jnp.float32(a), levels=4)
    np.testing.assert_array_equal(s, a * np.array([0, 0, 1, 2, 3, 4, 4, 4, 4], np.float32))


def test_eq_10_by_hand():
    u = jnp.array([[-1.0, -1.0], [0.24, 0.99], [0.25, 1.0], [1.3, 5.1], [9.0, 99.0]])
    s = pit_fire(u, jnp.array([0.5, 2.0]), levels=3)
    np.testing.assert_array_equal(s, [[0, 0], [0, 0], [0.5, 2], [1.5, 6], [1.5, 6]])


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_eq_30_masks_at_0_and_levels_inclusive_and_one_ulp_outside_is_0(levels):
    a = np.float32(0.5)  # u / a is exact.
    top = a * levels
    outside = np.array([-2 * TINY, np.nextafter(top, np.float32(99)), -1, top + a], np.float32)
    grad_u, _ = vjp(outside, a, levels=levels, strength=0.5)
    np.testing.assert_array_equal(grad_u, np.zeros(4))
    ends = np.array([0, top, 0.25 * a, top - 0.25 * a], np.float32)
    grad_u, _ = vjp(ends, a, levels=levels, strength=0.5)
    np.testing.assert_array_equal(grad_u, [1, 1, 1.125, 1.125])


def test_eq_30_is_the_factor_of_eq_13_at_u_over_a():
    u = np.array([-1, 0, 0.5, 1, 1.5, 2, 7, 7.5, 8, 8.5], np.float32)
    grad_u, _ = vjp(u, np.float32(2), g=3, levels=4, strength=0.5)
    factor = np.array([0, 1, 1.125, 1.25, 1.125, 1, 1.25, 1.125, 1, 0])
    np.testing.assert_array_equal(grad_u, 3 * factor)


def test_eq_30_has_strength_one_hundredth_by_default():
    grad_u, _ = vjp(np.array([0.5], np.float32), np.float32(1), levels=4)
    assert grad_u == np.float32(1) + np.float32(0.01) * np.float32(0.5)


@pytest.mark.parametrize(
    "u, want",
    [
        (-3.0, 0.0),  # Below: k = 0, no second term.
        (-0.5, 0.0),
        (0.0, 0.0),
        (0.75, -0.375),  # k = 0, u/a = 3/8
        (1.0, 0.5),  # k = 1, u/a = 1/2
        (1.5, 0.25),
        (2.0, 0.0),
        (5.25, 0.375),  # k = 3, u/a = 21/8
        (8.0, 0.0),  # k = 4 = u/a, still inside.
        (8.5, 4.0),  # Above: the whole D.
        (99.0, 4.0),
    ],
)
def test_eq_32_is_k_minus_u_over_a_inside_and_k_outside(u, want):
    for strength in (0.0, 0.5):  # Eq. 13's factor does not enter.
        _, grad_a = vjp(np.array([u], np.float32), np.float32(2), levels=4, strength=strength)
        assert grad_a == want


def test_eq_32_is_summed_over_batch_and_space_for_each_channel(x64):
    random = np.random.default_rng(0)
    u, a = random.normal(1, 3, (5, 4, 3, 6)), random.uniform(0.3, 2, 6)
    g = random.normal(size=u.shape)
    x = u / a
    # k - x inside, k outside; written with a loop over channels.
    want = np.zeros(6)
    for c in range(6):
        for xc, gc in zip(x[..., c].ravel(), g[..., c].ravel(), strict=True):
            want[c] += gc * ((4 if xc > 4 else 0) if xc < 0 or xc > 4 else np.rint(xc) - xc)
    _, grad_a = vjp(u, a, g, levels=4)
    assert (x < 0).any() and (x > 4).any() and ((x > 0) & (x < 4)).any()
    np.testing.assert_allclose(grad_a, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1), (4, 3), (2, 1, 3)])
def test_a_broadcasts_against_the_last_axes_and_its_gradient_has_its_shape(x64, shape):
    random = np.random.default_rng(0)
    u, a = random.normal(1, 3, (2, 4, 3)), random.uniform(0.3, 2, shape)
    g = random.normal(size=u.shape)
    full = np.broadcast_to(a, u.shape)
    s = pit_fire(jnp.asarray(u), jnp.asarray(a), levels=4)
    np.testing.assert_allclose(s, full * count_thresholds(u / full, 4), rtol=0, atol=1e-12)
    grad_u, grad_a = vjp(u, a, g, levels=4)
    grad_u_full, grad_a_full = vjp(u, full, g, levels=4)
    assert grad_a.shape == shape
    summed = grad_a_full.sum(tuple(range(u.ndim - len(shape))))
    wide = tuple(axis for axis, size in enumerate(shape) if size == 1)
    np.testing.assert_allclose(grad_a, summed.sum(wide, keepdims=True), rtol=0, atol=1e-12)
    np.testing.assert_allclose(grad_u, grad_u_full, rtol=0, atol=1e-12)


def test_with_one_level_it_fires_from_half_of_a():
    u = np.array([-1, 0.99, 1, 2, 2.5], np.float32)
    s = pit_fire(jnp.asarray(u), jnp.float32(2), levels=1)
    np.testing.assert_array_equal(s, [0, 0, 2, 2, 2])
    grad_u, _ = vjp(u, np.float32(2), levels=1, strength=0.0)
    np.testing.assert_array_equal(grad_u, [0, 1, 1, 1, 0])


@pytest.mark.parametrize("levels", [0, -1])
def test_levels_below_one_are_an_error(levels):
    with pytest.raises(ValueError, match=f"levels must be at least 1, got {levels}"):
        pit_fire(jnp.ones((2, 3)), jnp.ones(3), levels=levels)


@EAGER_AND_JIT
def test_nan_stays_nan_and_infinities_fire_all_levels_or_none(mode):
    u = jnp.array([jnp.nan, jnp.inf, -jnp.inf])
    s = mode(lambda u: pit_fire(u, jnp.float32(0.5), levels=4))(u)
    np.testing.assert_array_equal(s, [np.nan, 2, 0])


@EAGER_AND_JIT
def test_scale_one_and_strength_zero_is_the_integer_lif(mode):
    one = np.ones(8, np.float32)
    u = jnp.asarray(make_near_ties(one, rows=512))
    g = jnp.asarray(np.random.default_rng(2).normal(size=u.shape), jnp.float32)

    def both_ways(f, u):
        s, pull = jax.vjp(f, u)
        return s, pull(g)[0]

    pit = mode(lambda u: both_ways(lambda u: pit_fire(u, jnp.ones(8), levels=4, strength=0.0), u))
    integer_lif = mode(lambda u: both_ways(lambda u: clipped_round(u, 4), u))
    for ours, theirs in zip(pit(u), integer_lif(u), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # At the first step the module fires the same as the function.
    np.testing.assert_array_equal(ILIF(levels=4).apply({}, u[:, None])[:, 0], pit(u)[0])


@pytest.mark.parametrize("unroll", [1, 4])
def test_pit_fires_the_rounded_sown_membrane_bit_for_bit_even_at_ties(unroll):
    a = np.exp(np.random.default_rng(0).normal(size=(4, 64))).astype(np.float32)
    halves = np.random.default_rng(1).integers(-1, 12, (512, 4, 64)).astype(np.float32) / 2
    neuron = PIT(levels=4, decay=0.9, unroll=unroll)
    apply = jax.jit(partial(neuron.apply, mutable=["intermediates"]))
    y, sown = apply({"params": {"a": a}}, jnp.asarray(halves * a))
    x = np.asarray(sown["intermediates"]["membrane"][0]) * (np.float32(1) / a)
    assert np.mean(x % 1 == 0.5) > 0.05
    np.testing.assert_array_equal(sown["intermediates"]["count"][0], count_thresholds(x, 4))
    np.testing.assert_array_equal(y, a * count_thresholds(x, 4))


def test_the_floor_of_a_scale_passes_the_whole_gradient():
    a = jnp.array([-1.0, 0.0, 5e-4, 1e-3, 0.5])
    floor = np.float32(1e-3)
    value, pull = jax.vjp(apply_floor, a)
    np.testing.assert_array_equal(apply_floor(a), [floor, floor, floor, floor, 0.5])
    np.testing.assert_array_equal(value, apply_floor(a))
    g = jnp.array([1.0, -2.0, 3.0, -4.0, 5.0])
    np.testing.assert_array_equal(pull(g)[0], g)


def test_a_scale_below_the_floor_fires_at_the_floor_and_learns():
    x = jnp.full((1, 1, 1), 0.002)
    neuron = PIT(levels=4)

    @jit_once
    def fire(a):
        return neuron.apply({"params": {"a": a}}, x).sum()

    below, at = jnp.full((1, 1), -3.0), jnp.full((1, 1), 1e-3)
    assert fire(below) == fire(at) > 0
    high = jnp.full((1, 1, 1), 1.0)  # Above D * a: Eq. 32 is D.
    grad = jit_once(jax.grad(lambda a: neuron.apply({"params": {"a": a}}, high).sum()))
    assert grad(below) == grad(at) == 4


MEMBRANES = arrays(np.float32, (3, 4), elements=st.floats(-40, 40, width=32))
SCALES = arrays(np.float32, 4, elements=st.floats(0.0625, 8, width=32))
LEVELS = st.integers(1, 9)


@settings(max_examples=40)
@given(u=MEMBRANES, a=SCALES, levels=LEVELS)
def test_spikes_over_a_are_integers_from_0_to_levels(u, a, levels):
    count = np.asarray(pit_count(jnp.asarray(u), jnp.asarray(a), levels=levels))
    np.testing.assert_array_equal(count, np.rint(count))
    assert count.min() >= 0 and count.max() <= levels
    s = np.asarray(pit_fire(jnp.asarray(u), jnp.asarray(a), levels=levels))
    np.testing.assert_array_equal(s, a * count)


@settings(max_examples=40)
@given(u=MEMBRANES, exponent=st.integers(-4, 3), levels=LEVELS)
def test_inside_the_window_spikes_are_within_half_of_a_of_the_membrane(u, exponent, levels):
    a = np.float32(2.0**exponent)  # A power of two, so that products and quotients are exact.
    s = np.asarray(pit_fire(jnp.asarray(u), jnp.asarray(a), levels=levels), np.float64)
    window = (u >= 0) & (u <= levels * a)
    assert (np.abs(u.astype(np.float64) - s)[window] <= a / 2).all()


@settings(max_examples=40)
@given(u=MEMBRANES, a=SCALES, levels=LEVELS)
def test_for_any_scale_they_are_within_half_of_a_up_to_rounding_errors(u, a, levels):
    s = np.asarray(pit_fire(jnp.asarray(u), jnp.asarray(a), levels=levels), np.float64)
    window = (u >= 0) & (u * (np.float32(1) / a) <= levels)
    room = a.astype(np.float64) * (0.5 + 2 * levels * np.finfo(np.float32).eps)
    assert (np.abs(u.astype(np.float64) - s) <= room)[window].all()


@settings(max_examples=40)
@given(u=MEMBRANES, a=SCALES, levels=LEVELS)
def test_the_count_is_the_sum_of_binary_spikes_of_an_if_neuron(u, a, levels):
    # An IF neuron with threshold 1/2, a soft reset by 1 and the input u/a in the first of D slots
    # (Appendix A).
    x = jnp.asarray(u * (np.float32(1) / a))
    v, total = jnp.zeros_like(x), jnp.zeros_like(x)
    for slot in range(levels):
        membrane = charge(v, x if slot == 0 else jnp.zeros_like(x), decay=1.0)
        spikes = fire(membrane, threshold=0.5, spike=rectangle)
        v, total = soft_reset(membrane, spikes), total + spikes
    np.testing.assert_array_equal(
        pit_count(jnp.asarray(u), jnp.asarray(a), levels=levels), np.asarray(total)
    )
