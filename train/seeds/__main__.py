"""Train several seeds: python -m train.seeds --config digits --seeds 0,1,2,3"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pit_jax.display import show_name
from pit_jax.signals import is_stopping, run_as_program

from ..config.arguments import run_program
from ..errors import UserError
from ..files import write_atomically
from ..main import silence_storage_threads
from ..program.sharding import use_cpu_devices
from ..records.progress import SPIKES
from ..run.reading import read_config
from ..run.summary import Summary
from ..terminal import Terminal
from .folder import check_folder, list_seeds, name_folder, read_finished

FILE = "seeds.json"
# The numbers of each seed in that file.
MEASURES = ("last_accuracy", "best_accuracy", "spikes")


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("seeds", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Train the seeds, and print the results of all finished seeds in the folder; return 0.

    Raises UserError for a mistake of the user, and SeedsFailed after the results if a seed failed.
    """
    config, workdir = args.config, args.workdir
    if "seed" in args.overrides:
        raise UserError("give the seeds with --seeds, not with --config.seed.")
    check_folder(config, workdir)
    silence_storage_threads()
    use_cpu_devices(config.cpu_devices, config.batch_size)
    from .loop import SeedsFailed, train_seeds

    failed: SeedsFailed | None = None
    try:
        if train_seeds(config, args.seeds, workdir, is_stopping) is None:
            print("stopped and saved; repeat the command to resume.")
            return 0
    except SeedsFailed as error:
        failed = error
    trained = [seed for seed in args.seeds if failed is None or seed not in failed.errors]
    if trained:
        found = summarize_seeds(read_summaries(workdir, like=trained[0]))
        write_atomically(workdir / FILE, json.dumps(found, indent=2))
        _print(found, workdir)
    if failed is not None:
        raise failed
    return 0


def read_summaries(workdir: Path, like: int) -> dict[int, Summary]:
    """Return the summaries of the finished seeds that have the config of the seed `like`."""
    config = read_config(name_folder(workdir, like))
    read = {
        seed: read_finished(config | {"seed": seed}, name_folder(workdir, seed), draw=False)
        for seed in list_seeds(workdir)
    }
    return {seed: summary for seed, summary in read.items() if summary is not None}


def summarize_seeds(by_seed: Mapping[int, Summary]) -> dict[str, Any]:
    """Return the results of the seeds with mean and standard deviation (None for one seed)."""
    summaries = list(by_seed.values())
    found: dict[str, Any] = {"title": summaries[0].title, "seeds": list(by_seed)}
    for key in MEASURES:
        values = [getattr(summary, key) for summary in summaries]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        found[key] = {
            "of_seeds": values,
            "mean": statistics.fmean(values),
            "standard_deviation": deviation,
        }
    return found | {"seconds": sum(summary.seconds for summary in summaries)}


def _print(found: dict[str, Any], workdir: Path) -> None:
    table = Table("seed", title=found["title"], title_justify="left")
    for name in ("test accuracy, last epoch", "best epoch", SPIKES):
        table.add_column(name, justify="right")
    measures = [found[key] for key in MEASURES]
    for seed, *values in zip(found["seeds"], *(e["of_seeds"] for e in measures), strict=True):
        *accuracies, spikes = values
        table.add_row(str(seed), *(f"{value:.2%}" for value in accuracies), f"{spikes:.3f}")
    if len(found["seeds"]) > 1:
        spread = [(measure["mean"], measure["standard_deviation"]) for measure in measures]
        percents = (f"{100 * mean:.2f} ± {100 * sd:.2f} %" for mean, sd in spread[:-1])
        table.add_row("mean ± sd", *percents, "{:.3f} ± {:.3f}".format(*spread[-1]))
    console = Terminal()
    console.print(table)
    console.print(f"{found['seconds']:,.0f} s, written to {show_name(workdir)}", soft_wrap=True)


if __name__ == "__main__":
    run_as_program(main, sys.argv)
