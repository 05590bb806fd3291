"""Medians, quartiles, and ratios of times that were measured in turns."""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

# The interval of a ratio contains the true median at least this often. That needs `LEAST_ROUNDS`:
# all of five values are an interval of 94 %, all of four one of 87.5 %.
CONFIDENCE = 0.9
LEAST_ROUNDS = 5


class Ratio(NamedTuple):
    """How much faster ours is than a peer: the median over the rounds, and its interval.

    2 means half the time. The difference is significant if the interval does not contain 1. With
    fewer than `LEAST_ROUNDS` rounds the interval is only the range of the ratios.
    """

    median: float
    low: float
    high: float
    rounds: int

    @property
    def verdict(self) -> str:
        """Return "faster", "slower", "equal", or "" if there are too few rounds to say."""
        if self.rounds < LEAST_ROUNDS:
            return ""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "equal"


def find_quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile, interpolated linearly."""
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return at(0.25), at(0.5), at(0.75)


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Return the ratio of their times to ours, round by round.

    Both were measured in the same rounds, so a machine that slows down for a while slows both
    times of a round and leaves their ratio. The interval is between two order statistics: it makes
    no assumption on the distribution. Raises ValueError unless both have the same number of times.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(
            f"ratios need times of the same rounds, got {len(ours)} and {len(theirs)}."
        )
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    drop = count_outside(len(ratios))
    return Ratio(median(ratios), ratios[drop], ratios[-1 - drop], len(ratios))


def count_outside(rounds: int) -> int:
    """Return how many of the sorted values on each side an interval of the median may leave out."""
    # The true median is below the k-th smallest value if fewer than k values are below it: a
    # binomial tail with probability 1/2.
    drop = 0
    while 2 * drop + 2 < rounds:
        tail = sum(math.comb(rounds, i) for i in range(drop + 2)) / 2**rounds
        if 1 - 2 * tail < CONFIDENCE:
            break
        drop += 1
    return drop
