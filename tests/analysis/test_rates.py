"""Firing rates: sums over batches equal NumPy on all samples; synchrony equals closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.analysis.plots import rates as plots
from pit_jax.analysis.rates import (
    interval,
    measure_counts,
    measure_firing,
    stack_steps,
    synchrony,
)
from tests.analysis.small import Small
from tests.helpers import jit_once


def draw_counts(rng: np.random.Generator, *shape: int, low: int = 0) -> jax.Array:
    return jnp.asarray(rng.integers(low, 5, shape), jnp.float32)


def test_rates_counts_and_channels_equal_numpy_over_all_samples():
    count = draw_counts(np.random.default_rng(0), 6, 3, 4, 5, 7).at[..., 2].set(0).at[..., 4].set(4)
    (found,) = measure_counts([{"a": (count[:4], 4)}, {"a": (count[4:], 4)}]).values()
    flat = np.asarray(count)
    np.testing.assert_allclose(found.per_sample, flat.mean((2, 3, 4)) / 4, rtol=1e-6)
    assert found.integers.tolist() == [0, 1, 2, 3, 4]
    assert found.histogram.tolist() == [(flat == k).sum() for k in range(5)]
    assert np.flatnonzero(found.silent).tolist() == [2]
    assert np.flatnonzero(found.saturated).tolist() == [4]
    assert found.neurons == 140


def test_negative_spikes_have_rates_and_their_own_integers():
    count = draw_counts(np.random.default_rng(0), 4, 1, 9, low=-4)
    (found,) = measure_counts([{"a": (count, 4)}]).values()
    assert found.integers.tolist() == list(range(-4, 5)) and found.histogram.sum() == 36
    np.testing.assert_allclose(found.per_sample, np.abs(count).mean(2) / 4, rtol=1e-6)


def test_synchrony_is_one_for_identical_neurons_and_nan_for_constant_ones():
    one = draw_counts(np.random.default_rng(0), 50, 2, 1)
    (found,) = measure_counts([{"a": (jnp.tile(one, (1, 1, 30)), 4)}]).values()
    assert found.synchrony == pytest.approx(1, rel=1e-5)
    (found,) = measure_counts([{"a": (jnp.ones((5, 2, 3)), 4)}]).values()
    assert np.isnan(found.synchrony)


def test_synchrony_of_independent_neurons_is_one_over_their_number():
    rng = np.random.default_rng(0)
    found = [
        measure_counts([{"a": (draw_counts(rng, 200, 2, 40), 4)}])["a"].synchrony for _ in range(40)
    ]
    # The mean of forty estimates, within four of its standard errors.
    assert abs(np.mean(found) - 1 / 40) < 4 * np.std(found) / np.sqrt(40)


def test_synchrony_of_correlated_neurons_is_their_mean_correlation():
    rng, n, shared = np.random.default_rng(0), 100, 0.3
    x = np.sqrt(shared) * rng.normal(size=(40_000, 1)) + np.sqrt(1 - shared) * rng.normal(
        size=(40_000, n)
    )
    found = synchrony(x.mean(0), (x**2).mean(0), x.mean(1))
    assert found == pytest.approx(shared + (1 - shared) / n, rel=0.02)


def test_an_interval_has_its_coverage():
    rng = np.random.default_rng(0)
    low, high = interval(rng.normal(2, 3, (12, 4000)))
    assert np.mean((low < 2) & (high > 2)) == pytest.approx(0.95, abs=0.015)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        interval(np.ones((1, 3)))


def test_layers_are_measured_in_order(key):
    model, x = Small(), jax.random.normal(key, (5, 3, 7))
    found = measure_firing(model, jit_once(model.init)(key, x), [x[:3], x[3:]])
    assert list(found) == ["PIT_0", "PIT_1"]
    assert all(each.per_sample.shape == (5, 3) for each in found.values())
    assert [each.neurons for each in found.values()] == [6, 5]


def test_figures_show_every_layer():
    rates = {name: np.array([0.1, 0.2]) for name in ("a", "b")}
    ends = {name: (rate - 0.01, rate + 0.01) for name, rate in rates.items()}
    axes = plots.plot_over_steps(rates, ends, 8).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert "8 samples" in axes.get_xlabel()
    assert len(plots.integers({"a": np.ones(3), "b": np.ones(3)}, [0, 1, 2], 8).axes) == 2
    assert len(plots.compare({"one": rates, "two": rates}, 8).axes[0].lines) == 2
    assert plots.plot_synchrony({"a": (0.1, 30)}, 8).axes[0].get_xscale() == "log"


def test_seven_layers_at_ten_steps_are_one_heat_map_that_states_the_widest_interval():
    rates = {f"layer{i}": np.full(10, 0.1 * i) for i in range(7)}
    ends = {name: (rate - 0.01, rate + 0.02) for name, rate in rates.items()}
    axes = plots.plot_over_steps(rates, ends, 8).axes[0]
    assert not axes.patches and len(axes.collections) == 1 and len(axes.texts) == 70
    assert axes.get_xlabel() == "time step; 95 % intervals over 8 samples: at most ± 2"


def test_layers_that_run_fewer_steps_have_no_rates_after_their_last(tmp_path):
    rates = {"a": np.array([0.1, 0.2, 0.3]), "b": np.array([0.4])}
    stacked = stack_steps(rates.values())
    np.testing.assert_array_equal(stacked, [[0.1, 0.2, 0.3], [0.4, np.nan, np.nan]])
    ends = {name: (each, each) for name, each in rates.items()}
    plots.plot_over_steps(rates, ends, 4).savefig(tmp_path / "steps.png")
    plots.compare({"run": rates}, 4).savefig(tmp_path / "compared.png")
