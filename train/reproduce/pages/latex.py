"""The tables of an experiment in LaTeX, for the package booktabs."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..statistics import MeanEstimate
from ..verdicts import Verdict
from .content import (
    ACCURACY,
    NONE,
    PAPER,
    Content,
    count_seeds,
    describe_difference,
    format_absent,
    format_number,
    format_p,
    format_power,
    format_printed,
    get_heading,
    shorten_label,
    split_shape,
)

if TYPE_CHECKING:
    from configs.scales import Case

# LaTeX's special characters, and those that its usual fonts lack.
SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "×": r"$\times$",
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "λ": r"$\lambda$",
        "µ": r"$\mu$",
        "σ": r"$\sigma$",
    }
)


def format_tables(page: Content) -> str:
    """Return two `table` environments, of the rows and of the claims."""
    name = f"{page.experiment.name}-{page.scale}"
    cases = page.experiment.cases
    head = _list_head(page)
    caption = f"{page.experiment.title}. Mean ± half of the 95 % interval over the seeds."
    if page.scale != PAPER:
        caption += " Printed: the paper's numbers, for its own data and networks."
    text = f"% {page.command}\n% In the preamble: \\usepackage{{booktabs}}\n"
    columns = "lll" + "r" * (len(head) - 3)
    text += _format_table(name, caption, columns, head, [_list_cells(page, case) for case in cases])
    if page.verdicts:
        caption = f"{page.experiment.title}: claims. Two-sided paired t tests, corrected by Holm."
        head = ["claim", "data", "difference", "95 % interval", "p", "power", "printed", "verdict"]
        rows = [_list_claim_cells(page, verdict) for verdict in page.verdicts]
        columns = r"p{0.3\linewidth}lrrrrrp{0.15\linewidth}"
        text += "\n" + _format_table(f"{name}-claims", caption, columns, head, rows)
    return text


def _list_head(page: Content) -> list[str]:
    head = ["row", "data", "T × D", "seeds"]
    for measure in page.measures:
        head.append(get_heading(measure))
        if measure == ACCURACY:
            head.append("sd")
        if page.has_printed(measure):
            head += ["printed", "difference"]
    return head


def _list_cells(page: Content, case: "Case") -> list[str]:
    result = page.results[case.label]
    cells = [shorten_label(case), case.group, split_shape(case.label), count_seeds(result)]
    for measure in page.measures:
        found = result.estimate(measure)
        cells.append(_format_mean(measure, found) if found else format_absent(result, measure))
        if measure == ACCURACY:
            cells.append(format_number(measure, found.sd) if found else NONE)
        if page.has_printed(measure):
            cells.append(format_printed(measure, page.get_printed(case, measure)))
            cells.append(format_number(measure, page.get_difference(case, measure), "+"))
    return cells


def _format_mean(measure: str, found: MeanEstimate) -> str:
    mean = format_number(measure, found.mean)
    return mean if found.size < 2 else f"{mean} ± {format_number(measure, found.high - found.mean)}"


def _list_claim_cells(page: Content, verdict: Verdict) -> list[str]:
    claim, found = verdict.claim, verdict.comparison
    difference, interval = NONE, NONE
    if found is not None:
        difference = format_number(claim.measure, found.difference, "+")
        ends = (format_number(claim.measure, end, "+") for end in (found.low, found.high))
        interval = NONE if verdict.exact else f"[{', '.join(ends)}]"
    printed = NONE if claim.printed is None else format_printed(claim.measure, claim.printed, "+")
    return [
        f"{claim.text} ({describe_difference(page, claim)})",
        page.results[claim.better].case.group,
        difference,
        interval,
        "exact" if verdict.exact and found else format_p(verdict.corrected),
        format_power(verdict.power),
        printed,
        str(verdict),
    ]


def _format_table(
    label: str, caption: str, columns: str, head: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    lines = [" & ".join(map(escape, cells)) + r" \\" for cells in (head, *rows)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Return a text in LaTeX; special characters are escaped."""
    return " ".join(text.split()).translate(SPECIAL)
