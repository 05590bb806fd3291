"""Open the folder of a run. The trainer reads it, and is imported only then."""

import os
from pathlib import Path
from typing import Any

from pit_jax.paths import read_path
from pit_jax.run.run import Run

CHECKPOINTS = ("best", "last")


def open_run(
    folder: str | os.PathLike[str],
    checkpoint: str = "best",
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> Run:
    """Open a run of `pit-jax train`, finished or not; nothing in its folder is changed.

    The data are loaded at the first call of `Run.images`; a run of an older version needs them
    at once. Raises ValueError if there is no run or no checkpoint, and if files are damaged, and
    ImportError without the packages of the trainer.

    Args:
        folder: the folder of the run, such as `runs/digits`.
        checkpoint: `best`, the epoch with the best accuracy, or `last`.
        data_dir: the folder of the data, if it has changed since the training.
    """
    if checkpoint not in CHECKPOINTS:
        raise ValueError(f"checkpoint must be {' or '.join(CHECKPOINTS)}, got {checkpoint!r}.")
    from pit_jax.programs import load_trainer

    try:
        trainer = load_trainer("run.opened")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"open_run needs {error.name}, which is not installed: pip install 'pit-jax[train]'.",
            name=error.name,
        ) from error
    data = None if data_dir is None else _read_folder("data_dir", data_dir)
    run: Run = trainer.open_run(_read_folder("folder", folder), checkpoint, data)
    return run


def _read_folder(name: str, folder: Any) -> Path:
    """Return the path of an argument; raise ValueError with its name if it is not a path."""
    try:
        return read_path(folder)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error
