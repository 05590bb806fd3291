"""Changes of counts between time steps and epochs."""

import jax
import numpy as np
import pytest

from pit_jax.analysis.oscillation import average_later_half, measure_changes
from pit_jax.analysis.plots.oscillation import plot_over_epochs, plot_over_time
from pit_jax.analysis.recorder import recorder
from tests.analysis.small import Small
from tests.helpers import jit_once


def test_changes_between_steps_equal_numpy_over_all_batches(key):
    model, x = Small(), jax.random.normal(key, (5, 3, 7))
    variables, batches = jit_once(model.init)(key, x), [x[:3], x[3:]]
    found, record = measure_changes(model, variables, batches), recorder(model)
    recorded = [record(variables, batch) for batch in batches]
    for name in recorded[0]:
        count = np.concatenate([layers[name].count for layers in recorded])
        expected = [(count[:, t] != count[:, t - 1]).mean() for t in (1, 2)]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)


def test_the_later_half_of_the_epochs_is_averaged():
    assert average_later_half([9.0, 9.0, 1.0, 3.0]) == 2 and average_later_half(
        [4.0]
    ) == pytest.approx(4)


def test_lines_of_a_group_have_one_color():
    lines = {name: ([1.0, 2.0], [0.1, 0.2]) for name in ("a", "b", "c")}
    left = plot_over_epochs(lines, lines, 64, ["one", "two", "one"]).axes[0]
    assert left.get_xlabel() == "epoch; n = 64 samples"
    colors = [line.get_color() for line in left.lines]
    assert colors[0] == colors[2] != colors[1]
    assert list(left.lines[0].get_ydata()) == [10, 20]
    nothing = {name: ([], []) for name in lines}
    assert len(plot_over_epochs(lines, nothing, 64).axes) == 1  # Epochs of one step.
    axes = plot_over_time({"a": np.array([0.25, 0.5])}, 8).axes[0]
    assert [text.get_text() for text in axes.texts] == ["25.0", "50.0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "3"]
