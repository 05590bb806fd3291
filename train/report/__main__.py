"""Makes one page of HTML of some runs: python -m train.report WORKDIR [WORKDIR ...]

usage: python -m train.report WORKDIR [WORKDIR ...] [--out FILE.html]

  WORKDIR    the folders of runs of train.main, finished or not; nothing in them is changed
  --out      default: report.html here; only a page of this program is ever replaced
  --help     this page

The page needs nothing beside itself and no network. It shows curves, firing rates, the scales of
PIT, the health of all layers, speed, config and environment of every run, and compares them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from ..config.cli import Parser
from ..errors import UserError
from ..files import write_atomically
from ..run.reading import distinct_names
from . import page
from .sections import PROGRAM, make_page, read_run


def main(argv: Sequence[str]) -> int:
    """Exit code 0, or 2 for a mistake to be mended."""
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    try:
        args = _parse(argv[1:])
        _check_out(args.out)
        jax.config.update("jax_platforms", "cpu")  # A run may need all of the accelerator.
        runs = [
            read_run(workdir, name)
            for workdir, name in zip(args.workdirs, distinct_names(args.workdirs), strict=True)
        ]
        _write(args.out, make_page(runs))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(runs)} run{'s' if len(runs) > 1 else ''}")
    return 0


def _check_out(out: Path) -> None:
    if out.exists() and not (out.is_file() and page.is_page(out, PROGRAM)):
        raise UserError(f"{out} is no page of this program and is kept; choose another --out.")


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another --out.") from error


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser()
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR")
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
