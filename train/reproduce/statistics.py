"""Intervals and tests of results over seeds.

Runs with the same seed share initial kernels, order of samples and augmentation, so two cases are
compared within each seed: the differences vary less than the results themselves.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
# The largest chance that a table has any false verdict, "holds" or "the opposite holds".
SIGNIFICANCE = 0.05
# Differences of equal results vary by rounding only.
ROUNDING = 1e-12


class MeanEstimate(NamedTuple):
    """The mean of a case over its seeds; `low` and `high` are its interval, NaN for one seed."""

    mean: float
    sd: float
    low: float
    high: float
    size: int


class Comparison(NamedTuple):
    """The mean of paired differences, their standard deviation and interval, and the test's p.

    `p` is NaN where all differences are equal but not 0: without a spread there is no test.
    """

    difference: float
    sd: float
    low: float
    high: float
    p: float
    pairs: int


def estimate_mean(values: Sequence[float]) -> MeanEstimate:
    """Return the mean of `values` and Student's 95 % interval of it.

    Raises ValueError if there are none, or one is NaN or infinite.
    """
    found = _read_values(values)
    mean, count = float(found.mean()), len(found)
    if count == 1:
        return MeanEstimate(mean, np.nan, np.nan, np.nan, 1)
    sd = float(found.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * sd / np.sqrt(count))
    return MeanEstimate(mean, sd, mean - half, mean + half, count)


def compare_pairs(
    better: Sequence[float], worse: Sequence[float], within: float | None = None
) -> Comparison:
    """Return the mean of `better` - `worse` with Student's interval and a paired t test.

    The null hypothesis is no difference; with `within`, it is a difference of this size. Either
    test is two-sided. Raises ValueError for sequences of different lengths, fewer than two pairs,
    and values that are NaN or infinite.
    """
    one, other = _read_values(better), _read_values(worse)
    if len(one) != len(other) or len(one) < 2:
        raise ValueError(
            f"a comparison needs at least 2 pairs, got {len(one)} and {len(other)} values."
        )
    differences = one - other
    mean, sd, low, high, pairs = estimate_mean(differences)
    rounding = ROUNDING * max(np.abs(one).max(), np.abs(other).max())
    if np.ptp(differences) <= rounding:
        p = 1.0 if within is None and abs(mean) <= rounding else np.nan
    elif within is None:
        p = float(stats.ttest_1samp(differences, 0).pvalue)
    else:
        p = _test_size(differences, within)
    return Comparison(mean, sd, low, high, p, pairs)


def _test_size(differences: np.ndarray, size: float) -> float:
    """Return the p value of the claim that the mean is inside (or outside) of +-`size`.

    Inside, these are two one-sided tests of equivalence, of which both must reject. The p is
    doubled: it is below 0.05 exactly if the 95 % interval is on the claimed side of both limits.
    """
    if abs(differences.mean()) < size:
        above = stats.ttest_1samp(differences, -size, alternative="greater").pvalue
        below = stats.ttest_1samp(differences, size, alternative="less").pvalue
        return min(1.0, 2 * float(max(above, below)))
    outwards = differences * np.sign(differences.mean())
    return min(1.0, 2 * float(stats.ttest_1samp(outwards, size, alternative="greater").pvalue))


def correct_p_values(values: Sequence[float]) -> list[float]:
    """Return Holm's corrected p values (Scandinavian Journal of Statistics 6, 1979, 65-70).

    If all effects are null, the chance that any of them is below 0.05 is at most 5 %, however the
    tests depend on each other.
    """
    count, largest = len(values), 0.0
    corrected = [0.0] * count
    for rank, at in enumerate(np.argsort(values, kind="stable")):
        # A larger p must not get a smaller corrected one.
        largest = max(largest, min(1.0, (count - rank) * values[at]))
        corrected[at] = largest
    return corrected


@cache
def compute_power(pairs: int, tests: int, effect: float = 1.0) -> float:
    """Return the chance to find an effect as one of `tests` claims, with a two-sided t test.

    `effect` is the true mean of the differences divided by their standard deviation. The chance is
    for the smallest p of the table, which Holm compares with 0.05 / `tests`, and higher for others.
    Returns 0 for fewer than two pairs.
    """
    if pairs < 2:
        return 0.0
    critical = stats.t.isf(SIGNIFICANCE / tests / 2, pairs - 1)
    # Under the effect, t has a noncentral t distribution with this mean of its numerator.
    shape = (pairs - 1, effect * np.sqrt(pairs))
    return float(stats.nct.sf(critical, *shape) + stats.nct.cdf(-critical, *shape))


def _read_values(values: Sequence[float]) -> np.ndarray:
    found = np.asarray(values, float)
    if not found.size or not np.isfinite(found).all():
        raise ValueError(f"results must be finite numbers, at least one, got {list(values)}.")
    return found
