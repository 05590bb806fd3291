"""Estimates with their intervals, from samples inside which neurons depend on one another.

What is estimated is a function of sums over samples. It is computed again without each of some
groups of samples (delete-a-group jackknife; Busing et al. 1999 for groups of unequal size): the
change of its mean tells the bias, which is taken off, and the scatter tells the variance. Nothing
is assumed about the neurons of one sample; the samples have to be independent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import stdtrit

# The interval of 64 groups is 2 % wider than that of infinitely many.
GROUPS = 64

# Arrays by name.
Sums = dict[str, np.ndarray]


class Estimate(NamedTuple):
    """A value without its bias of the first order, and the ends of its interval, of one shape."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Groups:
    """Sums over samples, `[G, ...]` in float64, in groups to which the samples go in turn.

    However many samples there are, they take the memory of the groups. Raises ValueError for less
    than two groups.
    """

    def __init__(self, number: int = GROUPS) -> None:
        if number < 2:
            raise ValueError(f"an interval needs at least 2 groups, got {number}.")
        self.number, self.samples, self._sums = number, 0, Sums()

    def add(self, contributions: dict[str, Any]) -> None:
        """What each of the next samples adds, `[B, ...]` by name; each name keeps its shape."""
        shapes = {name: np.shape(one)[1:] for name, one in contributions.items()}
        if not self._sums:
            self._sums = {name: np.zeros((self.number, *s)) for name, s in shapes.items()}
        if shapes != (known := {name: one.shape[1:] for name, one in self._sums.items()}):
            raise ValueError(
                f"all batches must have the sizes of the first, {known}, beside their samples; got "
                f"{shapes}. Fold batches of one network and one input size."
            )
        (size,) = {len(one) for one in contributions.values()}
        group = (self.samples + np.arange(size)) % self.number
        for name, one in contributions.items():
            np.add.at(self._sums[name], group, np.asarray(one, np.float64))
        self.samples += size

    def total(self, name: str) -> np.ndarray:
        """The sum over all samples."""
        return self._sums[name].sum(0)

    def estimate(
        self,
        statistic: Callable[[Sums], np.ndarray],
        *,
        confidence: float = 0.95,
        least: float = -np.inf,
        most: float = np.inf,
    ) -> Estimate:
        """`statistic` of the sums over all samples; it takes sums with one more axis in front too.

        `least` and `most` are what it can be. Raises ValueError for less than two samples.
        """
        if self.samples < 2:
            raise ValueError(
                f"an interval needs at least 2 samples, got {self.samples}; fold more of them."
            )
        used = min(self.samples, self.number)
        sums = {name: one[:used] for name, one in self._sums.items()}
        sizes = np.bincount(np.arange(self.samples) % self.number)
        return jackknife(statistic, sums, sizes, confidence=confidence, least=least, most=most)


def jackknife(
    statistic: Callable[[Any], np.ndarray],
    sums: Any,
    sizes: np.ndarray,
    *,
    confidence: float = 0.95,
    least: float = -np.inf,
    most: float = np.inf,
) -> Estimate:
    """`statistic` of the sum over groups `[G, ...]` of `sizes` `[G]` samples, with its interval.

    The bias that is left is of the order of 1 / samples². The interval is Student's with G - 1
    degrees of freedom. Value and interval are cut to `least` ... `most`. Where the statistic is not
    finite, on all samples or without one of the groups, the value stays uncorrected and the
    interval is all that is possible.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}.")
    total = jax.tree.map(lambda x: x.sum(0), sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.asarray(statistic(total), np.float64)
        without = statistic(jax.tree.map(lambda all_, one: all_[None] - one, total, sums))
        parts = (np.sum(sizes) / sizes).reshape(-1, *(1,) * whole.ndim)
        corrected = len(sizes) * whole - ((1 - 1 / parts) * without).sum(0)
        pseudo = parts * whole - (parts - 1) * without
        error = np.sqrt(np.mean((pseudo - corrected) ** 2 / (parts - 1), 0))
    half = stdtrit(len(sizes) - 1, (1 + confidence) / 2) * error
    known = np.isfinite(half)
    # Not np.where with an infinite half: infinity minus infinity warns.
    half = np.where(known, half, 0)
    value = np.where(known, corrected, whole)
    low = np.where(known, value - half, -np.inf)
    high = np.where(known, value + half, np.inf)
    return Estimate(*(np.asarray(np.clip(end, least, most)) for end in (value, low, high)))
