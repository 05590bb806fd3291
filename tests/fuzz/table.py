"""The table of all recorded fuzzing, in table.json and on the page docs/guide/reliability.md."""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.fuzz.core import ROOT
from tests.fuzz.run import Tally
from train.run.environment import find_commit

FILE, PAGE = ROOT / "tests/fuzz/table.json", ROOT / "docs/guide/reliability.md"
START, END = "<!-- fuzzing: written by tests/fuzz/table.py -->\n", "<!-- end of fuzzing -->"
ENDS = ("accepted", "refused", "finding")


def add_run(tallies: Mapping[str, Tally], minutes: float, seed: int) -> None:
    """Append the counts of a run to the file, and write the table of the page again."""
    runs = json.loads(FILE.read_text()) if FILE.exists() else []
    runs.append(
        {
            "date": datetime.now().astimezone().date().isoformat(),
            "commit": find_commit(ROOT / "pit_jax" / "__init__.py"),
            "minutes": round(minutes, 1),
            "seed": seed,
            "machine": f"{os.cpu_count()} cores, {platform.system()}",
            "targets": {name: dict(tally.ends) for name, tally in sorted(tallies.items())},
        }
    )
    FILE.write_text(json.dumps(runs, indent=1) + "\n")
    write_page(runs)


def write_page(runs: list[dict[str, Any]]) -> None:
    """Replace the table of the page by the counts of `runs`."""
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(before + START + make_table(runs) + END + rest.partition(END)[2])


def make_table(runs: list[dict[str, Any]]) -> str:
    """Return the counts of all runs as Markdown, with their total time."""
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        for name, ends in run["targets"].items():
            counts.setdefault(name, Counter()).update(ends)
    total = sum(counts.values(), Counter())
    minutes = sum(run["minutes"] for run in runs)
    lines = [
        f"{sum(total.values()):,} inputs in {minutes / 60:.1f} hours of one process, "
        f"in {len(runs)} runs.\n",
        "| input | accepted | refused | findings |\n|---|---:|---:|---:|",
        *(_make_row(name, counts[name]) for name in sorted(counts)),
        _make_row("**all**", total),
    ]
    return "\n".join(lines) + "\n"


def _make_row(name: str, ends: Counter[str]) -> str:
    return f"| {name} | {' | '.join(f'{ends[end]:,}' for end in ENDS)} |"
