"""Check a data set before a long run: python -m train.check --config FILE"""

import argparse
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from pit_jax.display import print_text
from pit_jax.paths import read_path
from pit_jax.signals import run_as_program

from .. import data
from ..config.arguments import run_program
from ..data import Dataset
from ..data.feeding.order import describe_skipped
from ..errors import UserError
from ..files import explain_unwritable, read_file, write_atomically
from ..program.sharding import use_cpu_devices
from ..run.compile_cache import use_compile_cache
from ..session import check_parts
from ..terminal import Terminal
from . import archives, samples, throughput

SHEET, SOFTWARE = "sheet.png", "pit_jax train.check"


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("check", run, argv[1:])


@use_compile_cache()
def run(args: argparse.Namespace) -> int:
    """Return 0 for data that are ready, and 2 if something has to be fixed."""
    use_cpu_devices(args.config.cpu_devices, args.config.batch_size)
    problems = check(args.config, args.out, Terminal())
    for problem in problems:
        print_text(f"to do: {problem}")
    if not problems:
        print("ready")
    return 2 if problems else 0


def check(config: ConfigDict, out: Path, console: Terminal) -> list[str]:
    """Print a report; return the problems that have to be fixed before training."""
    check_parts(config)
    file = out / SHEET
    _check_free(file)
    problems = archives.check_archives(
        config.data.name, read_path(config.data.get("data_dir", "data")), console
    )
    began = time.monotonic()
    try:
        dataset = data.load(**config.data)
    except UserError as error:
        # A damaged archive is the likely cause, so it is named first.
        raise UserError("\n".join([*problems, str(error)])) from error
    console.print(
        f"{config.data.name} loaded in {time.monotonic() - began:.1f} s: "
        f"{dataset.train.dtype} {dataset.train.shape}",
        highlight=False,
    )
    own = ":" in config.data.name
    console.print(samples.make_table(dataset, own=own))
    problems += samples.check_counts(dataset, own=own)
    skipped = describe_skipped(
        len(dataset.train),
        config.batch_size,
        config.augment.get("repeats", 1),
        jax.device_count() * config.accumulate,
    )

    def print_note(note: str) -> None:
        console.print(f"note: {note}", soft_wrap=True)

    for note in [*filter(None, [skipped]), *check_samples(dataset, console)]:
        print_note(note)
    sheet = io.BytesIO()
    about = {"Software": SOFTWARE}
    throughput.draw_sheet(config, dataset).savefig(sheet, format="png", dpi=150, metadata=about)
    with explain_unwritable(file):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(file, sheet.getvalue())
    console.print(f"contact sheet: {file}", soft_wrap=True)
    console.print(throughput.measure_speed(config, dataset, print_note), soft_wrap=True)
    return problems


def _check_free(file: Path) -> None:
    """Raise UserError for a file in place of the contact sheet that this program has not made."""
    # The text is one of the first chunks of a PNG file.
    if os.path.lexists(file) and SOFTWARE.encode() not in (read_file(file) or b"")[:1000]:
        raise UserError(f"{file} is not a contact sheet of train.check; choose another --out.")


def check_samples(dataset: Dataset, console: Terminal) -> list[str]:
    """Return notes on the samples; raise UserError for a damaged file of samples on disk."""
    notes = samples.find_imbalance(dataset)
    train, test = dataset.train.arrays, dataset.test.arrays
    if train is None or test is None:
        dataset.train.verify()
        dataset.test.verify()
        console.print("every file: sha256 matches")
        return [*notes, "blank and duplicate samples are not checked for data on disk."]
    return [*notes, *samples.find_blank(train, test), *samples.find_duplicates(train, test)]


if __name__ == "__main__":
    run_as_program(main, sys.argv)
