"""Train several seeds at once: python -m train.seeds --config digits --seeds 0,1,2,3"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.table import Table

from pit_jax.display import show_name
from pit_jax.signals import is_stopping, run_as_program

from ..config.arguments import run_program
from ..errors import UserError
from ..files import write_atomically
from ..main import silence_storage_threads
from ..run.reading import read_json
from ..run.summary import Summary
from ..terminal import Terminal

FILE = "seeds.json"


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("seeds", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Return 0 after runs that finished, or were stopped and saved."""
    if "seed" in args.overrides:
        raise UserError("give the seeds with --seeds, not with --config.seed.")
    check_seeds(args.workdir / FILE, args.seeds)
    silence_storage_threads()
    # One virtual device for each seed; JAX reads this when the first device is asked for.
    jax.config.update("jax_num_cpu_devices", len(args.seeds))
    from .loop import train_seeds

    summaries = train_seeds(args.config, args.seeds, args.workdir, is_stopping)
    if summaries is None:
        print("stopped and saved; repeat the command to resume.")
        return 0
    found = summarize_seeds(args.seeds, summaries)
    write_atomically(args.workdir / FILE, json.dumps(found, indent=2))
    _print(found, args.workdir)
    return 0


def check_seeds(file: Path, seeds: Sequence[int]) -> None:
    """Raise UserError if `file` has the results of other seeds, which these would replace."""
    there = (read_json(file, dict) or {}).get("seeds")
    if isinstance(there, list) and set(map(str, there)) != set(map(str, seeds)):
        raise UserError(
            f"{file} has the results of other seeds, {', '.join(map(str, there))}. Choose another "
            "--workdir, or move that file away."
        )


def summarize_seeds(seeds: Sequence[int], summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return the accuracies of the seeds with mean and standard deviation (None for one seed)."""
    found: dict[str, Any] = {"title": summaries[0].title, "seeds": list(seeds)}
    for key in ("last_accuracy", "best_accuracy"):
        values = [getattr(summary, key) for summary in summaries]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        found[key] = {
            "of_seeds": values,
            "mean": statistics.fmean(values),
            "standard_deviation": deviation,
        }
    return found | {"seconds": max(summary.seconds for summary in summaries)}


def _print(found: dict[str, Any], workdir: Path) -> None:
    table = Table("seed", title=found["title"], title_justify="left")
    table.add_column("test accuracy, last epoch", justify="right")
    table.add_column("best epoch", justify="right")
    last, best = found["last_accuracy"], found["best_accuracy"]
    for seed, *values in zip(found["seeds"], last["of_seeds"], best["of_seeds"], strict=True):
        table.add_row(str(seed), *(f"{value:.2%}" for value in values))
    if last["standard_deviation"] is not None:
        spread = (
            f"{100 * e['mean']:.2f} ± {100 * e['standard_deviation']:.2f} %" for e in (last, best)
        )
        table.add_row("mean ± sd", *spread)
    console = Terminal()
    console.print(table)
    console.print(f"{found['seconds']:,.0f} s, written to {show_name(workdir)}", soft_wrap=True)


if __name__ == "__main__":
    run_as_program(main, sys.argv)
