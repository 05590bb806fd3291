"""The table of aims: what was measured, and what is missed."""

from benchmarks import aims
from benchmarks.aims import PIT, Aim, list_results
from benchmarks.workload import WORKLOADS, load_module


def make_entry(peer: str, label: str, seconds: float, peak: float) -> dict:
    return {
        "peer": peer,
        "label": label,
        "status": "ok",
        "seconds": [seconds] * 5,
        "peak_mib": peak,
    }


def test_ratios_are_bold_where_they_miss_the_aim_and_empty_where_nothing_was_measured(monkeypatch):
    row = ("W3", "batch 32", PIT, "spikingjelly", "I-LIF 1×4")
    wanted = (Aim("a", *row, 2.0), Aim("b", *row, 2.1), Aim("c", *row, most=0.4))
    monkeypatch.setattr(aims, "AIMS", (*wanted, Aim("d", "W1", *row[1:], 1.0)))
    entries = [
        make_entry("pit_jax", PIT, 1.0, 50),
        make_entry("spikingjelly", "I-LIF 1×4", 2.0, 100),
    ]
    cell = {"name": "batch 32", "entries": entries}
    shown = list(list_results([{"workload": "W3", "cells": [cell]}]))
    other = "spikingjelly, I-LIF 1×4"
    assert shown == [
        ("a", other, "≥ 2", "2.00", ""),
        ("b", other, "≥ 2.1", "**2.00**", ""),
        ("c", other, "≤ 0.4", "**0.50**", ""),
        ("d", other, "≥ 1", "", ""),
    ]


def test_every_aim_names_entries_that_are_measured():
    cells = {
        (name, cell.name): {(x.peer, x.label) for x in cell.entries}
        for name in WORKLOADS
        for cell in load_module(name).WORKLOAD.cells
    }
    for aim in aims.AIMS:
        entries = cells[aim.workload, aim.cell]
        assert {("pit_jax", aim.ours), (aim.peer, aim.theirs)} <= entries, aim
