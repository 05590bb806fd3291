"""Learning curves: when a run reaches the last value of another."""

from pit_jax.analysis.learning import compare_curves, find_first_epoch
from pit_jax.analysis.plots.learning import curves

SLOW, QUICK = ([1.0, 2.0, 3.0], [10.0, 50.0, 70.0]), ([1.0, 2.0, 3.0], [75.0, 60.0, 90.0])


def test_the_first_epoch_at_a_goal_counts_even_if_later_ones_fall_below():
    assert find_first_epoch(QUICK, 70.0) == 1 and find_first_epoch(QUICK, 80.0) == 3
    assert find_first_epoch(SLOW, 71.0) is None


def test_each_run_is_compared_with_the_last_value_of_each():
    assert compare_curves({"slow": SLOW, "quick": QUICK}) == {
        "slow": {"slow": 3, "quick": None},
        "quick": {"slow": 1, "quick": 3},
    }


def test_a_figure_has_loss_and_accuracies_of_all_runs_and_the_goal():
    drawn = curves({"slow": [SLOW] * 3, "quick": [QUICK] * 3}, 70.0)
    assert [len(axes.lines) for axes in drawn.axes] == [2, 2, 3]
    assert len(drawn.legends[0].texts) == 3
    drawn.canvas.draw()
    ticks = [tick for axes in drawn.axes for tick in axes.get_xticks()]
    assert all(tick == round(tick) for tick in ticks)
