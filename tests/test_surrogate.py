"""Rounding is exact for every number, and every surrogate gradient equals its formula."""

import math
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pit_jax.surrogate import (
    arctan,
    clipped_round,
    rectangle,
    rectified_round,
    sigmoid,
    tailed_round,
    ternary_spike,
    triangle,
)
from tests.helpers import count_thresholds

EAGER_AND_JIT = pytest.mark.parametrize("mode", [lambda f: f, jax.jit], ids=["eager", "jit"])
TINY = float(np.finfo(np.float32).tiny)  # XLA's CPU code treats smaller float32 as 0.


def draw_near_ties() -> np.ndarray:
    ties = np.arange(-2, 11, dtype=np.float32) + np.float32(0.5)
    ulps = np.arange(-4, 5, dtype=np.int32)
    # Neighboring floats have neighboring bit patterns, read as integers.
    return (ties.view(np.int32)[:, None] + ulps).view(np.float32).ravel()


def random_floats() -> np.ndarray:
    random = np.random.default_rng(0)
    patterns = random.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    uniform = random.uniform(-20, 20, 100_000).astype(np.float32)
    return np.concatenate([patterns[np.isfinite(patterns)], uniform])


def bfloat16s() -> np.ndarray:
    patterns = np.arange(2**16, dtype=np.uint16)
    exponent = np.uint16(0x7F80)  # All ones in infinities and NaNs.
    return patterns[patterns & exponent != exponent].view(jnp.bfloat16)


def subnormals() -> np.ndarray:
    bits = np.random.default_rng(0).integers(1, 2**23, 1000, dtype=np.uint32)
    both_signs = np.concatenate([bits, bits | np.uint32(2**31), np.uint32([1, 2**31 + 1])])
    return both_signs.view(np.float32)


def floor_of_x_plus_half(x: np.ndarray) -> np.ndarray:
    # In float64, x + 1/2 of a float32 is exact wherever the sum is near an integer.
    return np.floor(x.astype(np.float64) + 0.5)


def gradient(f, x):
    return np.asarray(jax.jit(jax.grad(lambda x: f(x).sum()))(jnp.asarray(x)))


NUMBERS = pytest.mark.parametrize("numbers", [draw_near_ties, random_floats, subnormals, bfloat16s])


@EAGER_AND_JIT
@NUMBERS
def test_rounding_is_the_exact_floor_of_x_plus_half(numbers, mode, strict):
    x = numbers()
    got = mode(rectified_round)(jnp.asarray(x))
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(got, np.float64), floor_of_x_plus_half(x))


@EAGER_AND_JIT
@NUMBERS
@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_clipped_rounding_is_the_sum_of_threshold_comparisons(numbers, mode, levels, strict):
    x = numbers()
    want = count_thresholds(x.astype(np.float64), levels)
    assert set(want) == set(range(levels + 1)) or numbers is subnormals
    for clip in (
        partial(clipped_round, levels=levels),
        partial(tailed_round, levels=levels),
        lambda x: jnp.clip(rectified_round(x), 0, levels),
    ):
        np.testing.assert_array_equal(np.asarray(mode(clip)(jnp.asarray(x)), np.float64), want)


def test_rounding_is_exact_where_floor_of_x_plus_half_is_not():
    x = np.float32(0.49999997)
    assert np.floor(x + np.float32(0.5)) == 1
    assert rectified_round(jnp.asarray(x)) == 0


TIES_AND_NEIGHBORS = [
    x
    for tie in np.arange(-9.5, 10)
    for x in (math.nextafter(tie, -math.inf), float(tie), math.nextafter(tie, math.inf))
]


@settings(max_examples=50)
@given(st.floats(-(2**60), 2**60) | st.sampled_from(TIES_AND_NEIGHBORS))
def test_rounding_of_a_float64_equals_exact_rational_rounding(x64, x):
    assert int(rectified_round(jnp.asarray(x))) == math.floor(Fraction(x) + Fraction(1, 2))


@EAGER_AND_JIT
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_nan_stays_nan_and_infinities_clip(mode, dtype):
    x = jnp.array([jnp.nan, jnp.inf, -jnp.inf], dtype)
    rounded, clipped = mode(rectified_round)(x), mode(partial(clipped_round, levels=4))(x)
    np.testing.assert_array_equal(rounded.astype(float), [np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(clipped.astype(float), [np.nan, 4, 0])


@pytest.mark.parametrize(
    "x, want",
    [
        (0.0, 1.0),
        (0.25, 1.125),
        (0.5, 1.25),
        (0.75, 1.125),
        (1.0, 1.0),
        (7.125, 1.0625),
        (-0.25, 1.125),
        (-0.5, 1.25),
        (-1.0, 1.0),
        (-2.75, 1.125),
        (-2.625, 1.1875),
        (1e30, 1.0),
    ],
)
def test_gradient_of_rounding_is_eq_13(x, want, strict):
    assert gradient(partial(rectified_round, strength=0.5), x) == want


@pytest.mark.parametrize("strength", [0.0, 0.01, 0.1, 1.0])
def test_eq_13_is_1_on_integers_and_1_plus_half_strength_on_boundaries(strength, strict):
    k = np.arange(-20, 21, dtype=np.float32)
    f = partial(rectified_round, strength=strength)
    np.testing.assert_array_equal(gradient(f, k), np.ones_like(k))
    boundary = np.float32(1) + np.float32(strength) * np.float32(0.5)
    np.testing.assert_array_equal(gradient(f, k + np.float32(0.5)), np.full_like(k, boundary))


def test_eq_13_has_strength_one_hundredth_by_default(strict):
    assert gradient(rectified_round, 0.5) == np.float32(1) + np.float32(0.01) * np.float32(0.5)


def test_eq_13_stays_between_1_and_1_plus_half_strength(strict):
    got = gradient(partial(rectified_round, strength=0.5), random_floats())
    assert got.min() == 1 and got.max() <= 1.25 and got.max() > 1.249


def test_eq_13_is_symmetric(strict):
    x = np.random.default_rng(0).integers(0, 2**18, 10_000).astype(np.float32) / 2**12
    f = partial(rectified_round, strength=0.5)
    np.testing.assert_array_equal(gradient(f, -x), gradient(f, x))


def test_eq_13_is_the_distance_to_the_nearest_integer_in_float64(x64):
    x = np.random.default_rng(0).uniform(-20, 20, 10_000)
    want = 1 + 0.3 * np.abs(x - np.rint(x))
    got = gradient(partial(rectified_round, strength=0.3), x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "f, x, derivative",
    [
        (partial(rectified_round, strength=0.5), 0.5, 1.25),
        (partial(clipped_round, levels=4, strength=0.5), 0.5, 1.25),
        (partial(tailed_round, levels=4), 6.0, np.float32(np.exp(-2))),
        (ternary_spike, -0.75, 1.0),
        (partial(rectangle, width=2.0), 0.5, 0.5),
        (partial(triangle, width=2.0), 1.0, 0.25),
        (partial(sigmoid, slope=4.0), 0.0, 1.0),
        (partial(arctan, slope=4.0), 0.0, 2.0),
    ],
)
def test_surrogate_gradients_multiply_the_incoming_gradient(f, x, derivative, strict):
    _, vjp = jax.vjp(f, jnp.float32(x))
    assert vjp(jnp.float32(-3)) == (-3 * derivative,)


@pytest.mark.parametrize(
    "f",
    [
        rectified_round,
        partial(clipped_round, levels=4),
        partial(tailed_round, levels=4),
        ternary_spike,
        rectangle,
        triangle,
        sigmoid,
        arctan,
    ],
)
def test_differentiation_does_not_change_the_forward_pass(f, strict):
    x = jnp.asarray(draw_near_ties())
    np.testing.assert_array_equal(jax.vjp(f, x)[0], f(x))


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_clipped_round_has_a_gradient_from_0_to_levels_inclusive_and_none_one_ulp_outside(
    levels, strict
):
    above = np.nextafter(np.float32(levels), np.float32(99))
    x = np.array([-TINY, -0.0, 0, levels, above, -0.5, levels + 0.5, -1e30, 1e30], np.float32)
    got = gradient(partial(clipped_round, levels=levels), x)
    np.testing.assert_array_equal(got, [0, 1, 1, 1, 0, 0, 0, 0, 0])


def test_clipped_round_has_the_gradient_of_eq_13_inside(strict):
    x = np.array([-0.5, 0, 0.25, 0.5, 1, 3.5, 3.75, 4, 4.5], np.float32)
    got = gradient(partial(clipped_round, levels=4, strength=0.5), x)
    np.testing.assert_array_equal(got, [0, 1, 1.125, 1.25, 1, 1.25, 1.125, 1, 0])


def test_nothing_flows_back_from_infinities_through_clipped_round(strict):
    x = np.array([np.inf, -np.inf], np.float32)
    got = gradient(partial(clipped_round, levels=4, strength=0.5), x)
    np.testing.assert_array_equal(got, [0, 0])


def test_tailed_round_has_the_gradient_1_inside_and_exponential_tails_outside(strict):
    x = np.array([-np.inf, -1e30, -3, -0.5, 0, 2.3, 4, 4.25, 9, 1e30, np.inf], np.float32)
    got = gradient(partial(tailed_round, levels=4), x)
    distance = np.array([np.inf, 1e30, 3, 0.5, 0, 0, 0, 0.25, 5, 1e30, np.inf])
    np.testing.assert_allclose(got, np.exp(-distance), rtol=1e-6, atol=0)


def test_subnormals_are_read_as_zero_by_thresholds_on_the_cpu(strict):
    # XLA's CPU code flushes them to 0, so a membrane of -1e-39 is in the window and fires H(0).
    x = subnormals()
    np.testing.assert_array_equal(gradient(partial(clipped_round, levels=4), x), np.ones_like(x))
    np.testing.assert_array_equal(rectangle(jnp.asarray(x)), np.ones_like(x))


HALF, ONE = np.float32(0.5), np.float32(1)
BELOW_HALF, ABOVE_ONE = np.nextafter(HALF, np.float32(0)), np.nextafter(ONE, np.float32(2))


@EAGER_AND_JIT
def test_ternary_spikes_are_the_sign_from_one_half_on_inclusive(mode, strict):
    x = np.array([0, TINY, BELOW_HALF, HALF, ONE, 1e30, np.inf], np.float32)
    want = [0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_array_equal(mode(ternary_spike)(jnp.asarray(x)), want)
    np.testing.assert_array_equal(mode(ternary_spike)(jnp.asarray(-x)), np.negative(want))


def test_ternary_spikes_have_the_gradient_1_up_to_one_inclusive(strict):
    x = np.array([0, TINY, BELOW_HALF, HALF, ONE, ABOVE_ONE, 1e30, np.inf], np.float32)
    want = [1, 1, 1, 1, 1, 0, 0, 0]
    np.testing.assert_array_equal(gradient(ternary_spike, x), want)
    np.testing.assert_array_equal(gradient(ternary_spike, -x), want)


SURROGATES = pytest.mark.parametrize("spike", [rectangle, triangle, sigmoid, arctan])


@EAGER_AND_JIT
@SURROGATES
def test_binary_spikes_are_the_heaviside_step_with_1_at_0(spike, mode, strict):
    x = jnp.array([-np.inf, -2, -TINY, -0.0, 0, TINY, 2, np.inf], jnp.float32)
    np.testing.assert_array_equal(mode(spike)(x), [0, 0, 0, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("spike", [ternary_spike, rectangle, triangle, sigmoid, arctan])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_spikes_and_gradients_keep_the_dtype(spike, dtype, strict):
    x = jnp.array([-1, 0.25], dtype)
    assert spike(x).dtype == dtype
    assert gradient(spike, x).dtype == dtype


@pytest.mark.parametrize(
    "x, want",
    [(0, 0.5), (0.25, 0.5), (1, 0.5), (-1, 0.5), (np.nextafter(1, 2, dtype="f"), 0), (-1.5, 0)],
)
def test_rectangle_gradient_is_1_over_width_to_half_a_width_inclusive(x, want, strict):
    assert gradient(partial(rectangle, width=2.0), np.float32(x)) == want


@pytest.mark.parametrize("x, want", [(0, 0.5), (0.5, 0.375), (-1, 0.25), (2, 0), (-2, 0), (3, 0)])
def test_triangle_gradient_falls_from_1_over_width_to_0_at_a_width(x, want, strict):
    assert gradient(partial(triangle, width=2.0), np.float32(x)) == want


@pytest.mark.parametrize(
    "x, want",
    [
        (0, 0.5),
        (math.log(3) / 2, 2 * 3 / 16),  # sigmoid(ln 3) = 3/4
        (-math.log(3) / 2, 2 * 3 / 16),
        (math.log(9) / 2, 2 * 9 / 100),  # sigmoid(ln 9) = 9/10
        (500, 0),
        (-500, 0),
    ],
)
def test_sigmoid_gradient_is_slope_p_1_minus_p(x, want, x64):
    assert gradient(partial(sigmoid, slope=2.0), float(x)) == pytest.approx(want, abs=1e-15)


@pytest.mark.parametrize(
    "x, want",
    [
        (0, 1),
        (1 / math.pi, 0.5),
        (-1 / math.pi, 0.5),
        (3 / math.pi, 0.1),
        (1, 1 / (1 + math.pi**2)),
    ],
)
def test_arctan_gradient_is_a_cauchy_density(x, want, x64):
    assert gradient(partial(arctan, slope=2.0), float(x)) == pytest.approx(want, abs=1e-15)


@pytest.mark.parametrize("spike", [rectangle, triangle, sigmoid, arctan])
@settings(max_examples=10)
@given(scale=st.floats(0.25, 8))
def test_surrogate_gradients_are_even_densities(spike, x64, scale):
    # With x = tan(angle), a midpoint rule on 0..pi/2 integrates over half of the real line.
    step = math.pi / 200_000
    angle = (np.arange(100_000) + 0.5) * step
    x = np.tan(angle)
    right = gradient(partial(spike, **{get_scale_name(spike): scale}), x)
    left = gradient(partial(spike, **{get_scale_name(spike): scale}), -x)
    np.testing.assert_allclose(left, right, rtol=1e-14, atol=0)
    assert np.sum(2 * right / np.cos(angle) ** 2) * step == pytest.approx(1, abs=1e-4)


def get_scale_name(spike):
    return "width" if spike in (rectangle, triangle) else "slope"
