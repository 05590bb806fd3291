"""Write the pages of the reference that repeat the code: commands, config keys, shipped configs.

python -m docs._build.reference
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from docs._build import config_reference
from pit_jax.__main__ import main
from pit_jax.programs import COMMANDS

FOLDER = Path(__file__).parents[1] / "reference"
# As on a terminal of the usual width, and where output is not a terminal.
COLUMNS = "80"
# The guide to each command, and the heading of its link.
GUIDES = {
    "train": ("training", "Train a network"),
    "evaluate": ("evaluation", "Evaluation and reports"),
    "predict": ("predict", "Classify your own images"),
    "export": ("export", "Export and deploy"),
    "analyze": ("analyses", "Analyses of a run"),
    "report": ("evaluation", "Evaluation and reports"),
    "check": ("data", "Data"),
    "prepare": ("data", "Data"),
    "import": ("interop", "Weights from PyTorch"),
    "seeds": ("training", "Train a network"),
    "reproduce": ("reproduce", "Reproduce the paper"),
    "check-install": ("install", "Install"),
    "demo": ("demo", "The live page"),
}
COMMANDS_HEAD = """\
# Commands

`pit-jax PROGRAM` runs a program; `python -m pit_jax PROGRAM` is the same, with its own name in the
help. In a clone, programs of the trainer are modules too: `python -m train.main`,
`python -m train.evaluate`. Every program prints its page with `--help`, and
`pit-jax train --config digits --help` also prints [all keys](config_keys.md) of the config
`digits`.

This page is written by `python -m docs._build.reference` from the programs; a test compares both.

"""


def format_commands() -> str:
    """Return the page with the help of every program."""
    page = COMMANDS_HEAD + _format_help("pit-jax", "--help")
    for name, command in COMMANDS.items():
        page += f"\n## pit-jax {name}\n\n{command.summary[0].upper()}{command.summary[1:]}."
        if name in GUIDES:
            guide, title = GUIDES[name]
            page += f" Guide: [{title}](../guide/{guide}.md)."
        page += "\n\n" + _format_help(f"pit-jax {name}", name, "--help")
    return page


def read_help(*words: str) -> str:
    """Return what `pit-jax` prints with the arguments `words`, as on a terminal of `COLUMNS`."""
    printed = io.StringIO()
    with _use_terminal(), contextlib.redirect_stdout(printed):
        main(words)
    return printed.getvalue()


def _format_help(title: str, *words: str) -> str:
    return f"```text\n$ {title} --help\n{read_help(*words).rstrip()}\n```\n"


@contextlib.contextmanager
def _use_terminal() -> Iterator[None]:
    arguments, columns = sys.argv, os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS
    try:
        yield
    finally:
        # `main` sets sys.argv to the arguments of its program.
        sys.argv = arguments
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": format_commands,
    "config_keys.md": config_reference.format_keys,
    "config_pages.md": config_reference.format_pages,
}


if __name__ == "__main__":
    for name, format_page in PAGES.items():
        (FOLDER / name).write_text(format_page())
