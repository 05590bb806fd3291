"""Make an HTML page of one or more runs: python -m train.report RUN [RUN ...]"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from pit_jax.display import print_text, show_name
from pit_jax.signals import run_as_program

from ..config.arguments import run_program
from ..errors import UserError
from ..files import explain_unwritable, write_atomically
from ..html import is_page
from ..run.reading import make_distinct_names
from .sections import PROGRAM, make_page, read_run


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("report", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Write the page and return 0."""
    _check_out(args.out)
    # On a CPU, because a run that is training may need the whole accelerator.
    jax.config.update("jax_platforms", "cpu")
    runs = [
        read_run(workdir, name)
        for workdir, name in zip(args.workdirs, make_distinct_names(args.workdirs), strict=True)
    ]
    _write(args.out, make_page(runs))
    print_text(f"{show_name(args.out)}: {len(runs)} run{'s' if len(runs) > 1 else ''}")
    return 0


def _check_out(out: Path) -> None:
    if out.exists() and not (out.is_file() and is_page(out, PROGRAM)):
        raise UserError(f"{out} exists and is not a page of train.report; choose another --out.")


def _write(out: Path, text: str) -> None:
    with explain_unwritable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)


if __name__ == "__main__":
    run_as_program(main, sys.argv)
