"""Estimates with intervals from independent samples whose neurons depend on each other.

A statistic is a function of sums over samples. The delete-a-group jackknife (Busing et al. 1999 for
groups of unequal size) computes it again without each group of samples. The shift of the mean of
these values estimates the bias, which is subtracted, and their scatter the variance. Nothing is
assumed about the neurons of one sample.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import stdtrit

from pit_jax.checks.bounds import CONFIDENCE, set_bounds

# With 64 groups, Student's t makes the interval 2 % wider than with infinitely many.
GROUPS = 64

# Arrays by name.
Sums = dict[str, np.ndarray]


class Estimate(NamedTuple):
    """A value corrected for its first-order bias, and the ends of its interval; equal shapes."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Groups:
    """Sums over samples in groups, `[G, ...]` in float64; sample i belongs to group i mod G.

    Memory does not depend on the number of samples. Raises ValueError for fewer than two groups.
    """

    def __init__(self, number: int = GROUPS) -> None:
        if number < 2:
            raise ValueError(f"an interval needs at least 2 groups, got {number}.")
        self.number, self.samples, self._sums = number, 0, Sums()

    def add(self, contributions: dict[str, Any]) -> None:
        """Add the contributions of the next samples, `[B, ...]` by name.

        Raises ValueError if the shape of a name, without its first axis, changes between batches.
        """
        shapes = {name: np.shape(one)[1:] for name, one in contributions.items()}
        if not self._sums:
            self._sums = {name: np.zeros((self.number, *s)) for name, s in shapes.items()}
        if shapes != (known := {name: one.shape[1:] for name, one in self._sums.items()}):
            raise ValueError(
                f"all batches must have the shapes of the first, {known} for each sample, got "
                f"{shapes}. Use batches of one network and one input size."
            )
        # All names have the same samples.
        (size,) = {len(one) for one in contributions.values()}
        group = (self.samples + np.arange(size)) % self.number
        for name, one in contributions.items():
            # A batch may contain a group several times, which `+=` would add once.
            np.add.at(self._sums[name], group, np.asarray(one, np.float64))
        self.samples += size

    def total(self, name: str) -> np.ndarray:
        """Return the sum over all samples."""
        return self._sums[name].sum(0)

    def estimate(
        self,
        statistic: Callable[[Sums], np.ndarray],
        *,
        confidence: float = 0.95,
        least: float = -np.inf,
        most: float = np.inf,
    ) -> Estimate:
        """Return `statistic` of the sums over all samples, with its interval.

        `statistic` must accept sums with an additional leading axis. Value and interval are clipped
        to `least` ... `most`. Raises ValueError for fewer than two samples.
        """
        if self.samples < 2:
            raise ValueError(
                f"an interval needs at least 2 samples, got {self.samples}; add more samples."
            )
        # With fewer samples than groups, each sample is a group and the rest are empty.
        used = min(self.samples, self.number)
        sums = {name: one[:used] for name, one in self._sums.items()}
        sizes = np.bincount(np.arange(self.samples) % self.number)
        return jackknife(statistic, sums, sizes, confidence=confidence, least=least, most=most)


@set_bounds(confidence=CONFIDENCE)
def jackknife(
    statistic: Callable[[Any], np.ndarray],
    sums: Any,
    sizes: np.ndarray,
    *,
    confidence: float = 0.95,
    least: float = -np.inf,
    most: float = np.inf,
) -> Estimate:
    """Return `statistic` of the sum over groups, with its interval.

    `sums` have groups `[G, ...]`, of `sizes` `[G]` samples. The remaining bias is of order
    1 / samples². The interval is Student's with G - 1 degrees of freedom. Value and interval are
    clipped to `least` ... `most`. Where the statistic is not finite, on all samples or without one
    group, the value is not corrected and the interval is `least` ... `most`.
    """
    total = jax.tree.map(lambda x: x.sum(0), sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.asarray(statistic(total), np.float64)
        without = statistic(jax.tree.map(lambda all_, one: all_[None] - one, total, sums))
        # Busing et al. 1999, with h_j = n / n_j (`parts`) and θ_j the value without group j:
        # corrected value G θ - Σ_j (1 - 1/h_j) θ_j, pseudovalues h_j θ - (h_j - 1) θ_j, and
        # variance mean_j (pseudo_j - corrected)² / (h_j - 1).
        parts = (np.sum(sizes) / sizes).reshape(-1, *(1,) * whole.ndim)
        corrected = len(sizes) * whole - ((1 - 1 / parts) * without).sum(0)
        pseudo = parts * whole - (parts - 1) * without
        error = np.sqrt(np.mean((pseudo - corrected) ** 2 / (parts - 1), 0))
    half = stdtrit(len(sizes) - 1, (1 + confidence) / 2) * error
    known = np.isfinite(half)
    # An infinite value minus an infinite half-width would warn, so these halves become 0 first.
    half = np.where(known, half, 0)
    value = np.where(known, corrected, whole)
    low = np.where(known, value - half, -np.inf)
    high = np.where(known, value + half, np.inf)
    return Estimate(*(np.asarray(np.clip(end, least, most)) for end in (value, low, high)))
