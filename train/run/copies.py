"""Copies of the small files of a run, stored in each of its checkpoints.

A run resumes from a checkpoint, but its results also depend on files next to it. The copies show
which of these is missing, damaged, older than the checkpoint or of another run, and replace it.
"""

import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pit_jax.display import print_text

from ..errors import UserError
from ..files import read_file, write_atomically
from . import manifest
from .reading import parse_records, parse_starts, read_records, select_epochs
from .saved import Progress

METRICS, STARTS, HEALTH = "metrics.jsonl", "environment.json", "health.npz"
CONSTANT = (STARTS, "config.json", "subset.json", "data.json")
# These are compared when the folder is claimed (workdir.py, subset.py).
CLAIMED = ("config.json", "subset.json", "data.json")
# For each file that grows, the function that returns its entries.
GROWING: dict[str, Callable[[bytes], list[Any]]] = {METRICS: parse_records, STARTS: parse_starts}


def read_files(workdir: Path) -> dict[str, str]:
    """Return the contents of those of the files that do not change before the next start."""
    found = {name: read_file(workdir / name) for name in CONSTANT}
    return {name: content.decode() for name, content in found.items() if content is not None}


def encode_health(content: bytes) -> dict[str, str]:
    """Return the copy of health.npz."""
    return {HEALTH: b64encode(content).decode()}


def restore_files(workdir: Path, step: int, steps_per_epoch: int, progress: Progress) -> None:
    """Replace the files of a run that differ from the copies in the checkpoint of `step`.

    Lines of metrics.jsonl, and entries of environment.json, may have been added since then. A line
    is printed for each file that is restored, and if the checkpoint of the best epoch is damaged.
    Raises UserError if the checkpoint has no copies, because an older version saved it, and
    metrics.jsonl lacks an epoch.
    """
    if not progress.files:
        _check_epochs(workdir / METRICS, step // steps_per_epoch)
    for name, copy in progress.files.items():
        if name in CLAIMED:
            continue
        content = b64decode(copy) if name == HEALTH else copy.encode()
        if why := _find_difference(workdir / name, content, step):
            where = f"restored from the checkpoint of step {step}"
            print_text(f"{workdir / name} {why}: it is {where}.", sys.stderr)
            write_atomically(workdir / name, content)
    best = workdir / "best" / str(progress.best_epoch * steps_per_epoch)
    if progress.best_epoch and (what := manifest.find_damage(best)):
        print_text(
            f"note: the checkpoint of the best epoch so far, {best}, is damaged: {what}. Replace "
            "it by an intact copy if you need it.",
            sys.stderr,
        )


def _check_epochs(file: Path, ended: int) -> None:
    epochs = [record["epoch"] for record in select_epochs(read_records(file))]
    if missing := set(range(1, ended + 1)).difference(epochs):
        raise UserError(
            f"{file} lacks the lines of {len(missing)} epochs, the first of which is "
            f"{min(missing)}: restore it, or choose another --workdir."
        )


def _find_difference(file: Path, copy: bytes, step: int) -> str | None:
    try:
        content = read_file(file)
        if content is None:
            return "is missing"
        if content == copy:
            return None
        if (parse := GROWING.get(file.name)) is None:
            return "is damaged or was saved at another step"
        known, found = parse(copy), parse(content)
        if file.name == METRICS:  # Later lines are dropped: these steps are trained again.
            found = [record for record in found if record["step"] <= step]
            return None if found == known else "differs from the lines in the checkpoint"
        return None if found[: len(known)] == known else "is older than the checkpoint"
    except (RecursionError, UserError, ValueError):
        return "is damaged"
