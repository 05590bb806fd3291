"""The results of a case by seed, as its record has them: nothing is averaged over a missing run."""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from .statistics import MeanEstimate, estimate_mean

if TYPE_CHECKING:
    from configs.scales import Case, Experiment

NOT_RUN = "missing"


class Result(NamedTuple):
    """The results of a case.

    `runs` has the numbers of each finished run, `missing` the reason for each other one.
    Accuracies are in percent. `counted` are numbers without a run, which have no spread.
    """

    case: "Case"
    seeds: range
    runs: Mapping[int, Mapping[str, float]]
    missing: Mapping[int, str]
    counted: Mapping[str, float]
    slug: str = ""

    def find_missing(self, measure: str, seeds: Iterable[int] | None = None) -> dict[int, str]:
        """Return the seeds, all by default, whose run is missing or lacks `measure`; and why."""
        asked = self.seeds if seeds is None else seeds
        reasons = {seed: self.missing.get(seed, f"without {measure}") for seed in asked}
        return {
            seed: reason
            for seed, reason in reasons.items()
            if measure not in self.runs.get(seed, {})
        }

    def list_values(self, measure: str, seeds: Iterable[int] | None = None) -> list[float]:
        """Return `measure` of the runs of `seeds`, of all by default."""
        return [self.runs[seed][measure] for seed in (self.seeds if seeds is None else seeds)]

    def estimate(self, measure: str) -> MeanEstimate | None:
        """Return the mean over the seeds, or the counted number; None if a run lacks it."""
        if measure in self.counted:
            return MeanEstimate(self.counted[measure], math.nan, math.nan, math.nan, 0)
        if not self.seeds or self.find_missing(measure):
            return None
        return estimate_mean(self.list_values(measure))


def read_results(
    experiment: "Experiment", records: Mapping[str, Mapping[str, Any]], seeds: int | None = None
) -> dict[str, Result]:
    """Return the results of all cases by label; `seeds` replaces the number that a case names."""
    return {
        case.label: _read_result(case, records.get(case.label, {}), seeds)
        for case in experiment.cases
    }


def _read_result(case: "Case", record: Mapping[str, Any], number: int | None) -> Result:
    # A case that is not trained has no seeds, whatever number is asked for.
    seeds = range(number or case.seeds if case.seeds else 0)
    saved: Mapping[str, Any] = record.get("runs", {})
    runs, missing = {}, {}
    for seed in seeds:
        run = saved.get(str(seed))
        if run is None:
            missing[seed] = NOT_RUN
        elif "failed" in run:
            missing[seed] = f"failed: {run['failed']}"
        else:
            runs[seed] = _select_numbers({**run.get("measures", {}), **run})
    counted = _select_numbers(record.get("measures", {}))
    return Result(case, seeds, runs, missing, counted, record.get("slug", ""))


def _select_numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of `found`, accuracies in percent.

    Measures may be histograms and texts, too.
    """
    return {
        key: 100 * float(value) if key.endswith("accuracy") else float(value)
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def describe_missing(missing: Mapping[int, str]) -> str:
    """Return what is missing in words, such as `seeds 0-2 missing; seed 4 failed: ...`."""
    by_reason: dict[str, list[int]] = {}
    for seed, reason in sorted(missing.items()):
        by_reason.setdefault(reason, []).append(seed)
    return "; ".join(f"{format_seeds(seeds)} {reason}" for reason, seeds in by_reason.items())


def format_seeds(seeds: Iterable[int]) -> str:
    """Return sorted seeds in words: `seed 3` or `seeds 0-2, 5`."""
    numbers = list(seeds)
    starts = [numbers[0], *(after for before, after in pairwise(numbers) if after > before + 1)]
    ends = [*(before for before, after in pairwise(numbers) if after > before + 1), numbers[-1]]
    spans = [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(spans)}"
