"""Put finished runs into docs/results.md: python -m train.ledger [RUN ...]"""

import argparse
import json
import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.old_names import rename_keys

from .config.arguments import run_program
from .config.own import shorten_name
from .errors import UserError
from .files import write_atomically
from .run.reading import read_records, select_epochs
from .run.summary import format_steps_and_levels
from .run.workdir import MAY_MOVE

DOCS = Path(__file__).parents[1] / "docs"
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
    for workdir in args.workdirs or ():
        found = json.dumps(read_run(workdir), indent=1) + "\n"
        write_atomically(DOCS / "runs" / f"{workdir.name}.json", found)
    write_atomically(page, replace_table(page.read_text(), make_table(DOCS / "runs")))
    return 0


def read_run(workdir: Path) -> dict[str, Any]:
    """Return what docs/runs stores of a run; raise UserError if the run has not finished."""
    try:
        parts = {
            part: json.loads((workdir / f"{part}.json").read_text())
            for part in ("config", "environment", "summary")
        }
    except FileNotFoundError as error:
        raise UserError(
            f"{workdir} is not the folder of a finished run: there is no {error.filename}."
        ) from error
    rename_keys(parts["config"])
    # Paths and worker counts of one machine mean nothing on another.
    parts["summary"].pop("workdir")
    config = flatten_dict(parts["config"], keep_empty_nodes=True, sep=".")
    parts["config"] = unflatten_dict(
        {key: value for key, value in config.items() if key not in MAY_MOVE}, sep="."
    )
    for start in parts["environment"]:
        start["arguments"] = _select_arguments(start["arguments"])
    return parts | {"epochs": select_epochs(read_records(workdir / "metrics.jsonl"))}


def make_table(runs: Path) -> str:
    """Return the runs of a folder as a Markdown table: a row per config, with all its seeds."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(runs.glob("*.json")):
        run = json.loads(file.read_text())
        rename_keys(run["config"])
        rows[json.dumps(run["config"] | {"seed": None}, sort_keys=True)].append(run)
    return HEADER + "".join(sorted(_make_row(seeds) for seeds in rows.values()))


def replace_table(page: str, rows: str) -> str:
    """Return `page` with `rows` between its two markers."""
    before, _, rest = page.partition(START)
    return before + START + rows + END + rest.partition(END)[2]


def _make_row(runs: list[dict[str, Any]]) -> str:
    config, summary = runs[0]["config"], runs[0]["summary"]
    thousands = (summary["parameters"] + summary["scales"]) / 1000
    speeds = [epoch["images_per_second"] for run in runs for epoch in run["epochs"]]
    cells = [
        shorten_name(config["data"]["name"]),
        f"{shorten_name(config['model']['name'])}, {thousands:,.0f} k",
        shorten_name(config["neuron"]["name"]),
        format_steps_and_levels(config),
        str(config["epochs"]),
        " ".join(str(run["config"]["seed"]) for run in runs),
        _format_mean([100 * run["summary"]["last_accuracy"] for run in runs]),
        _format_mean([100 * run["summary"]["best_accuracy"] for run in runs]),
        f"{statistics.mean(run['summary']['seconds'] for run in runs):,.0f}",
        f"{statistics.median(speeds):,.0f}",
        " ".join(sorted({start["commit"] for run in runs for start in run["environment"]})),
        f"`{runs[0]['environment'][0]['arguments']}`",
    ]
    return f"| {' | '.join(cells)} |\n"


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
    sys.exit(main(sys.argv))
