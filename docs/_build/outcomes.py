"""The outcomes of the paper's claims in the committed evidence, with their effects as text."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from configs.claims import COMPARISONS
from configs.claims.types import Comparison
from configs.scales import NAMES, Experiment, load
from train.reproduce.records import read_records
from train.reproduce.results import Result, read_results
from train.reproduce.statistics import MeanEstimate
from train.reproduce.verdicts import HOLDS, NOT_SEEN, OPPOSITE, UNTESTED, Verdict, judge

DOCS = Path(__file__).parents[1]
SCALE = "laptop"
EVIDENCE = DOCS / "evidence" / SCALE
READING = re.compile(r"PIT (paper|released|ours)\b")
OTHER_STARTS = {"`released`", "`ours`"}
OPPOSITE_WITH = "; the opposite with "
NOT_RUN = "not run yet"


class Sentence(NamedTuple):
    """A claim of the paper with its verdicts: by group, and there by the compared reading of PIT.

    Claims without a reading of PIT have the compared cases instead.
    """

    name: str
    comparison: Comparison
    verdicts: dict[str, dict[str, Verdict]]


@cache
def load_experiment(name: str) -> tuple[Experiment, dict[str, dict[str, Any]]]:
    """Return an experiment and the records of its cases by label; none if it has no page yet."""
    experiment = load(name, SCALE)
    return experiment, read_records(experiment, EVIDENCE) if has_page(name) else {}


def has_page(name: str) -> bool:
    """Return whether an experiment has been run to its end."""
    return (EVIDENCE / f"{name}.md").is_file()


def link_page(name: str) -> str:
    """Return the link to the page of an experiment, its name alone if it has none yet."""
    return f"[{name}](evidence/{SCALE}/{name}.md)" if has_page(name) else name


@cache
def load_results(name: str) -> dict[str, Result]:
    """Return the results of the cases of an experiment by label."""
    return read_results(*load_experiment(name))


@cache
def list_sentences() -> list[Sentence]:
    """Return all claims about tables and figures, in the order of the paper."""
    return [
        Sentence(name, comparison, _group_verdicts(name, comparison))
        for name in NAMES
        for comparison in COMPARISONS.get(name, ())
    ]


@cache
def judge_experiment(name: str) -> tuple[Verdict, ...]:
    """Return the verdicts on all claims about an experiment."""
    return tuple(judge(*load_experiment(name)))


def _group_verdicts(name: str, comparison: Comparison) -> dict[str, dict[str, Verdict]]:
    experiment, _ = load_experiment(name)
    groups = {case.label: case.group for case in experiment.cases}
    found: dict[str, dict[str, Verdict]] = {}
    for verdict in judge_experiment(name):
        claim = verdict.claim
        if (claim.text, claim.source) == (comparison.text, comparison.source):
            found.setdefault(groups[claim.better], {})[_name_reading(verdict)] = verdict
    return found


def _name_reading(verdict: Verdict) -> str:
    """Return the compared reading of PIT, or the cases if the claim names none."""
    claim = verdict.claim
    reading = READING.search(f"{claim.better} {claim.worse}")
    if reading:
        return f"`{reading[1]}`"
    better, worse = (label.partition(",")[0] for label in (claim.better, claim.worse))
    return f"{better} − {worse}"


def describe_outcome(verdicts: Mapping[str, Verdict]) -> str:
    """Return the outcome of a claim in one group, from its verdict for each reading of PIT."""
    by_outcome: dict[str, list[str]] = {}
    for reading, verdict in verdicts.items():
        by_outcome.setdefault(verdict.outcome, []).append(reading)
    held, opposite = by_outcome.get(HOLDS, []), by_outcome.get(OPPOSITE, [])
    if held and (OTHER_STARTS.isdisjoint(held) or "`paper`" in held):
        outcome = HOLDS
    elif held:
        outcome = f"{HOLDS} with another start"
    elif set(by_outcome) == {UNTESTED}:
        return NOT_RUN if all(map(_is_missing, verdicts.values())) else UNTESTED
    elif not by_outcome.keys() - {OPPOSITE, UNTESTED}:
        return OPPOSITE
    else:
        outcome = NOT_SEEN
    return f"{outcome}{OPPOSITE_WITH}{', '.join(opposite)}" if opposite else outcome


def _is_missing(verdict: Verdict) -> bool:
    return verdict.outcome == UNTESTED and verdict.reason.endswith(("missing", "is not trained"))


def format_difference(verdict: Verdict) -> str:
    """Return the difference of a verdict with its interval; the reason if it has none."""
    if verdict.comparison is None:
        return NOT_RUN if _is_missing(verdict) else verdict.reason
    found, digits = verdict.comparison, _count_digits(verdict.claim.measure)
    if verdict.exact:
        return format_signed(found.difference, digits)
    interval = f"[{format_signed(found.low, digits)}, {format_signed(found.high, digits)}]"
    return f"{format_signed(found.difference, digits)} {interval}"


def format_estimate(found: MeanEstimate | None, digits: int = 2) -> str:
    """Return a mean with its interval, or "missing"."""
    if found is None:
        return "missing"
    if found.size < 2:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _count_digits(measure: str) -> int:
    return 2 if measure.endswith(("accuracy", "spikes")) else 3


def format_signed(number: float, digits: int) -> str:
    # The minus sign U+2212, as on the other pages; -0.00 becomes 0.00.
    return f"{round(number, digits) + 0.0:+.{digits}f}".replace("-", "−")


def format_claim(sentence: Sentence) -> str:
    comparison = sentence.comparison
    measure = "" if comparison.measure == "accuracy" else f" (`{comparison.measure}`)"
    return f"{comparison.text[:1].upper()}{comparison.text[1:]}{measure}"


def list_effects(name: str, readings: Mapping[str, Verdict]) -> list[str]:
    """Return the effect for each reading, and next to an accuracy the difference in spikes."""
    results = load_results(name)
    effects = []
    for reading, verdict in readings.items():
        effect = f"{reading}: {format_difference(verdict)}"
        claim, comparison = verdict.claim, verdict.comparison
        if claim.measure == "accuracy" and comparison is not None:
            better, worse = (
                fmean(results[label].list_values("spikes", range(comparison.pairs)))
                for label in (claim.better, claim.worse)
            )
            effect += f", spikes {format_signed(better - worse, 2)}"
        effects.append(effect)
    return effects
