"""Put finished runs into docs/results.md: python -m train.ledger [RUN ...]"""

import argparse
import json
import re
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.display import show_name
from pit_jax.old_names import rename_keys
from pit_jax.signals import run_as_program

from .config.arguments import run_program
from .config.limits import count_epochs
from .config.own import shorten_name
from .errors import UserError
from .files import write_atomically
from .run.reading import (
    read_config,
    read_json,
    read_run_records,
    read_starts,
    read_summary,
    select_epochs,
)
from .run.summary import format_steps_and_levels
from .run.workdir import MAY_MOVE

DOCS = Path(__file__).parents[1] / "docs"
PARTS = {"config", "environment", "summary", "epochs"}
START, END = "<!-- the table of train.ledger -->\n", "<!-- its end -->"
HEADER = (
    "| data | network | neuron | steps, levels | epochs | seeds | last epoch, % | best epoch, % "
    "| s a run | images/s | commit | command |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("ledger", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Write the runs and the table, and return 0."""
    page = DOCS / "results.md"
    if not page.is_file():
        raise UserError(
            f"train.ledger needs a clone of pit_jax, and there is no {page}. Run it in a clone."
        )
    # All are read first: a mistake in the last one leaves everything as it was.
    found: dict[Path, dict[str, Any]] = {}
    for workdir in args.workdirs or ():
        # Resolved, because a folder such as "." has no name.
        file, run = DOCS / "runs" / f"{workdir.resolve().name}.json", read_run(workdir)
        _check_same_run(workdir, file, found.get(file) or read_recorded(file), run)
        found[file] = run
    text = page.read_text()
    if END not in text.partition(START)[2]:
        raise UserError(f"{page} lacks the lines around its table, {START.strip()} and {END}.")
    make_table(DOCS / "runs")  # A damaged file there is an error before anything is written.
    for file, run in found.items():
        write_atomically(file, json.dumps(run, indent=1) + "\n")
    write_atomically(page, replace_table(text, make_table(DOCS / "runs")))
    return 0


def read_recorded(file: Path) -> dict[str, Any] | None:
    """Return the run in a file of docs/runs, None if it is missing."""
    recorded: dict[str, Any] | None = read_json(file, dict)
    if recorded is None:
        return None
    if not (PARTS <= recorded.keys() and isinstance(recorded["config"], dict)):
        raise UserError(f"{file} is not a run that train.ledger recorded; move it away.")
    rename_keys(recorded["config"])
    return recorded


def _check_same_run(
    workdir: Path, file: Path, recorded: dict[str, Any] | None, found: dict[str, Any]
) -> None:
    """Raise UserError if `file` has another run, whose folder has the same name."""
    # No two runs have the same images a second. As JSON, which has lists instead of tuples.
    was, now = ([run["config"], run["epochs"]] for run in (recorded or found, found))
    if json.loads(json.dumps(was)) != json.loads(json.dumps(now)):
        raise UserError(
            f"{file} has another run, whose folder was called {workdir.resolve().name} too. Rename "
            f"{workdir}, or delete that file."
        )


def read_run(workdir: Path) -> dict[str, Any]:
    """Return what docs/runs stores of a run; raise UserError if the run has not finished."""
    parts: dict[str, Any] = {
        "config": read_config(workdir),
        "environment": read_starts(workdir),
        "summary": read_summary(workdir),
    }
    if not (parts["environment"] and parts["summary"]):
        raise UserError(
            f"{workdir} is not the folder of a finished run: there is no environment.json or no "
            "summary.json. Finish it, or give another folder."
        )
    # Paths and worker counts of one machine mean nothing on another.
    parts["summary"].pop("workdir", None)
    config = flatten_dict(parts["config"], keep_empty_nodes=True, sep=".")
    parts["config"] = unflatten_dict(
        {key: value for key, value in config.items() if key not in MAY_MOVE}, sep="."
    )
    for start in parts["environment"]:
        start["arguments"] = _select_arguments(start.get("arguments", ""))
    return parts | {"epochs": select_epochs(read_run_records(workdir))}


def make_table(runs: Path) -> str:
    """Return the runs of a folder as a Markdown table: a row per config, with all its seeds."""
    rows: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for file in sorted(runs.glob("*.json")):
        if run := read_recorded(file):
            rows[json.dumps(run["config"] | {"seed": None}, sort_keys=True)][file.name] = run
    return HEADER + "".join(sorted(map(_make_row, rows.values())))


def replace_table(page: str, rows: str) -> str:
    """Return `page` with `rows` between its two markers."""
    before, _, rest = page.partition(START)
    return before + START + rows + END + rest.partition(END)[2]


def _make_row(files: dict[str, dict[str, Any]]) -> str:
    """Return the row of runs of one config; each seed is a link to its file in docs/runs."""
    runs = list(files.values())
    config, summary = runs[0]["config"], runs[0]["summary"]
    thousands = (summary["parameters"] + summary["scales"]) / 1000
    speeds = [epoch["images_per_second"] for run in runs for epoch in run["epochs"]]
    cells = [
        shorten_name(config["data"]["name"]),
        f"{shorten_name(config['model']['name'])}, {thousands:,.0f} k",
        shorten_name(config["neuron"]["name"]),
        format_steps_and_levels(config),
        str(count_epochs(config)),
        " ".join(f"[{run['config']['seed']}](runs/{quote(name)})" for name, run in files.items()),
        _format_mean([100 * run["summary"]["last_accuracy"] for run in runs]),
        _format_mean([100 * run["summary"]["best_accuracy"] for run in runs]),
        f"{statistics.mean(run['summary']['seconds'] for run in runs):,.0f}",
        f"{statistics.median(speeds):,.0f}",
        " ".join(sorted({start["commit"] for run in runs for start in run["environment"]})),
        _format_code(runs[0]["environment"][0]["arguments"]),
    ]
    return f"| {' | '.join(map(_escape_cell, cells))} |\n"


def _escape_cell(text: str) -> str:
    """Return a text for a cell of a Markdown table, which `|` and newlines would end."""
    return show_name(text).replace("|", r"\|")


def _format_code(text: str) -> str:
    """Return `text` between more backticks than it has in a row."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    return f"`{text}`" if not longest else f"{'`' * (longest + 1)} {text} {'`' * (longest + 1)}"


def _format_mean(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _select_arguments(arguments: str) -> str:
    """Return the arguments of a run without its seed and the keys that may change."""
    dropped = ("--workdir=", *(f"--config.{key}=" for key in ("seed", *MAY_MOVE)))
    words = iter(shlex.split(arguments))
    found: list[str] = []
    for word in words:
        if word == "--workdir":
            next(words)
        elif word.startswith("-") and not word.startswith(dropped):
            found.append(word)
            if "=" not in word:  # Its value is the next word.
                found += islice(words, 1)
    return shlex.join(found)


if __name__ == "__main__":
    run_as_program(main, sys.argv)
