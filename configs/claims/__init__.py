"""The comparisons that the paper's text makes about its tables and figures.

`COMPARISONS` lists each once. `compare_rows` returns them as claims about the rows of a table of
the paper, `compare_cases` as claims about the cases of a smaller experiment, one for each reading
of PIT that was trained.
"""

from collections.abc import Collection, Mapping

from configs.claims import appendix, figures, tables
from configs.claims.types import Claim, Comparison

__all__ = ["COMPARISONS", "Claim", "Comparison", "compare_cases", "compare_rows"]
COMPARISONS: Mapping[str, tuple[Comparison, ...]] = {
    "table2": tables.TABLE2,
    "table3": tables.TABLE3,
    "table4": tables.TABLE4,
    "table5": tables.TABLE5,
    "table7": appendix.TABLE7,
    "table8": appendix.TABLE8,
    "table9": appendix.TABLE9,
    "table10": appendix.TABLE10,
    "table11": appendix.TABLE11,
    "table12": appendix.TABLE12,
    "figure3": figures.FIGURE3,
    "figure4": figures.FIGURE4,
    "figure5": figures.FIGURE5,
    "figure6": figures.FIGURE6,
    "figure7": figures.FIGURE7,
}

# The measures that follow from the shapes of a network.
COUNTED = ("s_ace_g", "macs_m", "memory_gb")


def compare_rows(
    name: str, printed: Mapping[str, Mapping[str, float]], counted: str = ""
) -> tuple[Claim, ...]:
    """Return the claims about the rows of a table; `printed` are its values by label.

    `counted` is the suffix in the labels of rows that are counted, not trained. With it, only the
    claims about measures that need no training are returned.
    """
    return tuple(
        _make_claim(comparison, better + counted, worse + counted, printed, (better, worse))
        for comparison in COMPARISONS[name]
        for better, worse in comparison.rows
        if not counted or comparison.measure in COUNTED
    )


def compare_cases(
    name: str, group: str, labels: Collection[str], printed: Mapping[str, Mapping[str, float]]
) -> tuple[Claim, ...]:
    """Return the claims about the cases of a group that have these labels.

    Each reading of PIT makes a claim of its own. The printed difference is between the first
    pair of rows.
    """
    claims = []
    for comparison in (each for each in COMPARISONS[name] if each.cases):
        has_readings = any("{PIT}" in case for case in comparison.cases)
        for reading in comparison.readings if has_readings else ("",):
            better, worse = (case.format(PIT=f"PIT {reading}") for case in comparison.cases)
            if {better, worse} <= set(labels):
                ends = f"{better}, {group}", f"{worse}, {group}"
                claims.append(_make_claim(comparison, *ends, printed, *comparison.rows[:1]))
    return tuple(claims)


def _make_claim(
    comparison: Comparison,
    better: str,
    worse: str,
    printed: Mapping[str, Mapping[str, float]],
    rows: tuple[str, str] | None = None,
) -> Claim:
    values = [
        printed[row][comparison.measure] for row in rows or () if comparison.measure in printed[row]
    ]
    return Claim(
        comparison.text,
        better,
        worse,
        comparison.measure,
        comparison.more,
        # Rounding removes the error of the subtraction, not a printed digit.
        round(values[0] - values[1], 2) if len(values) == 2 else None,
        comparison.source,
        comparison.within,
    )
