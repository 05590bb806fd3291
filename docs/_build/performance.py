"""Write the tables of the pages on speed and on benchmarks: python -m docs._build.performance

They are made of the records in benchmarks/: those of `make bench`, and roofline.json, growth.json,
neuron_compile.json and backward_memory.json of the scripts with these names.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.aims import list_results
from benchmarks.records import RESULTS, read_all
from docs._build.tables import fill_tables, format_table

DOCS = Path(__file__).parents[1]
PAGE, BENCHMARKS_PAGE = (DOCS / "guide" / f"{name}.md" for name in ("performance", "benchmarks"))
PAGES = (PAGE, BENCHMARKS_PAGE)
BENCHMARKS = DOCS.parent / "benchmarks"
MIB = 2**20
# Beginnings of the aims that a user of a whole network cares about.
WHOLE_NETWORKS = ("training", "peak memory", "inference")
MISSING = "Not measured yet: run `{}`.\n"


@cache
def read(name: str) -> dict[str, Any]:
    """Return the record of a script in benchmarks/, or nothing if it has not run."""
    file = BENCHMARKS / f"{name}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def need(name: str, make: Callable[[dict[str, Any]], str]) -> str:
    """Return a table of a script's record, or a line that asks to run the script."""
    found = read(name)
    return make(found) if found else MISSING.format(f"python -m benchmarks.{name}")


def make_workloads() -> str:
    """Return the tables of all workloads that were measured."""
    if not (records := read_all(RESULTS)):
        return MISSING.format("make bench")
    # A level deeper than in the report, as this is a section of a page.
    tables = [f"#{report.format_record(record)}" for record in records]
    return "\n\n".join([*tables, report.LEGEND]) + "\n"


def make_aims() -> str:
    """Return what this library aims at, and what was measured."""
    if not (records := read_all(RESULTS)):
        return MISSING.format("make bench")
    head = ("speed, or peak memory", "relative to", "aim", "measured", "kept")
    return format_table(head, list_results(records), left=2)


def make_summary() -> str:
    """Return the rows of `make_aims` on whole networks, as measured with the usual settings."""
    if not (records := read_all(RESULTS)):
        return MISSING.format("make bench")
    rows = [row for row in list_results(records) if row[0].startswith(WHOLE_NETWORKS)]
    head = ("speed, or peak memory", "relative to", "measured")
    return format_table(head, ([what, peer, now] for what, peer, _, now, _ in rows), left=2)


def make_limits() -> str:
    """Return the limits of the machine."""
    return need(
        "roofline",
        lambda found: format_table(
            ("product of matrices", "copy in memory", "copy in the cache"),
            [
                (
                    f"{found['limits']['gflops']:,.0f} GFLOP/s",
                    f"{found['limits']['memory_gbs']:,.0f} GB/s",
                    f"{found['limits']['cache_gbs']:,.0f} GB/s",
                )
            ],
            left=0,
        ),
    )


def make_roofline() -> str:
    """Return counts and times of a training step, and its limits on this machine."""

    def rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        limits = found["limits"]
        for row in found["rows"]:
            least = row["gflop"] / limits["gflops"]
            moved = row["gb"] / limits["memory_gbs"]
            yield (
                row["name"],
                row["when"],
                f"{row['gflop']:,.1f}",
                f"{row['gb']:,.2f}",
                f"{1000 * least:,.0f}",
                f"{1000 * moved:,.0f}",
                f"{1000 * row['seconds']:,.0f}",
                f"{least / row['seconds']:.0%}",
            )

    head = ("step", "tree", "GFLOP", "GB", "FLOPs alone, ms", "bytes alone, ms", "measured, ms")
    return need("roofline", lambda found: format_table((*head, "of the peak"), rows(found), left=2))


def make_profile() -> str:
    """Return the time of a training step by kind of operation."""

    def make(found: dict[str, Any]) -> str:
        kinds = list(found["rows"][0]["kinds"])
        rows = [
            (
                row["name"],
                row["when"],
                f"{1000 * row['seconds_on_one_core']:,.0f}",
                *(f"{1000 * row['kinds'][kind]:,.0f}" for kind in kinds),
            )
            for row in found["rows"]
        ]
        return format_table(("step, ms on one core", "tree", "whole", *kinds), rows, left=2)

    return need("roofline", make)


def make_growth() -> str:
    """Return how FLOPs, temporaries and time of a step grow along each axis."""

    def rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        first: dict[str, dict[str, Any]] = {}
        for row in found["rows"]:
            start = first.setdefault(row["axis"], row)
            ratios = (row[key] / start[key] for key in ("gflop", "temporaries", "seconds"))
            name = row["axis"] if row is start else ""
            yield (name, str(row["value"]), *(f"{ratio:.2f}" for ratio in ratios))

    head = ("axis", "value", "FLOPs", "temporaries", "time")
    return need("growth", lambda found: format_table(head, rows(found), left=1))


def make_compile_times() -> str:
    """Return compile time and time of a run of every neuron, without a loop and with it."""
    shown = (1, 4, 10, 50)

    def rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        by = {(row["neuron"], row["steps"], row["unroll"]): row for row in found["records"]}
        for name in dict.fromkeys(row["neuron"] for row in found["records"]):
            cells = []
            for key, digits in (("compile_cpu_s", 2), ("step_ms", 1)):
                for steps in shown:
                    # One step has no loop.
                    pair = (by.get((name, steps, unroll)) for unroll in dict.fromkeys((steps, 1)))
                    cells.append(" / ".join(f"{x[key]:.{digits}f}" if x else "–" for x in pair))
            yield (name, *cells)

    head = [f"{what}, T={t}" for what in ("s to compile", "ms to run") for t in shown]
    return need(
        "neuron_compile", lambda found: format_table(("neuron", *head), rows(found), left=1)
    )


def make_memory() -> str:
    """Return what the backward pass keeps, before and now."""

    def rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        for before, now in zip(found["before"], found["now"], strict=True):
            counts = (
                f"{before[key] / MIB:,.0f} → {now[key] / MIB:,.0f}"
                for key in ("saved", "held", "temporaries")
            )
            name = f"{now['network']}, {now['neuron']}, T={now['steps']}, {now['images']} images"
            yield (name, f"{now['neurons'] / MIB:,.0f}", *counts)

    head = ("MiB", "neuron layers", "saved by JAX", "held by the program", "temporaries")
    return need("backward_memory", lambda found: format_table(head, rows(found), left=1))


def describe_machines() -> str:
    """Return where and when the tables of scripts were measured."""
    lines = []
    for name in ("roofline", "growth", "neuron_compile", "backward_memory"):
        if not (found := read(name)):
            continue
        # Records from before environments were written have these two fields themselves.
        about = found.get("environment", found)
        facts = [about["device"], f"jax {about['jax']}"]
        if commit := about.get("commit"):
            facts.append(f"commit {commit}")
        if "load" in found:
            facts.append(f"load {found['load']:.1f}")
        lines.append(f"- `benchmarks.{name}`: {', '.join(facts)}.")
    return "\n".join(lines or ["Nothing is measured yet."]) + "\n"


TABLES = {
    "summary": make_summary,
    "aims": make_aims,
    "workloads": make_workloads,
    "limits": make_limits,
    "roofline": make_roofline,
    "profile": make_profile,
    "growth": make_growth,
    "compile_times": make_compile_times,
    "memory": make_memory,
    "machines": describe_machines,
}


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(fill_tables(page.read_text(), "performance", TABLES))
