"""The checkpoints that a folder has, and the progress that each stores as JSON; without Orbax."""

import json
from pathlib import Path
from typing import NamedTuple, SupportsInt

from ..errors import UserError
from ..files import read_file
from . import manifest

# Of several checkpoints of the same step, the one in the first of these folders is restored.
FOLDERS = ("last", "best", "every", "first")
PROGRESS = "progress/metadata"


class Progress(NamedTuple):
    """The seconds of a run so far, its best accuracy and best epoch, and copies of its files.

    The accuracy is measured on the validation images, or on the test images for data without any.
    `files` has the contents of files of the run by name (copies.py); checkpoints of older versions
    have none.
    """

    seconds: float = 0.0
    # Below 0, so that the first epoch is the best one so far even with an accuracy of 0.
    best_accuracy: float = -1.0
    best_epoch: int = 0
    files: dict[str, str] = {}


class Saved(NamedTuple):
    """A checkpoint on disk: `workdir/name/step`."""

    step: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}/{self.step}"


class Checkpoint(NamedTuple):
    """A checkpoint that a program reads, found once and passed along.

    `digest` is the SHA-256 of its manifest, which has the hashes of all its files; empty if it has
    no manifest.
    """

    workdir: Path
    name: str
    step: int
    digest: str

    @property
    def folder(self) -> Path:
        """The folder of the checkpoint."""
        return self.workdir / self.name / str(self.step)


def list_steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints in a folder: incomplete ones have no number."""
    return [int(path.name) for path in folder.glob("*") if is_step(path.name)]


def is_step(name: str) -> bool:
    """Return whether a folder of this name is a complete checkpoint."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def list_checkpoints(workdir: Path) -> list[Saved]:
    """Return the checkpoints that have their final name, the newest first."""
    found = [Saved(step, name) for name in FOLDERS for step in list_steps(workdir / name)]
    # The sort is stable, so equal steps stay in the order of FOLDERS.
    return sorted(found, key=lambda saved: -saved.step)


def find_newest_step(workdir: Path, folder: str | None = None) -> int | None:
    """Return the step of the newest checkpoint of one folder, or of all; None if there is none."""
    names = FOLDERS if folder is None else (folder,)
    return max((step for name in names for step in list_steps(workdir / name)), default=None)


def check_step(folder: Path, step: SupportsInt) -> None:
    """Raise UserError if the folder of a checkpoint has the name of another step."""
    if int(step) != int(folder.name):
        raise UserError(
            f"{folder} has the state of step {int(step)}: it was renamed or copied. Give it the "
            "name of its step, or move it away."
        )


def read_copy(workdir: Path, name: str) -> tuple[str, str]:
    """Return the newest intact checkpoint with a copy of a file of the run, and the copy.

    Both are empty if there is none: in runs of older versions, and before the first save.
    """
    for saved in list_checkpoints(workdir):
        folder = workdir / str(saved)
        try:
            if not manifest.find_damage(folder, only=PROGRESS):
                return str(saved), read_progress(folder).files.get(name, "")
        except UserError:  # A run that trains has just deleted this checkpoint.
            continue
    return "", ""


def read_progress(checkpoint: Path) -> Progress:
    """Return the progress that a checkpoint stores; raise UserError if it is damaged."""
    file = checkpoint / PROGRESS
    try:
        found = json.loads(read_file(file) or b"")
        progress = Progress(**{key: found[key] for key in Progress._fields if key in found})
        texts = [*progress.files, *progress.files.values()]
        if not all(isinstance(each, str) for each in texts):
            raise ValueError("its files are not texts")
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}); choose another checkpoint.") from error
    return progress
