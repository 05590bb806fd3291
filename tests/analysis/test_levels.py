"""The use of levels equals counts by hand; the errors of steps equal closed forms and a search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from pit_jax import initializers
from pit_jax.analysis.levels import (
    LevelUse,
    error_ratio,
    find_best_step,
    measure_levels,
    measure_recorded,
)
from pit_jax.analysis.plots import levels as plots
from pit_jax.analysis.recorder import LayerRecording
from pit_jax.neurons import ILIF, LIF
from tests.analysis.small import Small
from tests.helpers import count_thresholds, jit_once


def compute_error(u, a, levels):
    u = np.maximum(u, 0)
    return np.sum((a * count_thresholds(u / a, levels) - u) ** 2)


def integrate_error(a, levels):
    """Return E (a k - u)² over the positive u of a standard normal distribution."""

    def square(u):
        k = min(np.floor(u / a + 0.5), levels)
        return (a * k - u) ** 2 * stats.norm.pdf(u)

    return integrate.quad(square, 0, 9, points=a * (np.arange(levels) + 0.5), limit=300)[0]


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    return np.random.default_rng(0).normal(size=200_000)


@pytest.mark.parametrize(
    "levels, step, ratios",
    [
        (1, 1.225, {"three_sigma": 3.4, "lsq": 1.2, "ones": 1.1}),
        (2, 0.843, {"three_sigma": 4.5, "lsq": 1.3, "ones": 1.1}),
        (4, 0.535, {"three_sigma": 6.1, "lsq": 1.7, "ones": 2.7}),
        (8, 0.320, {"three_sigma": 9.0, "lsq": 2.5, "ones": 8.0}),
    ],
)
def test_starts_on_normal_membranes_have_their_known_errors(gaussian, levels, step, ratios):
    assert find_best_step(gaussian, levels=levels) == pytest.approx(step, rel=0.01)
    least = integrate_error(step, levels)
    u = jnp.asarray(gaussian, jnp.float32)[:, None]
    for name, ratio in ratios.items():
        a = float(initializers.SCALE_INITS[name](u, levels=levels)[0])
        s = a * count_thresholds(np.maximum(gaussian, 0) / a, levels)
        found = error_ratio(gaussian, s, levels=levels)
        assert found == pytest.approx(ratio, abs=0.06)
        assert found == pytest.approx(integrate_error(a, levels) / least, rel=0.02)


@pytest.mark.parametrize("levels", [1, 3, 8])
def test_no_other_step_has_less_error(levels):
    rng = np.random.default_rng(levels)
    for u in (rng.exponential(size=999), rng.integers(1, 9, 50) / 4, rng.standard_cauchy(500)):
        best = compute_error(u, find_best_step(u, levels=levels), levels)
        others = np.geomspace(0.01, 2, 400) * np.max(u)
        assert best <= min(compute_error(u, a, levels) for a in others) * (1 + 1e-3) + 1e-12
        s = 0.7 * count_thresholds(np.maximum(u, 0) / 0.7, levels)
        if best > 1e-9:
            expected = compute_error(u, 0.7, levels) / best
            assert error_ratio(u, s, levels=levels) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("u", [[1.0, 2.0], [3.0], [0.1, 5.0, 5.1], [1.0, 1.0, 3.0, 7.0]])
def test_few_membranes_get_a_step_without_error_where_one_exists(u):
    """Search all counts: the best step of each is Σ k u / Σ k²."""
    counts = np.array(list(itertools.product(range(4), repeat=len(u))))[1:]
    steps = counts @ u / (counts**2).sum(1)
    least = min(compute_error(np.array(u), a, 3) for a in steps if a > 0)
    found = compute_error(np.array(u), find_best_step(u, levels=3), 3)
    assert found <= least + 1e-4 * np.square(u).sum()


def test_errors_without_positive_membranes_are_nan():
    u = np.array([-1.0, 0.0])
    assert np.isnan(error_ratio(u, 0 * u, levels=4)) and np.isnan(find_best_step(u, levels=4))


def make_recording(u, a, levels) -> LayerRecording:
    """Return a PIT layer with membranes `[B, T, N, C]` and scales `[T, C]`."""
    u, a = jnp.asarray(u, jnp.float32), jnp.asarray(a, jnp.float32)
    x = u / a[:, None]
    k = jnp.asarray(count_thresholds(np.asarray(x), levels), jnp.float32)
    return LayerRecording(u, k, k * a[:, None], levels, a, x)


def test_shares_silence_and_clipping_are_counted_by_step():
    u = np.zeros((2, 2, 3, 2))
    u[:, 0] = [[0.4, 9], [1, 9], [2, 9]]  # The second channel is above the top level, 2.5.
    u[0, 1, 0, 0] = 1.2
    one = make_recording(u, np.ones((2, 2)), 2)
    parts = [make_recording(each[None], np.ones((2, 2)), 2) for each in u]
    for batches in ([{"a": one}], [{"a": each} for each in parts]):
        (found,) = measure_recorded(batches).values()
        assert found.integers.tolist() == [0, 1, 2] and found.samples == 2
        assert found.counts.tolist() == [[2, 2, 8], [11, 1, 0]]
        np.testing.assert_allclose(found.silent, [0, 0.5])
        np.testing.assert_allclose(found.saturated, [0.5, 0])
        np.testing.assert_allclose(found.clipped, [0.5, 0])
        p = np.array([2, 2, 8]) / 12
        assert found.effective[0] == pytest.approx(np.exp(-np.sum(p * np.log(p))))


def test_the_ratio_of_several_batches_equals_the_ratio_of_all_membranes(gaussian):
    u = gaussian[:32_000].reshape(80, 2, 50, 4)
    a = np.array([[1.5] * 4, [0.5] * 4])
    (whole,) = measure_recorded([{"a": make_recording(u, a, 4)}]).values()
    parts = [{"a": make_recording(u[i : i + 20], a, 4)} for i in range(0, 80, 20)]
    (parted,) = measure_recorded(parts).values()
    np.testing.assert_allclose(parted.error_ratio, whole.error_ratio, rtol=0.01)
    np.testing.assert_allclose(whole.error_ratio, [6.1, 1.0], rtol=0.05)


def test_a_first_batch_of_small_membranes_does_not_limit_the_best_step(gaussian):
    u, a = gaussian[:20_000].reshape(20, 1, 1000, 1), np.array([[3.0]])
    batches = [{"a": make_recording(each, a, 1)} for each in (u[:1] / 20, u)]
    (found,) = measure_recorded(batches).values()
    np.testing.assert_allclose(found.error_ratio, [3.4], rtol=0.05)


def test_layers_are_measured_in_order_and_scales_of_the_network_count(key):
    model, x = Small(), jax.random.normal(key, (64, 3, 7))
    variables = jit_once(model.init)(key, x)
    found = measure_levels(model, variables, [x[:32], x[32:]])
    assert list(found) == ["PIT_0", "PIT_1"]
    totals = [each.counts.sum(1).tolist() for each in found.values()]
    assert totals == [[64 * 6] * 3, [64 * 5] * 3]
    # Eq. 12 at four levels.
    assert (found["PIT_0"].error_ratio > 3).all()


@pytest.mark.parametrize("neuron", [LIF(), ILIF(levels=4)])
def test_neurons_that_do_not_round_have_no_error(key, neuron):
    x = jax.random.normal(key, (16, 2, 5))
    (found,) = measure_levels(neuron, {}, [x]).values()
    assert isinstance(found, LevelUse)
    assert np.isnan(found.error_ratio).all() == (found.levels == 1)
    assert np.isnan(found.clipped).all() == (found.levels == 1)


def test_membranes_that_are_not_finite_raise():
    u = np.ones((1, 1, 2, 1))
    u[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="a has membranes that are not finite"):
        measure_recorded([{"a": make_recording(u, np.ones((1, 1)), 2)}])
    with pytest.raises(ValueError, match="the neuron has scales that are not finite"):
        measure_recorded([{"": make_recording(np.ones((1, 1, 2, 1)), [[np.inf]], 2)}])


def make_use(shares, ratio=2.0) -> LevelUse:
    counts = np.array([np.multiply(shares, 1000)], int)
    one = np.zeros(1)
    return LevelUse(len(shares) - 1, np.arange(len(shares)), counts, one, one, one, one + ratio, 8)


def test_a_picture_shows_shares_effective_levels_and_errors():
    axes = plots.plot_shares({"a": make_use([0.7, 0.2, 0.1]), "b": make_use([0.5, 0.5])}, 8).axes[0]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    np.testing.assert_allclose(widths, [[70, 50], [20, 50], [10, 0]])
    assert [text.get_text() for text in axes.texts if "×" in text.get_text()] == [
        "2.23, error 2.0×",
        "2.00, error 2.0×",
    ]


def test_runs_are_compared_in_one_picture():
    runs = {
        "lif": {"a": make_use([0.8, 0.2], np.nan)},
        "pit": {"a": make_use([0.7, 0.2, 0.1], 6.0), "b": make_use([0.5, 0.3, 0.2], 1.0)},
    }
    left, right = plots.compare(runs, 8).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["lif", "pit"]
    assert [bars[1].get_width() for bars in left.containers] == pytest.approx([60, 25, 15])
    np.testing.assert_array_equal(right.get_lines()[1].get_ydata(), [6.0, 1.0])
