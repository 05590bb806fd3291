"""The statistics of benchmarks."""

import math
import random

import pytest

from benchmarks.compare import CONFIDENCE, LEAST_ROUNDS, compare, count_outside, find_quartiles


def test_quartiles_are_those_of_numpy():
    np = pytest.importorskip("numpy")
    for count in (1, 2, 5, 8, 21):
        values = list(np.random.default_rng(count).normal(size=count))
        np.testing.assert_allclose(find_quartiles(values), np.quantile(values, (0.25, 0.5, 0.75)))


def test_a_ratio_is_of_the_same_round():
    # The machine is ten times slower in two rounds; the medians alone would say 1.
    theirs, ours = [2.0, 2.0, 20.0, 20.0, 2.0], [1.0, 1.0, 10.0, 10.0, 1.0]
    assert compare(ours, theirs) == (2.0, 2.0, 2.0, 5)
    with pytest.raises(ValueError, match="same rounds, got 5 and 4"):
        compare(ours, theirs[1:])


@pytest.mark.parametrize("rounds", (5, 7, 9, 11, 21))
def test_the_interval_has_its_confidence(rounds):
    drop = count_outside(rounds)
    # The interval misses the median if at most `drop` values are on one side of it.
    misses = 2 * sum(math.comb(rounds, i) for i in range(drop + 1)) / 2**rounds
    assert 1 - misses >= CONFIDENCE
    draw = random.Random(rounds)
    covered = 0
    for _ in range(2000):
        ratio = compare([1.0] * rounds, [math.exp(draw.gauss(0, 0.1)) for _ in range(rounds)])
        covered += ratio.low <= 1 <= ratio.high
    assert covered / 2000 >= CONFIDENCE - 0.02


@pytest.mark.parametrize("rounds", (1, 2, 3, 4, 5))
def test_fewer_rounds_than_an_interval_needs_have_no_verdict(rounds):
    # Even the whole range misses the median if all values are on one side of it.
    can_say = 1 - 2 / 2**rounds >= CONFIDENCE
    assert can_say == (rounds >= LEAST_ROUNDS)
    ratio = compare([1.0] * rounds, [2.0 + number for number in range(rounds)])
    assert (ratio.low, ratio.high, ratio.rounds) == (2.0, 1.0 + rounds, rounds)
    assert ratio.verdict == ("faster" if can_say else "")
