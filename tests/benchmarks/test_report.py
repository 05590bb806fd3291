"""The table of the benchmarks: what is compared with what, and what its signs mean."""

import pytest

from benchmarks import report


def make_entry(peer, seconds, label="PIT", against=(), compiled=0):
    return {
        "peer": peer,
        "label": label,
        "against": list(against),
        "status": "ok",
        "reason": "",
        "work": 1.0,
        "first_seconds": 1.0,
        "seconds": seconds,
        "median": sorted(seconds)[len(seconds) // 2],
        "quartiles": [min(seconds), max(seconds)],
        "peak_mib": 100.0,
        "compiled": compiled,
        "details": {},
    }


def list_ratios(*entries):
    """Return the fifth column of each row: time / ours."""
    cell = {"name": "a cell", "entries": list(entries)}
    compared = list(report.list_comparisons(cell))
    rows = [
        report.format_entry(cell, entry, [c for c in compared if c.entry is entry])
        for entry in entries
    ]
    return [row.split(" | ")[5].strip() for row in rows]


@pytest.mark.parametrize(
    "rounds, want", ((1, "2.00"), (4, "2.00 (range 2.00 – 2.00)"), (5, "2.00 (2.00 – 2.00) ✓"))
)
def test_signs_need_as_many_rounds_as_an_interval(rounds, want):
    entries = make_entry("pit_jax", [1.0] * rounds), make_entry("pytorch", [2.0] * rounds)
    assert list_ratios(*entries) == ["", want]
    assert "fewer than 5 rounds" in report.LEGEND
