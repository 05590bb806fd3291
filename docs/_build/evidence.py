"""Write the results of `docs/evidence/laptop` into claims.md, results.md and README.md.

    python -m docs._build.evidence

The pages of `docs/evidence/laptop` and its records come from `python -m train.reproduce`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from configs.claims import COMPARISONS
from configs.claims.types import Comparison
from configs.scales import NAMES, Case, Experiment, load
from docs._build.tables import fill_tables, format_table
from train.reproduce.records import read_records
from train.reproduce.results import Result, read_results
from train.reproduce.statistics import MeanEstimate
from train.reproduce.verdicts import HOLDS, NOT_SEEN, OPPOSITE, UNTESTED, Verdict, judge

DOCS = Path(__file__).parents[1]
SCALE = "laptop"
EVIDENCE = DOCS / "evidence" / SCALE
READINGS_JSON = DOCS.parent / "benchmarks" / "readings.json"
READING = re.compile(r"PIT (paper|released|ours)\b")
OPPOSITE_WITH = "; the opposite with "
OTHER_STARTS = {"`released`", "`ours`"}
# The rows of README, by the label without its group.
README_ROWS = ("LIF 4x1", "I-LIF 1x4", "PIT paper 1x4", "PIT released 1x4", "PIT ours 1x4")
README_EVENTS = ("LIF 10x1", "I-LIF 10x4", "PIT paper 10x4", "PIT ours 10x4")


class Sentence(NamedTuple):
    """A claim of the paper with its verdicts: by group, and there by the compared reading of PIT.

    Claims without a reading of PIT have the compared cases instead.
    """

    name: str
    comparison: Comparison
    verdicts: dict[str, dict[str, Verdict]]


@cache
def load_experiment(name: str) -> tuple[Experiment, dict[str, dict[str, Any]]]:
    """Return an experiment and the records of its cases by label."""
    experiment = load(name, SCALE)
    return experiment, read_records(experiment, EVIDENCE)


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


def _group_verdicts(name: str, comparison: Comparison) -> dict[str, dict[str, Verdict]]:
    experiment, records = load_experiment(name)
    groups = {case.label: case.group for case in experiment.cases}
    found: dict[str, dict[str, Verdict]] = {}
    for verdict in judge(experiment, records):
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
        return UNTESTED
    elif not by_outcome.keys() - {OPPOSITE, UNTESTED}:
        return OPPOSITE
    else:
        outcome = NOT_SEEN
    return f"{outcome}{OPPOSITE_WITH}{', '.join(opposite)}" if opposite else outcome


def format_difference(verdict: Verdict) -> str:
    """Return the difference of a verdict with its interval; the reason if it has none."""
    if verdict.comparison is None:
        return verdict.reason
    found, digits = verdict.comparison, _count_digits(verdict.claim.measure)
    if verdict.exact:
        return _sign(found.difference, digits)
    interval = f"[{_sign(found.low, digits)}, {_sign(found.high, digits)}]"
    return f"{_sign(found.difference, digits)} {interval}"


def format_estimate(found: MeanEstimate | None, digits: int = 2) -> str:
    """Return a mean with its interval, or "missing"."""
    if found is None:
        return "missing"
    if found.size < 2:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _count_digits(measure: str) -> int:
    return 2 if measure.endswith(("accuracy", "spikes")) else 3


def _sign(number: float, digits: int) -> str:
    # The minus sign U+2212, as on the other pages; -0.00 becomes 0.00.
    return f"{round(number, digits) + 0.0:+.{digits}f}".replace("-", "−")


def make_claims() -> str:
    """Return all claims about tables and figures with their outcomes, a section for each."""
    sections = []
    for name in NAMES:
        title = re.sub(r"(?<=[a-z])(?=\d)", " ", name).capitalize()
        experiment, _ = load_experiment(name)
        rows = [_make_claim_row(each) for each in list_sentences() if each.name == name]
        head = ["claim", "where", "printed", "effect here", "outcome"]
        sections.append(
            f"### {title}: {experiment.title}\n\n"
            f"[{name}](evidence/{SCALE}/{name}.md), `{command(name)}`\n\n"
            + format_table(head, rows, left=len(head))
        )
    return "\n" + "\n".join(sections) + "\n"


def command(name: str) -> str:
    """Return the command that makes the page of an experiment."""
    return f"python -m train.reproduce {name} --scale {SCALE}"


def _make_claim_row(sentence: Sentence) -> list[str]:
    effects, outcomes = [], {}
    for group, readings in sentence.verdicts.items():
        outcomes[group] = describe_outcome(readings)
        effects += [f"{group}, {each}" for each in _list_effects(sentence.name, readings)]
    printed = {v.claim.printed for each in sentence.verdicts.values() for v in each.values()}
    printed.discard(None)
    return [
        _format_claim(sentence),
        sentence.comparison.source,
        ", ".join(_sign(each, 2) for each in sorted(printed, reverse=True)) or "–",
        "<br>".join(effects) or "–",
        _join_outcomes(outcomes) or f"{UNTESTED} here: no such rows at this scale",
    ]


def _format_claim(sentence: Sentence) -> str:
    comparison = sentence.comparison
    measure = "" if comparison.measure == "accuracy" else f" (`{comparison.measure}`)"
    return f"{comparison.text[:1].upper()}{comparison.text[1:]}{measure}"


def _list_effects(name: str, readings: Mapping[str, Verdict]) -> list[str]:
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
            effect += f", spikes {_sign(better - worse, 2)}"
        effects.append(effect)
    return effects


def _join_outcomes(outcomes: Mapping[str, str]) -> str:
    if len(set(outcomes.values())) == 1:
        return next(iter(outcomes.values()))
    return "<br>".join(f"{group}: {outcome}" for group, outcome in outcomes.items())


def make_differences() -> str:
    """Return the effect of single differences that the paper makes a claim about."""
    summary = json.loads(READINGS_JSON.read_text())["summary"]
    rows = []
    for claim, where, row, outcome in DIFFERENCES:
        points, spikes = (summary[row][f"{each} difference"] for each in ("accuracy", "spikes"))
        rows.append([claim, where, f"`{row}`", *_format_both(points, spikes), outcome])
    head = ["claim", "where", "compared with `paper`", "accuracy", "spikes", "outcome"]
    return format_table(head, rows, left=3)


DIFFERENCES = (
    ("Eq. 12 is a better start than min-max", "§3.3, Fig. 2", "start: min_max", OPPOSITE),
    ("Eq. 12 is a better start than none", "§3.3, Table 7", "start: ones", OPPOSITE),
    ("The correction of Eq. 13 helps", "§3.4, Table 7", "strength 0", NOT_SEEN),
)


def _format_both(points: Mapping[str, Any], spikes: Mapping[str, Any]) -> list[str]:
    found = []
    for scale, each in ((100, points), (1, spikes)):
        low, high = (_sign(scale * end, 2) for end in each["interval"])
        found.append(f"{_sign(scale * each['mean'], 2)} [{low}, {high}]")
    return found


def list_groups() -> dict[str, dict[str, list[tuple[str, Case]]]]:
    """Return the trained cases by group and record, each with the pages that show it."""
    groups: dict[str, dict[str, list[tuple[str, Case]]]] = {}
    for name in NAMES:
        experiment, records = load_experiment(name)
        for case in experiment.cases:
            if case.seeds and case.label in records:
                slug = records[case.label]["slug"]
                groups.setdefault(case.group, {}).setdefault(slug, []).append((name, case))
    return groups


def make_ledger() -> str:
    """Return every trained row once, by its group, with its record and the pages that show it."""
    rows = []
    for group, slugs in list_groups().items():
        for slug, shown in slugs.items():
            name, case = shown[0]
            result = load_results(name)[case.label]
            pages = ", ".join(f"[{name}](evidence/{SCALE}/{name}.md)" for name, _ in shown)
            rows.append(
                [
                    group,
                    _drop_group(case),
                    str(len(result.seeds)),
                    format_estimate(result.estimate("accuracy")),
                    format_estimate(result.estimate("spikes")),
                    f"[record](evidence/{SCALE}/records/{slug}.json)",
                    pages,
                ]
            )
    head = ["data", "row", "seeds", "accuracy, %", "spikes", "record", "pages"]
    return format_table(head, rows, left=2)


def _drop_group(case: Case) -> str:
    return case.label.removesuffix(f", {case.group}")


def make_negative() -> str:
    """Return the claims that did not come out in a group, or came out with the other sign."""
    rows = []
    for sentence in list_sentences():
        for group, readings in sentence.verdicts.items():
            outcome = describe_outcome(readings)
            if outcome.startswith(NOT_SEEN) or OPPOSITE_WITH in outcome or outcome == OPPOSITE:
                page = f"[{sentence.name}](evidence/{SCALE}/{sentence.name}.md)"
                effects = _list_effects(sentence.name, readings)
                rows.append([_format_claim(sentence), group, "<br>".join(effects), outcome, page])
    head = ["claim", "data", "effect", "outcome", "page"]
    return format_table(head, rows, left=len(head))


def make_counts() -> str:
    """Return how many claims had each outcome in each group."""
    groups: dict[str, list[str]] = {}
    for sentence in list_sentences():
        for group, readings in sentence.verdicts.items():
            groups.setdefault(group, []).append(describe_outcome(readings).partition(";")[0])
    outcomes = (HOLDS, f"{HOLDS} with another start", NOT_SEEN, OPPOSITE, UNTESTED)
    rows = [
        [group, *(str(found.count(each)) for each in outcomes)] for group, found in groups.items()
    ]
    return format_table(["data", *outcomes], rows, left=1)


def make_readme() -> str:
    """Return the rows of LIF, I-LIF and PIT in each group, for README."""
    rows = []
    for group, slugs in list_groups().items():
        for slug, shown in slugs.items():
            name, case = shown[0]
            if _drop_group(case) in (*README_ROWS, *README_EVENTS):
                result = load_results(name)[case.label]
                numbers = [format_estimate(result.estimate(m)) for m in ("accuracy", "spikes")]
                link = f"[record](docs/evidence/{SCALE}/records/{slug}.json)"
                rows.append([group, _drop_group(case), str(len(result.seeds)), *numbers, link])
    return format_table(["data", "row", "seeds", "accuracy, %", "spikes", "record"], rows, left=2)


TABLES = {
    "claims": make_claims,
    "differences": make_differences,
    "ledger": make_ledger,
    "negative": make_negative,
    "counts": make_counts,
    "readme": make_readme,
}
PAGES = (DOCS / "claims.md", DOCS / "results.md", DOCS.parent / "README.md")


def write_pages(pages: Iterable[Path] = PAGES) -> None:
    """Write the tables into the pages."""
    for page in pages:
        page.write_text(fill_tables(page.read_text(), "evidence", TABLES))


if __name__ == "__main__":
    write_pages()
