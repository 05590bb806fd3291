"""Intervals, tests and their corrections, on simulated results whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from train.reproduce.statistics import (
    compare_pairs,
    compute_power,
    correct_p_values,
    estimate_mean,
)


def draw_pairs(times: int, pairs: int, effect: float = 0.0) -> np.ndarray:
    """Return `[times, 2, pairs]` accuracies; the effect of the seed on both cases is larger.

    The standard deviation of the paired differences is 1.
    """
    draw = np.random.default_rng(0)
    shared = 93 + 3 * draw.standard_normal((times, 1, pairs))
    found = shared + draw.standard_normal((times, 2, pairs)) / np.sqrt(2)
    found[:, 0] += effect
    return found


def is_near(count: int, times: int, share: float) -> bool:
    """Return whether `count` of `times` fits `share`, within three standard deviations."""
    return abs(count - times * share) < 3 * np.sqrt(times * share * (1 - share))


def test_estimate_is_the_textbook_interval():
    found = estimate_mean([1, 2, 3, 4])
    assert found.mean == 2.5 and found.size == 4
    assert found.sd == pytest.approx(np.sqrt(5 / 3))
    # 3.1824 is Student's quantile for three degrees of freedom.
    assert found.high - found.mean == pytest.approx(3.1824463 * found.sd / 2)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_value_has_a_mean_and_no_interval():
    found = estimate_mean([0.5])
    assert found.mean == 0.5 and found.size == 1
    assert np.isnan([found.sd, found.low, found.high]).all()


@pytest.mark.parametrize("values", [[], [1, np.nan], [np.inf, 1]])
def test_estimate_refuses_no_values_and_values_that_are_not_finite(values):
    with pytest.raises(ValueError, match="finite numbers"):
        estimate_mean(values)


@pytest.mark.parametrize("count", [3, 5, 20])
def test_intervals_of_means_cover_at_their_nominal_rate(count):
    values = 3 + 2 * np.random.default_rng(count).standard_normal((3000, count))
    inside = [found.low < 3 < found.high for found in map(estimate_mean, values)]
    assert is_near(sum(inside), 3000, 0.95)


@pytest.mark.parametrize("pairs", [3, 20])
def test_intervals_of_paired_differences_cover_at_their_nominal_rate(pairs):
    found = [compare_pairs(*each) for each in draw_pairs(1500, pairs, effect=0.7)]
    assert is_near(sum(each.low < 0.7 < each.high for each in found), 1500, 0.95)


def test_comparison_is_scipys_paired_test():
    one, other = draw_pairs(1, 6)[0]
    found, expected = compare_pairs(one, other), stats.ttest_rel(one, other)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue) and found.pairs == 6
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(np.mean(one - other))
    assert compare_pairs(other, one).difference == pytest.approx(-found.difference)


def test_equal_results_show_no_difference_and_equal_differences_are_no_test():
    assert compare_pairs([0.1, 0.7, 0.2], [0.1, 0.7, 0.2]).p == 1
    # In floats these three differences are not quite equal.
    found = compare_pairs([0.3, 0.8, 0.7], [0.2, 0.7, 0.6])
    assert np.isnan(found.p) and found.difference == pytest.approx(0.1)


@pytest.mark.parametrize("one, other", [([1], [2]), ([1, 2, 3], [1, 2]), ([1, np.nan], [1, 2])])
def test_comparison_refuses_unpaired_values(one, other):
    with pytest.raises(ValueError):
        compare_pairs(one, other)


@pytest.mark.parametrize("effect, expected", [(0.0, "<"), (1.0, "="), (2.0, ">")])
def test_claim_of_a_small_difference_is_decided_by_the_interval(effect, expected):
    found = [compare_pairs(*each, within=1.0) for each in draw_pairs(600, 20, effect)]
    for each in found:
        inside, outside = -1 < each.low and each.high < 1, each.low > 1 or each.high < -1
        assert (each.p < 0.05) == (inside or outside)
    rejected = sum(each.p < 0.05 for each in found)
    if expected == "=":  # At the limit either verdict is wrong.
        assert is_near(rejected, 600, 0.05)
    else:
        assert rejected > 500


def test_holm_multiplies_by_the_number_of_hypotheses_that_are_left():
    # 3 x 0.01, 2 x 0.03, and for 0.04 not less than for 0.03.
    assert correct_p_values([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_p_values([0.2, 0.9, 0.001]) == pytest.approx([0.4, 0.9, 0.003])
    assert correct_p_values([0.6, 0.7]) == [1, 1]
    assert correct_p_values([]) == []


@pytest.mark.parametrize("pairs, tests, effect", [(5, 1, 1.0), (10, 6, 1.0), (20, 12, 1.0)])
def test_power_is_the_share_of_simulated_effects_that_are_found(pairs, tests, effect):
    found = stats.ttest_rel(*np.moveaxis(draw_pairs(20000, pairs, effect), 1, 0), axis=1)
    rejected = int((found.pvalue * tests < 0.05).sum())
    assert is_near(rejected, 20000, compute_power(pairs, tests, effect))


def test_power_grows_with_pairs_and_falls_with_the_number_of_claims():
    assert compute_power(1, 1) == 0
    assert compute_power(20, 1, effect=0.0) == pytest.approx(0.05)
    assert compute_power(20, 12) > compute_power(10, 12) > compute_power(10, 24)
