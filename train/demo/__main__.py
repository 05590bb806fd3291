"""Write a page that runs a network in the browser: python -m train.demo RUN --out page.html"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pit_jax.display import print_text, show_name
from pit_jax.signals import run_as_program

from ..config.arguments import run_program
from ..config.cli import SHIPPED_NETWORK
from ..errors import UserError
from ..files import explain_unwritable, write_atomically
from ..html import is_page
from ..run.compile_cache import use_compile_cache
from .page import PROGRAM, make_page
from .source import open_demo


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("demo", run, argv[1:])


@use_compile_cache()
def run(args: argparse.Namespace) -> int:
    """Write the page and return 0."""
    # Loading and compiling may take minutes: a place that cannot be written is reported first.
    check_free(args.out, args.overwrite)
    _check_folder(args.out)
    if args.network == SHIPPED_NETWORK and Path(args.network).is_dir():
        note = "is the network that pit_jax ships; give ./{0} for the folder of this name"
        print_text(f"note: {args.network} {note.format(args.network)}.", sys.stderr)
    options = {"weights": args.weights, "code": args.code}
    demo = open_demo(args.network, args.checkpoint, args.data_dir, options)
    text = make_page(demo)
    with explain_unwritable(args.out):
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out, text, shared=True)
    size = len(text.encode()) / 1e3
    print_text(f"{show_name(demo.title)}: {show_name(args.out)}, {size:,.0f} kB")
    return 0


def check_free(out: Path, overwrite: bool) -> None:
    """Raise UserError for a wrong suffix, and for a file that this program may not replace."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out must end in .html, got {out}.")
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise UserError(f"{out} exists; choose another --out or give --overwrite.")
    if not out.is_file() or not is_page(out, PROGRAM):
        raise UserError(
            f"{out} was not written by this program and is not replaced; choose another --out."
        )


def _check_folder(out: Path) -> None:
    """Raise UserError if the folder of `out` cannot be written; a missing one is not made yet."""
    folder = next(each for each in out.absolute().parents if os.path.lexists(each))
    with explain_unwritable(out):
        if not folder.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission")


if __name__ == "__main__":
    run_as_program(main, sys.argv)
