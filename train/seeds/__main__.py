"""Trains several seeds at once: python -m train.seeds --config configs/digits.py --seeds 0,1,2,3

Each seed becomes an ordinary run in WORKDIR/seed_SEED, with the bits that it has alone. The same
command again goes on where it stopped. For networks that leave cores idle: docs/guide/training.md.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from ..config import cli
from ..errors import UserError
from ..files import write_atomically
from ..main import silence_storage_threads, stop_on_signal
from ..run.summary import Summary

UNDER = "runs/seeds"
FILE = "seeds.json"
USAGE = """  --seeds 0,1,2,3           each on a device of its own; on a CPU these are virtual
"""


def main(argv: list[str]) -> int:
    """Exit code 0 after finished or stopped and saved runs, 2 for a mistake to be mended."""
    if {"--help", "-h"} & set(argv):
        print(__doc__ + cli.usage("seeds", under=UNDER) + USAGE)
        return 0
    try:
        seeds, rest = take(argv)
        config, workdir = cli.parse(rest, under=UNDER)
        # Before anything asks for a device.
        jax.config.update("jax_num_cpu_devices", len(seeds))
        from .loop import train_seeds

        summaries = train_seeds(config, seeds, workdir, stop_on_signal())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if summaries is None:
        print("stopped and saved; the same command goes on from here.")
        return 0
    found = outcome(seeds, summaries)
    write_atomically(workdir / FILE, json.dumps(found, indent=2))
    _print(found, workdir)
    return 0


def take(argv: Sequence[str]) -> tuple[list[int], list[str]]:
    """The seeds, and the arguments that are left; raises UserError for what are no seeds."""
    parser = cli.Parser()
    parser.add_argument("--seeds", required=True)
    found, rest = parser.parse_known_args(list(argv))
    texts = found.seeds.split(",")
    if not all(text.isdigit() for text in texts) or len(set(map(int, texts))) < len(texts):
        raise UserError(f"--seeds are different whole numbers, as in 0,1,2,3; got {found.seeds!r}.")
    if any(arg.lstrip("-").partition("=")[0] == "config.seed" for arg in rest):
        raise UserError("give the seeds by --seeds, not by --config.seed.")
    return [int(text) for text in texts], rest


def outcome(seeds: Sequence[int], summaries: Sequence[Summary]) -> dict[str, Any]:
    """What the seeds reached, with mean and standard deviation; None of a single one."""
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
    console = Console()
    console.print(table)
    console.print(f"{found['seconds']:,.0f} s, written to {workdir}", highlight=False)


if __name__ == "__main__":
    silence_storage_threads()
    sys.exit(main(sys.argv))
