"""The density of membranes: it integrates to 1 and equals the distribution."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pit_jax.analysis.membrane import Density, estimate_densities
from pit_jax.analysis.plots import membrane as plots


def estimate(u: np.ndarray, parts: int = 1, bandwidth: float = 0.1) -> Density:
    batches = [{"a": jnp.asarray(each, jnp.float32)} for each in np.array_split(u, parts)]
    return estimate_densities(lambda: batches, bandwidth)["a"]


def test_every_density_integrates_to_one_within_the_grid():
    rng = np.random.default_rng(0)
    u = rng.standard_t(3, (8, 3, 5, 6))  # Heavy tails.
    found = estimate(u)
    width = found.at[1] - found.at[0]
    np.testing.assert_allclose(found.density.sum(axis=1) * width, 1, rtol=1e-6)
    assert found.density[:, [0, -1]].max() < 1e-9


def test_the_density_is_the_distribution_smoothed_with_the_bandwidth():
    rng = np.random.default_rng(0)
    u = rng.normal([[[1.0], [-2.0]]], [[[0.5], [1.5]]], (400, 2, 500))
    found = estimate(u)
    for t, (mean, sd) in enumerate([(1.0, 0.5), (-2.0, 1.5)]):
        expected = stats.norm.pdf(found.at, mean, np.hypot(sd, found.bandwidth))
        np.testing.assert_allclose(found.density[t], expected, atol=0.01)
        assert found.mean[t] == pytest.approx(mean, abs=0.02)
        assert found.sd[t] == pytest.approx(sd, rel=0.02)


def test_batches_do_not_change_the_density():
    u = np.random.default_rng(0).normal(size=(10, 2, 30))
    one, three = estimate(u), estimate(u, parts=3)
    np.testing.assert_allclose(one.at, three.at, rtol=1e-5)
    np.testing.assert_allclose(one.density, three.density, atol=0.02)
    np.testing.assert_allclose(one.sd, three.sd, rtol=1e-5)
    assert one.samples == three.samples == 10


def test_the_distance_of_steps_is_zero_if_equal_and_a_half_if_disjoint():
    u = np.random.default_rng(0).normal(size=(50, 1, 40))
    assert estimate(np.concatenate([u, u], axis=1)).apart.max() < 1e-6
    apart = estimate(np.concatenate([u, u + 100], axis=1), bandwidth=0.001).apart
    np.testing.assert_allclose(apart, 0.5, atol=1e-6)


def test_constant_membranes_have_a_density():
    found = estimate(np.full((3, 2, 4), 0.7))
    assert found.at[found.density[0].argmax()] == pytest.approx(0.7, abs=0.05)
    with pytest.raises(ValueError, match="bandwidth must be above 0, got 0"):
        estimate(np.ones((1, 1, 1)), bandwidth=0.0)


def test_figures_show_samples_and_bandwidth():
    found = {"a": estimate(np.random.default_rng(0).normal(size=(9, 3, 50)))}
    surface = plots.surfaces(found).axes[0]
    assert "n = 9, bandwidth 0.098" in surface.get_title() and surface.name == "3d"
    flat = plots.plot_from_above(found)
    assert flat.axes[0].get_title(loc="left").startswith("a\nbandwidth")
    assert "n = 9 samples" in flat.get_supxlabel()
    single = plots.plot_from_above(
        {"a": estimate(np.random.default_rng(0).normal(size=(9, 1, 50)))}
    )
    assert "membrane u; n = 9" in single.get_supxlabel()


def test_a_layer_of_one_step_has_cells_next_to_a_layer_of_four():
    rng = np.random.default_rng(0)
    found = {f"T={steps}": estimate(rng.normal(size=(9, steps, 50))) for steps in (1, 4)}
    for axes, steps in zip(plots.plot_from_above(found).axes, (1, 4), strict=True):
        (cells,) = axes.collections
        x, y = np.moveaxis(cells.get_coordinates(), -1, 0)
        assert x[0].tolist() == [t + 0.5 for t in range(steps + 1)]
        assert (np.diff(y[:, 0]) > 0).all() and len(y) == len(cells.get_array()) + 1
        assert axes.lines[0].get_xdata().tolist() == list(range(1, steps + 1))
        assert axes.lines[0].get_marker() == "o"  # One step makes no line.
        axes.get_figure().canvas.draw()
        assert all(tick == round(tick) for tick in axes.get_xticks())


def test_membranes_that_are_not_finite_raise():
    u = jnp.ones((2, 1, 3)).at[0, 0, 1].set(jnp.nan)
    with pytest.raises(ValueError, match="layer has membranes that are not finite"):
        estimate_densities(lambda: [{"layer": u}])
