"""The page of an experiment in Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..results import Result, describe_missing
from ..verdicts import HOLDS, NOT_SEEN, OPPOSITE, UNTESTED, Verdict
from .content import (
    ACCURACY,
    MEANINGS,
    NONE,
    PAPER,
    SPIKES,
    Content,
    count_seeds,
    describe_difference,
    format_absent,
    format_estimate,
    format_interval,
    format_number,
    format_p,
    format_power,
    format_printed,
    get_heading,
    split_shape,
)

if TYPE_CHECKING:
    from configs.scales import Case

INTERVAL = "95 % interval"
TEST = """\
Runs with the same seed have the same initial kernels, order of samples and augmentation, so a claim
is tested on their differences: a two-sided paired t test, whose p is corrected by Holm for the
{tests} here. So the chance that any verdict "holds" or "the opposite holds" of this page is false
is at most 5 %.

- **holds**: corrected p < 0.05, and the difference has the claimed sign.
- **the opposite holds**: corrected p < 0.05, and the difference has the other sign.
- **not seen**: corrected p ≥ 0.05. With a low power this says little.
- **cannot be tested**: a run is missing or has failed, or there are fewer than two pairs.

Differences of accuracy are in percentage points. Intervals are Student's, of the mean of the
paired differences, and not corrected. The power is the chance to find a difference as large as the
standard deviation of the paired differences (noncentral t distribution), after the correction.
"""
WITHIN = """
A claim that a difference is small holds if it is significantly smaller than the limit: two
one-sided tests, whose p is doubled. It has no power in this sense.
"""
EXACT = """
Counts do not vary with the seed. They are compared without a test, and have no p.
"""


def format_page(page: Content, pictures: Sequence[str]) -> str:
    """Return the page; `pictures` are the names of its figures."""
    experiment = page.experiment
    blocks = [f"# {_name_table(experiment.name)}: {experiment.title}", *_introduce(page)]
    blocks.append(_format_table(_list_head(page), (_list_cells(page, c) for c in experiment.cases)))
    blocks += _list_remarks(page)
    blocks += _show_pictures(page, pictures)
    if page.verdicts:
        blocks += ["## Claims", _count_outcomes(page), _format_claims(page), _explain_test(page)]
    blocks += ["## Command", f"```console\n{page.command}\n```", _explain_command(page)]
    return "\n\n".join(block.strip("\n") for block in blocks if block) + "\n"


def _name_table(name: str) -> str:
    return name.replace("table", "Table ").replace("figure", "Figure ")


def _introduce(page: Content) -> Iterator[str]:
    yield f"Scale `{page.scale}`. {page.experiment.remark}".rstrip()
    if page.scale != PAPER and any(map(page.has_printed, page.measures)):
        yield (
            "The printed numbers are the paper's, for its data and networks. At this scale a row "
            "that is trained has smaller data, networks and training, so its difference to the "
            "printed number does not compare like with like. Compare rows with the same data."
        )
    yield _format_list(MEANINGS[measure] for measure in page.measures if measure in MEANINGS)


def _list_head(page: Content) -> list[str]:
    head = ["row", "data", "T × D", "seeds"]
    if ACCURACY in page.measures:
        head += [get_heading(ACCURACY), "sd", INTERVAL]
    if SPIKES in page.measures:
        head += ["spikes", INTERVAL]
    if page.has_printed(ACCURACY) and ACCURACY in page.measures:
        head += ["printed, %", "difference"]
    for measure in page.others:
        head.append(get_heading(measure))
        if page.has_printed(measure):
            head += ["printed", "difference"]
    return [*head, "record"]


def _list_cells(page: Content, case: "Case") -> list[str]:
    result = page.results[case.label]
    cells = [_escape(case.label), _escape(case.group), split_shape(case.label), count_seeds(result)]
    for measure in page.measures[:2]:
        if measure in (ACCURACY, SPIKES):
            cells += _list_mean(result, measure)
    for measure in (ACCURACY, *page.others):
        if measure in page.others:
            found = result.estimate(measure)
            cells.append(
                format_estimate(measure, found) if found else format_absent(result, measure)
            )
        if page.has_printed(measure) and measure in page.measures:
            cells.append(format_printed(measure, page.get_printed(case, measure)))
            cells.append(format_number(measure, page.get_difference(case, measure), "+"))
    link = f"[record](records/{result.slug}.json)" if result.slug else NONE
    return [*cells, link]


def _list_mean(result: Result, measure: str) -> list[str]:
    """Return the cells of accuracy (mean, sd, interval) or spikes (mean, interval)."""
    found = result.estimate(measure)
    num_cells = 3 if measure == ACCURACY else 2
    if found is None:
        return [format_absent(result, measure), *[NONE] * (num_cells - 1)]
    cells = [format_number(measure, found.mean), format_number(measure, found.sd)]
    return [*cells[: num_cells - 1], format_interval(measure, found.low, found.high)]


def _list_remarks(page: Content) -> Iterator[str]:
    """Yield the missing runs, then the remarks on cases, as lists."""
    results = page.results.values()
    if any(result.missing for result in results):
        yield "**Missing or failed runs.** A row with one of them has no mean."
        yield _format_list(
            f"{_escape(result.case.label)}: {_escape(describe_missing(result.missing))}"
            for result in results
            if result.missing
        )
    if any(case.remark for case in page.experiment.cases):
        yield "**Remarks**"
        yield _format_list(
            f"{_escape(case.label)}: {_escape(case.remark)}"
            for case in page.experiment.cases
            if case.remark
        )


def _show_pictures(page: Content, pictures: Iterable[str]) -> Iterator[str]:
    for picture in pictures:
        yield f"![{page.experiment.title}]({picture})"
        # Others have their own legends.
        if picture == f"{page.experiment.name}.png" and not page.experiment.analysis:
            text = "Small points are runs; large ones are means, with their 95 % intervals."
            yield text + " Gray marks are the printed numbers." * (page.scale == PAPER)


def _count_outcomes(page: Content) -> str:
    """Return how many claims have each outcome, as a sentence."""
    outcomes = [verdict.outcome for verdict in page.verdicts]
    counts = (
        f"{outcomes.count(outcome)} **{outcome}**"
        for outcome in (HOLDS, OPPOSITE, NOT_SEEN, UNTESTED)
    )
    return f"Outcomes of the {_count_claims(len(outcomes))}: {', '.join(counts)}."


def _count_claims(number: int) -> str:
    return f"{number} claim{'s' * (number != 1)}"


def _format_claims(page: Content) -> str:
    head = ["claim", "source", "data", "difference of", "difference", INTERVAL, "pairs"]
    head += ["corrected p", "power", "printed", "verdict"]
    return _format_table(head, (_list_claim_cells(page, verdict) for verdict in page.verdicts))


def _list_claim_cells(page: Content, verdict: Verdict) -> list[str]:
    claim, found = verdict.claim, verdict.comparison
    difference, interval, pairs = NONE, NONE, NONE
    if found is not None:
        difference = format_number(claim.measure, found.difference, "+")
        if not verdict.exact:
            interval = format_interval(claim.measure, found.low, found.high, "+")
            pairs = str(found.pairs)
    printed = NONE
    if claim.printed is not None:
        printed = format_printed(claim.measure, claim.printed, "+")
    return [
        _escape(claim.text),
        _escape(claim.source) or NONE,
        _escape(page.results[claim.better].case.group),
        _escape(describe_difference(page, claim)),
        difference,
        interval,
        pairs,
        "exact" if verdict.exact and found else format_p(verdict.corrected),
        format_power(verdict.power),
        printed,
        _escape(f"**{verdict.outcome}**" + (f": {verdict.reason}" if verdict.reason else "")),
    ]


def _explain_test(page: Content) -> str:
    number = len(page.tests)
    text = TEST.format(tests=_count_claims(number)) if number else ""
    if any(verdict.claim.within is not None for verdict in page.verdicts):
        text += WITHIN
    return text + EXACT * any(verdict.exact for verdict in page.verdicts)


def _explain_command(page: Content) -> str:
    name = page.experiment.name
    return (
        f"trains what is missing and writes this page, `{name}.csv` with every run, and "
        f"`{name}.tex`. The record of a row has its runs, the command of a run, and the hashes of "
        "its code and data."
    )


def _format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    # Numbers are right-aligned, like their headings; texts are left-aligned.
    texts = {"row", "claim", "source", "data", "difference of", "verdict", "record"}
    rule = "|" + "|".join("---" if name in texts else "--:" for name in head) + "|"
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def _format_list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _escape(text: str) -> str:
    """Return a text for a cell of a table, in one line."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
