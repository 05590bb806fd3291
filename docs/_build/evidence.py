"""Write the results of `docs/evidence/laptop` into claims.md, results.md and README.md.

    python -m docs._build.evidence

The pages of `docs/evidence/laptop` and its records come from `python -m train.reproduce`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from configs.scales import NAMES, Case
from docs._build.outcomes import (
    DOCS,
    NOT_RUN,
    OPPOSITE_WITH,
    SCALE,
    Sentence,
    describe_outcome,
    format_claim,
    format_estimate,
    format_signed,
    link_page,
    list_effects,
    list_sentences,
    load_experiment,
    load_results,
)
from docs._build.tables import fill_tables, format_table
from train.reproduce.pages.content import shorten_label
from train.reproduce.results import Result
from train.reproduce.statistics import compare_pairs
from train.reproduce.verdicts import HOLDS, NOT_SEEN, OPPOSITE, UNTESTED

READINGS_JSON = DOCS.parent / "benchmarks" / "readings.json"
# The rows of README, the best first: the labels without their group, of images and of events.
README_ROWS = {
    "PIT `ours`": ("PIT ours 1x4", "PIT ours 10x4"),
    "PIT `released`": ("PIT released 1x4",),
    "I-LIF": ("I-LIF 1x4", "I-LIF 10x4"),
    "PIT `paper`": ("PIT paper 1x4", "PIT paper 10x4"),
    "LIF": ("LIF 4x1", "LIF 10x1"),
}
README_GROUPS = ("dig200", "FM", "dvs400")


def make_claims() -> str:
    """Return all claims about tables and figures with their outcomes, a section for each."""
    sections = []
    for name in NAMES:
        title = re.sub(r"(?<=[a-z])(?=\d)", " ", name).capitalize()
        experiment, _ = load_experiment(name)
        rows = [make_claim_row(each) for each in list_sentences() if each.name == name]
        head = ["claim", "where", "printed", "effect here", "outcome"]
        links = f"{link_page(name)}, [printed rows](../configs/tables/{name}.py)"
        table = format_table(head, rows, left=len(head))
        sections.append(f"### {title}: {experiment.title}\n\n{links}, `{command(name)}`\n\n{table}")
    return "\n" + "\n".join(sections) + "\n"


def command(name: str) -> str:
    """Return the command that makes the page of an experiment."""
    return f"python -m train.reproduce {name} --scale {SCALE}"


def make_claim_row(sentence: Sentence) -> list[str]:
    """Return the cells of a claim; printed differences are in the order of the effects."""
    effects, outcomes = [], {}
    for group, readings in sentence.verdicts.items():
        outcomes[group] = describe_outcome(readings)
        effects += [f"{group}, {each}" for each in list_effects(sentence.name, readings)]
    claims = [v.claim for each in sentence.verdicts.values() for v in each.values()]
    # One number if all compare the same rows of the paper.
    printed = [format_signed(each.printed, 2) for each in claims if each.printed is not None]
    printed = printed[:1] if len(set(printed)) == 1 else printed
    return [
        format_claim(sentence),
        sentence.comparison.source,
        "<br>".join(printed) or "–",
        "<br>".join(effects) or "–",
        _join_outcomes(outcomes) or f"{UNTESTED} here: no such rows at this scale",
    ]


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
        low, high = (format_signed(scale * end, 2) for end in each["interval"])
        found.append(f"{format_signed(scale * each['mean'], 2)} [{low}, {high}]")
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
            pages = ", ".join(link_page(name) for name, _ in shown)
            rows.append(
                [
                    group,
                    shorten_label(case),
                    str(len(result.seeds)),
                    format_estimate(result.estimate("accuracy")),
                    format_estimate(result.estimate("spikes")),
                    f"[record](evidence/{SCALE}/records/{slug}.json)",
                    pages,
                ]
            )
    head = ["data", "row", "seeds", "accuracy, %", "spikes", "record", "pages"]
    return format_table(head, rows, left=2)


def make_negative() -> str:
    """Return the claims that did not come out in a group, or came out with the other sign."""
    rows = []
    for sentence in list_sentences():
        for group, readings in sentence.verdicts.items():
            outcome = describe_outcome(readings)
            if outcome.startswith(NOT_SEEN) or OPPOSITE_WITH in outcome or outcome == OPPOSITE:
                page = link_page(sentence.name)
                effects = list_effects(sentence.name, readings)
                rows.append([format_claim(sentence), group, "<br>".join(effects), outcome, page])
    head = ["claim", "data", "effect", "outcome", "page"]
    return format_table(head, rows, left=len(head))


def make_counts() -> str:
    """Return how many claims had each outcome in each group."""
    groups: dict[str, list[str]] = {}
    for sentence in list_sentences():
        for group, readings in sentence.verdicts.items():
            groups.setdefault(group, []).append(describe_outcome(readings).partition(";")[0])
    outcomes = (HOLDS, f"{HOLDS} with another start", NOT_SEEN, OPPOSITE, UNTESTED, NOT_RUN)
    rows = [
        [group, *(str(found.count(each)) for each in outcomes)] for group, found in groups.items()
    ]
    return format_table(["data", *outcomes], rows, left=1)


def make_readme() -> str:
    """Return the rows of PIT, I-LIF and LIF for README, with a column for each group."""
    groups = list_groups()
    rows = [
        [name, *(_format_readme_cell(groups[group], labels) for group in README_GROUPS)]
        for name, labels in README_ROWS.items()
    ]
    return format_table(["neuron", *README_GROUPS], rows, left=1)


def _format_readme_cell(
    slugs: Mapping[str, Iterable[tuple[str, Case]]], labels: Iterable[str]
) -> str:
    for slug, shown in slugs.items():
        name, case = next(iter(shown))
        if shorten_label(case) in labels:
            result = load_results(name)[case.label]
            accuracy, spikes = (format_estimate(result.estimate(m)) for m in ("accuracy", "spikes"))
            mean, _, interval = accuracy.partition(" ")
            record = f"docs/evidence/{SCALE}/records/{slug}.json"
            return f"[{mean}]({record}) {interval}, {spikes.partition(' ')[0]}"
    return "–"


def make_contrasts() -> str:
    """Return comparisons of cases that the paper does not make, as an exploration."""
    rows = []
    for name, better, worse in CONTRASTS:
        experiment, results = load_experiment(name)[0], load_results(name)
        for group in dict.fromkeys(case.group for case in experiment.cases):
            one, other = (results.get(f"{label}, {group}") for label in (better, worse))
            if one and other:
                cells = [_format_contrast(one, other, m) for m in ("accuracy", "spikes")]
                rows.append([f"{better} − {worse}", group, *cells, link_page(name)])
    return format_table(["compared", "data", "accuracy", "spikes", "page"], rows, left=2)


def _format_contrast(one: Result, other: Result, measure: str) -> str:
    seeds = range(min(len(one.seeds), len(other.seeds)))
    if one.find_missing(measure, seeds) or other.find_missing(measure, seeds):
        return "missing"
    found = compare_pairs(one.list_values(measure, seeds), other.list_values(measure, seeds))
    low, high = (format_signed(end, 2) for end in (found.low, found.high))
    return f"{format_signed(found.difference, 2)} [{low}, {high}]"


CONTRASTS = (
    ("table8", "PIT ours 1x4", "QB-LIF 1x4"),
    ("table8", "PIT ours 1x4", "I-LIF 1x4 gain 4/3"),
    ("table8", "I-LIF 1x4 gain 4/3", "I-LIF 1x4"),
    ("table8", "LIF 4x1 detached", "LIF 4x1"),
    ("table8", "PIT ours 4x1", "LIF 4x1 detached"),
    ("table7", "PIT ours 1x1", "QB-LIF 1x1"),
    ("table7", "PIT ours 1x1", "PIT paper 1x1"),
)


TABLES = {
    "contrasts": make_contrasts,
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
