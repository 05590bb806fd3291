"""Write the tables of docs/theory/capacity.md, counted one by one.

python -m docs._build.capacity
"""

import math
from collections.abc import Sequence
from pathlib import Path

from docs._build.tables import fill_tables, format_table
from pit_jax.analysis.capacity import (
    capacity_paper,
    count_paper,
    enumerate_trains,
    enumerate_values,
    generic_scales,
    generic_weights,
    log_configurations,
    log_values_shared,
    table_1,
)

PAGE = Path(__file__).parents[1] / "theory" / "capacity.md"

Sizes = tuple[int, int, int]
ENUMERATED: Sequence[Sizes] = ((2, 2, 1), (2, 2, 2), (4, 3, 1), (2, 1, 1), (1, 3, 2))
# Sizes for which Table 1 is enumerated: the paper's row has the most trains, 15,625.
SMALL: Sizes = (2, 3, 4)
# Neurons of a layer in the first stage of ResNet18: 64 channels of 32 x 32.
LAYER = 64 * 32 * 32
STEPS_AND_LEVELS = ((1, 1), (4, 1), (2, 2), (1, 4), (4, 4))


def make_count_table() -> str:
    """Return all counts for small sizes, enumerated over all spike trains."""
    head = ["", "number", *(f"T={t} N={n} D={d}" for t, n, d in ENUMERATED)]
    names = [
        ("spike trains", "(D+1)^(N·T)"),
        ("values of Eq. 16, `k` shared by all steps", "(T·D+1)^N"),
        ("values of Eq. 18, `a` of each step its own", "(D+1)^(N·T)"),
        ("values of Eq. 18, `a` the same at all steps", "(T·D+1)^N"),
        ("tuples, one value of Eq. 14 for each step", "(D+1)^(N·T)"),
        ("values of Eq. 16, every `k_j` 1", "N·T·D+1"),
        ("**the paper, Eqs. 17 and 19**", "T·(D+1)^N"),
    ]
    columns = [(*count_kinds(sizes), count_paper(*sizes)) for sizes in ENUMERATED]
    rows = [
        [name, f"`{formula}`", *(f"{number:,}" for number in numbers)]
        for (name, formula), numbers in zip(names, zip(*columns, strict=True), strict=True)
    ]
    return format_table(head, rows, left=2)


def count_kinds(sizes: Sizes) -> list[int]:
    """Count each kind of the table except the paper's formula."""
    k = generic_weights(*sizes)
    trains = list(enumerate_trains(*sizes))
    tuples = {
        tuple(sum(w * s for w, s in zip(k, step, strict=True)) for step in train)
        for train in trains
    }
    values = [
        enumerate_values(*sizes),
        enumerate_values(*sizes, a=generic_scales(*sizes)),
        enumerate_values(*sizes, a=generic_scales(*sizes, time_varying=False)),
    ]
    ones = enumerate_values(*sizes, k=[1] * sizes[1])
    return [len(set(trains)), *map(len, values), len(tuples), len(ones)]


def make_paper_table() -> str:
    """Return Table 1 as printed, with the number of values of its representation spaces."""
    steps, neurons, levels = SMALL
    head = ["method", "spikes", "scale", "capacity, printed", "in the logarithm", "values, counted"]
    rows = []
    for method in table_1(levels):
        span = len(method.spikes) - 1
        scales = {
            "none": None,
            "a": [[0.7] * neurons] * steps,
            "a_j": generic_scales(steps, neurons, span, time_varying=False),
            "a_ij": generic_scales(steps, neurons, span),
        }
        values = enumerate_values(
            steps, neurons, span, a=scales[method.scale], lowest=method.spikes[0]
        )
        cells = [
            method.name,
            ", ".join(map(str, method.spikes)),
            "–" if method.scale == "none" else f"`{method.scale}`",
            f"`{method.printed}`",
            f"{count_paper(steps, neurons, span):,}",
            f"{len(values):,}",
        ]
        rows.append(cells)
    return format_table(head, rows, left=4)


def make_layer_table() -> str:
    """Return the capacities of a layer of ResNet18 in bits, for several steps and levels."""
    head = [
        "T×D",
        "the paper, Eqs. 17 and 19",
        "values of Eq. 16",
        "spike trains; values of Eq. 18",
    ]
    rows = []
    for steps, levels in STEPS_AND_LEVELS:
        sizes = steps, LAYER, levels
        capacities = capacity_paper(*sizes), log_values_shared(*sizes), log_configurations(*sizes)
        rows.append([f"{steps}×{levels}", *(f"{x / math.log(2):,.0f}" for x in capacities)])
    return format_table(head, rows, left=1)


TABLES = {"counted": make_count_table, "printed": make_paper_table, "layer": make_layer_table}


if __name__ == "__main__":
    PAGE.write_text(fill_tables(PAGE.read_text(), "capacity", TABLES))
