"""The numbers of an experiment as CSV: a line for each row, each run and each claim."""

import csv
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pit_jax.display import escape_formula

from ..results import NOT_RUN
from ..verdicts import Verdict
from .content import Content, split_shape

if TYPE_CHECKING:
    from configs.scales import Case

FINISHED = "finished"


def format_csv(page: Content) -> str:
    """Return the lines of all rows, each with its runs below it, then those of the claims.

    The column `kind` is `row`, `run` or `claim`. Accuracies are in percent. Cells that a line does
    not have are empty.
    """
    lines = [line for case in page.experiment.cases for line in _list_lines(page, case)]
    lines += [_describe_claim(page, verdict) for verdict in page.verdicts]
    written = io.StringIO()
    writer = csv.DictWriter(written, _list_columns(page), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: escape_formula(_format(value)) for key, value in line.items()})
    return written.getvalue()


def _list_columns(page: Content) -> list[str]:
    columns = ["kind", "label", "data", "T", "D", "seed", "seeds", "status"]
    for measure in page.measures:
        columns += [measure, f"{measure}_sd", f"{measure}_low", f"{measure}_high"]
        if page.has_printed(measure):
            columns += [f"{measure}_printed", f"{measure}_difference"]
    if page.verdicts:
        columns += ["measure", "better", "worse", "difference", "low", "high", "pairs"]
        columns += ["corrected_p", "power", "printed", "verdict", "reason"]
    return [*columns, "record"]


def _list_lines(page: Content, case: "Case") -> Iterator[dict[str, Any]]:
    """Yield the line of a row, then those of its runs."""
    result = page.results[case.label]
    steps, _, levels = split_shape(case.label).partition(" × ")
    about = {"label": case.label, "data": case.group, "T": steps, "D": levels}
    record = f"records/{result.slug}.json" if result.slug else ""
    finished = len(result.seeds) - len(result.missing)
    row: dict[str, Any] = {"kind": "row", **about, "seeds": finished, "record": record}
    row["status"] = NOT_RUN if result.missing else FINISHED if result.seeds else ""
    for measure in page.measures:
        if found := result.estimate(measure):
            row[measure], row[f"{measure}_sd"] = found.mean, found.sd
            row[f"{measure}_low"], row[f"{measure}_high"] = found.low, found.high
        if page.has_printed(measure):
            row[f"{measure}_printed"] = page.get_printed(case, measure)
            row[f"{measure}_difference"] = page.get_difference(case, measure)
    yield row
    for seed in result.seeds:
        run = result.runs.get(seed, {})
        numbers = {measure: run.get(measure, math.nan) for measure in page.measures}
        status = result.missing.get(seed, FINISHED)
        yield {"kind": "run", **about, "seed": seed, "status": status, **numbers, "record": record}


def _describe_claim(page: Content, verdict: Verdict) -> dict[str, Any]:
    claim = verdict.claim
    line: dict[str, Any] = {
        "kind": "claim",
        "label": claim.text,
        "data": page.results[claim.better].case.group,
        "measure": claim.measure,
        "better": claim.better,
        "worse": claim.worse,
        "corrected_p": verdict.corrected,
        "power": verdict.power,
        "printed": math.nan if claim.printed is None else claim.printed,
        "verdict": verdict.outcome,
        "reason": verdict.reason,
    }
    if (found := verdict.comparison) is not None:
        line["difference"] = found.difference
        if not verdict.exact:
            line |= {"low": found.low, "high": found.high, "pairs": found.pairs}
    return line


def _format(value: Any) -> Any:
    """Return a number with seven digits, empty for NaN; other values as they are."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return value
