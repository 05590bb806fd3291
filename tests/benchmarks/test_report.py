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


def test_kept_memory_is_compared_with_ours_that_keeps_it_too():
    one, two, four = [1.0] * 5, [2.0] * 5, [4.0] * 5
    entries = [
        make_entry("pit_jax", two),
        make_entry("pit_jax", two, label="ReLU"),
        make_entry("pit_jax-kept", one),
        make_entry("pit_jax-untuned", four),
        make_entry("spikingjelly", four, label="I-LIF", against=("PIT",)),
        make_entry("spikingjelly-kept", four, label="I-LIF", against=("PIT",)),
        # Without a kept row of that label, the usual one.
        make_entry("pytorch-kept", four, label="ReLU"),
    ]
    assert list_ratios(*entries) == [
        "",
        "",
        "0.50 (0.50 – 0.50) ✗",
        "2.00 (2.00 – 2.00) ✓",
        "2.00 (2.00 – 2.00) ✓ of PIT",
        "4.00 (4.00 – 4.00) ✓ of pit_jax-kept, PIT",
        "2.00 (2.00 – 2.00) ✓",
    ]
    without = [entry for entry in entries if entry["peer"] != "pit_jax-kept"]
    assert list_ratios(*without)[4] == "2.00 (2.00 – 2.00) ✓ of PIT"


def test_a_kept_row_that_did_not_run_is_no_reference():
    failed = {**make_entry("pit_jax-kept", [1.0]), "status": "failed", "reason": "no memory"}
    entries = [make_entry("pit_jax", [1.0] * 5), failed, make_entry("pytorch-kept", [2.0] * 5)]
    cell = {"name": "a cell", "entries": entries}
    (found,) = report.list_comparisons(cell)
    assert found.ours is entries[0] and found.entry is entries[2]


def test_what_compiles_during_its_turns_is_not_comparable(tmp_path):
    entries = [
        make_entry("pit_jax", [1.0] * 5),
        make_entry("pit_jax", [1.0] * 5, label="ReLU", compiled=1),
        make_entry("flax", [2.0] * 5, compiled=3),
        make_entry("pytorch", [2.0] * 5, label="ReLU"),
        make_entry("spikingjelly", [2.0] * 5, against=("PIT", "ReLU")),
    ]
    assert list_ratios(*entries) == [
        "",
        "compiled 1 program during its turns: not comparable",
        "compiled 3 programs during its turns: not comparable",
        "pit_jax, ReLU, compiled during its turns: not comparable",
        "2.00 (2.00 – 2.00) ✓; pit_jax, ReLU, compiled during its turns: not comparable",
    ]
    # A plot without a single ratio is a plot too.
    record = {"workload": "W1", "cells": [{"name": "a cell", "entries": entries[:3]}]}
    report.plot([record], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").exists()
