"""Ranges of levels on the same membranes: errors on known distributions."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, stats

from pit_jax import initializers
from pit_jax.analysis.plots import quantization as plots
from pit_jax.analysis.quantization import RANGES, Range, compare_ranges, mse_optimal
from pit_jax.analysis.recorder import LayerRecording
from tests.helpers import count_thresholds


def make_recordings(u, parts=1):
    """Return recordings of membranes `[B, T, N, C]` in batches."""
    u = jnp.asarray(u, jnp.float32)
    return [{"layer": LayerRecording(part, part, part, 1, None)} for part in jnp.split(u, parts)]


def compute_error(u, a, levels):
    return np.mean((a * count_thresholds(u / a, levels) - u) ** 2)


@pytest.fixture(scope="module")
def gaussian():
    """Return standard normal membranes, and the measures of the ranges on eight batches."""
    u = np.random.default_rng(0).normal(size=(512, 1, 64, 3))
    return u, compare_ranges(make_recordings(u, 8), levels=(1, 4))["layer"]


@pytest.mark.parametrize("levels", [1, 4])
def test_errors_of_a_gaussian_equal_its_integral(gaussian, levels):
    _, found = gaussian
    for name in ("three_sigma", "covering", "lsq"):
        one = found[levels][name]
        a = one.scale[0]

        def square(x, a, levels=levels):
            k = min(max(np.floor(x / a + 0.5), 0), levels)
            return (a * k - x) ** 2 * stats.norm.pdf(x)

        truth = np.mean(
            [
                integrate.quad(
                    square, 0, 9, args=(each,), points=each * (np.arange(levels) + 0.5), limit=200
                )[0]
                for each in a
            ]
        )
        value, low, high = one.error
        assert abs(value[0] - truth / 0.5) < 2 * (high[0] - low[0])
        assert high[0] - low[0] < 0.1 * truth / 0.5
        # Below 0 the error is the square itself, half the variance.
        value, low, high = one.mse
        assert abs(value[0] - truth - 0.5) < 2 * (high[0] - low[0])


def test_scales_are_computed_from_the_first_batch(gaussian):
    u, found = gaussian
    first = jnp.asarray(u[:64, 0], jnp.float32)
    for name, start in (
        ("min_max", initializers.min_max),
        ("three_sigma", initializers.three_sigma),
    ):
        np.testing.assert_allclose(found[4][name].scale[0], start(first, levels=4), rtol=1e-6)


def test_min_max_scales_vary_more_between_batches_than_deviations(gaussian):
    _, found = gaussian
    spread = {name: float(one.spread.mean()) for name, one in found[4].items()}
    # A standard deviation of n = 4096 draws varies by 1 / sqrt(2 n).
    assert spread["covering"] == pytest.approx(1 / np.sqrt(2 * 4096), rel=0.4)
    assert spread["min_max"] > 4 * spread["covering"]
    assert spread["binary"] == 0


def test_counts_of_levels_and_clipped_membranes_are_exact():
    """Compare with counts by hand: with scale 1 and D = 4, membranes 5 and 6 are clipped."""
    u = np.tile([0.1, 1, 2, 5, 6], (4, 1, 1, 1)).reshape(4, 1, 5, 1)
    ranges = {"ones": Range(initializers.ones)}
    one = compare_ranges(make_recordings(u), levels=(4,), ranges=ranges)["layer"][4]["ones"]
    assert one.clipped.value == pytest.approx(2 / 5)
    assert one.used == 4  # 0, 1, 2 and 4.
    assert one.mse.value == pytest.approx((0.1**2 + 1 + 4) / 5)
    assert one.error.value == pytest.approx((0.1**2 + 1 + 4) / (0.1**2 + 1 + 4 + 25 + 36))
    assert np.isnan(one.spread).all()
    p = np.array([1, 1, 1, 2]) / 5
    assert one.effective.value == pytest.approx(2 ** -np.sum(p * np.log2(p)))


def test_binary_has_one_level_and_threshold_one():
    u = np.tile([-2, 0.99, 1, 7], (4, 1, 1, 1)).reshape(4, 1, 4, 1)
    found = compare_ranges(make_recordings(u), levels=(1, 8))["layer"]
    for levels in (1, 8):
        assert found[levels]["binary"].mse.value == pytest.approx((4 + 0.99**2 + 36) / 4)
        assert found[levels]["binary"].used == 2


@given(
    hnp.arrays(np.float32, (32, 2), elements=st.floats(-4, 4, width=32, allow_subnormal=False)),
    st.integers(1, 8),
)
@settings(max_examples=50)
def test_the_scale_of_least_error_is_the_best_candidate(u, levels):
    a = np.asarray(mse_optimal(jnp.asarray(u), levels=levels))
    assert (a > 0).all()
    for channel in range(2):
        x = u[:, channel].astype(np.float64)
        if x.max() > 0:
            searched = np.geomspace(0.02, 1, 100) * x.max() / (levels - 0.5)
            least = min(compute_error(x, each, levels) for each in searched)
            assert compute_error(x, a[channel], levels) <= least + 1e-4 * np.mean(x**2)


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_no_range_has_less_error_than_the_scale_of_least_error(levels):
    u = jnp.asarray(np.random.default_rng(1).normal(size=(500, 40, 2)), jnp.float32)
    best = mse_optimal(u, levels=levels)
    for name, one in RANGES.items():
        if name != "binary":
            a = one.scale(u, levels=levels)
            for channel in range(2):
                x = np.asarray(u[..., channel], np.float64)
                ours = compute_error(x, float(best[channel]), levels)
                # Neighboring candidates differ by 4 %.
                assert ours <= 1.002 * compute_error(x, float(a[channel]), levels)


def test_no_levels_and_infinite_membranes_raise():
    u = np.zeros((4, 1, 2, 1))
    with pytest.raises(ValueError, match=r"levels\[0\] must be at least 1, got 0"):
        compare_ranges(make_recordings(u), levels=(0,))
    u[0] = np.nan
    with pytest.raises(ValueError, match="layer has membranes that are not finite"):
        compare_ranges(make_recordings(u))


def test_figures_have_units_and_numbers_of_samples(gaussian):
    u, found = gaussian
    drawn = plots.plot_against_levels({"layer": found})
    assert "512 samples" in drawn.get_supxlabel()
    labels = [axes.get_ylabel() for axes in drawn.axes]
    assert labels == ["‖s − u‖² / ‖u‖²", "levels", "share", "standard deviation / mean"]
    levels = {"min_max": (np.array([1.0, 2.0]), np.array([0.5, 1.5]))}
    drawn = plots.plot_on_membranes(u.ravel(), levels, "layer")
    assert drawn.get_suptitle() == "layer, n = 98,304 membranes"
    assert drawn.axes[0].get_xlabel() == "membrane, potential"
