"""The spread of learned scales over channels and steps."""

import numpy as np
import pytest

from pit_jax.analysis.plots import scales as plots
from pit_jax.analysis.scales import measure_spread, measure_spread_by_step

A = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [0.001, 0.001, 6.0, 8.0, 9.0]])


def test_a_spread_has_range_quartiles_and_the_share_at_the_floor():
    found = measure_spread(A[0])
    assert (found.count, found.least, found.q1, found.median) == (5, 1, 2, 3)
    assert (found.q3, found.largest, found.mean, found.at_floor) == (4, 5, 3, 0)
    assert found.sd == pytest.approx(np.sqrt(2))
    assert measure_spread(A).at_floor == 0.2


def test_each_step_has_a_spread():
    assert [each.median for each in measure_spread_by_step(A)] == [3, 6]
    assert [each.median for each in measure_spread_by_step(A[0])] == [3]


def test_figures_show_start_and_end():
    layers = {"first": A, "second": A + 1}
    axes = plots.scales(layers, {"first": A}).axes[0]
    assert [text.get_text() for text in axes.get_legend().texts] == ["start", "last checkpoint"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "first, n = 10",
        "second, n = 10",
    ]
    assert axes.get_xscale() == "log"  # From the floor to 10.
    best = plots.scales(layers, {}, "best checkpoint").axes[0].get_legend()
    assert [text.get_text() for text in best.texts] == ["best checkpoint"]
    drawn = plots.plot_over_steps(layers, layers)
    assert len(drawn.axes) == 2 and len(drawn.axes[0].lines) == 2
