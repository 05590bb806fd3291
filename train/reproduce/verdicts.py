"""Verdicts on the claims of a table or figure.

A claim compares two cases in one measure. Runs are paired by seed, the test is the paired t test,
and Holm corrects it for the number of claims of the table. Claims that cannot be tested count too:
a verdict must not change because other rows have not been trained.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .results import Result, describe_missing, read_results
from .statistics import SIGNIFICANCE, Comparison, compare_pairs, compute_power, correct_p_values

if TYPE_CHECKING:
    from configs.scales import Claim, Experiment

HOLDS, OPPOSITE, NOT_SEEN, UNTESTED = (
    "holds",
    "the opposite holds",
    "not seen",
    "cannot be tested",
)


class Verdict(NamedTuple):
    """The outcome of a claim.

    `comparison` is `better` - `worse`, accuracy in percentage points; None if there is none.
    `corrected` is Holm's p, and `power` the chance to find a difference of one standard deviation;
    both are NaN without a test. `exact` comparisons are of counts, which do not vary and
    need no test.
    """

    claim: "Claim"
    outcome: str
    reason: str = ""
    comparison: Comparison | None = None
    corrected: float = math.nan
    power: float = math.nan
    exact: bool = False

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}" if self.reason else self.outcome


class Untested(Exception):
    """A claim that cannot be tested, with the reason."""


def judge(
    experiment: "Experiment", records: Mapping[str, Mapping[str, Any]], seeds: int | None = None
) -> list[Verdict]:
    """Return the verdict on each claim of `experiment`.

    `records` are the records of its cases by label; cases may have none yet. `seeds` replaces the
    number of seeds that the cases name.
    """
    results = read_results(experiment, records, seeds)
    return judge_results(experiment.claims, results)


def judge_results(claims: "tuple[Claim, ...]", results: Mapping[str, Result]) -> list[Verdict]:
    """Return the verdict on each claim, from the results of the cases by label."""
    found = [_compare_cases(claim, results) for claim in claims]
    tests = [at for at, verdict in enumerate(found) if not verdict.exact]
    # A claim without a test takes part as the least significant one.
    p_values = [getattr(found[at].comparison, "p", 1.0) for at in tests]
    for at, corrected in zip(tests, correct_p_values(p_values), strict=True):
        comparison = found[at].comparison
        if comparison is not None:
            found[at] = found[at]._replace(
                outcome=_decide(found[at].claim, comparison.difference, corrected),
                corrected=corrected,
                power=_find_power(found[at].claim, comparison.pairs, len(tests)),
            )
    return found


def _compare_cases(claim: "Claim", results: Mapping[str, Result]) -> Verdict:
    """Return the comparison of a claim, still without a decision unless it is exact."""
    better, worse = results[claim.better], results[claim.worse]
    try:
        if claim.measure in better.counted or claim.measure in worse.counted:
            return _compare_counts(claim, _get_count(better, claim), _get_count(worse, claim))
        comparison = _compare_runs(claim, better, worse)
    except Untested as error:
        return Verdict(claim, UNTESTED, str(error), exact=_is_counted(better) or _is_counted(worse))
    if comparison is None:
        seed = better.seeds[0]
        one, other = (each.runs[seed][claim.measure] for each in (better, worse))
        return _compare_counts(claim, one, other)
    return Verdict(claim, NOT_SEEN, comparison=comparison)


def _is_counted(result: Result) -> bool:
    """Return whether a case is counted, and not trained: also before it has its numbers."""
    return not result.case.config and bool(result.case.measures)


def _get_count(result: Result, claim: "Claim") -> float:
    if claim.measure not in result.counted:
        raise Untested(f"{result.case.label} has no count of {claim.measure}")
    return result.counted[claim.measure]


def _compare_counts(claim: "Claim", better: float, worse: float) -> Verdict:
    difference = better - worse
    comparison = Comparison(difference, 0.0, difference, difference, math.nan, 0)
    return Verdict(claim, _decide(claim, difference, 0.0), "", comparison, exact=True)


def _compare_runs(claim: "Claim", better: Result, worse: Result) -> Comparison | None:
    """Return the paired comparison; None for counts, which are the same for every seed.

    Raises Untested, with the reason, if there is no test.
    """
    measure = claim.measure
    # A slow case may have fewer seeds than the other; the first ones are shared.
    seeds = range(min(len(better.seeds), len(worse.seeds)))
    for result in (better, worse):
        if not result.seeds:
            raise Untested(f"{result.case.label} is not trained")
        if missing := result.find_missing(measure, seeds):
            raise Untested(f"{result.case.label}, {describe_missing(missing)}")
    if len(seeds) < 2:
        raise Untested("it needs at least 2 pairs of runs")
    one, other = better.list_values(measure, seeds), worse.list_values(measure, seeds)
    # Accuracy and spikes always vary: if two seeds agree, that is chance.
    if measure not in ("accuracy", "spikes") and len(set(one)) == len(set(other)) == 1:
        return None
    comparison = compare_pairs(one, other, claim.within)
    if math.isnan(comparison.p):
        raise Untested(f"all {len(seeds)} differences are equal, so their spread is unknown")
    return comparison


def _decide(claim: "Claim", difference: float, corrected: float) -> str:
    if corrected >= SIGNIFICANCE:
        return NOT_SEEN
    if claim.within is not None:
        return HOLDS if abs(difference) < claim.within else OPPOSITE
    if difference == 0:
        return NOT_SEEN
    return HOLDS if (difference > 0) == claim.more else OPPOSITE


def _find_power(claim: "Claim", pairs: int, tests: int) -> float:
    # A claim of a small difference has no power to find one.
    return math.nan if claim.within is not None else compute_power(pairs, tests)
