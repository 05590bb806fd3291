"""Open the folder of a run as a `pit_jax.run.Run`. `pit_jax.run.open_run` imports this module."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pit_jax.run import Run

from .. import data
from ..data import Dataset, Split
from ..data.dataset import DataNotFound, check_memory
from ..errors import UserError
from . import restore
from .network import load_network
from .reading import load_run_config, parse_starts, read_config, read_starts, read_summary
from .saved import Checkpoint, read_progress
from .subset import check_data, read_layout
from .summary import format_title


class OpenedRun(NamedTuple):
    """A run, and its data set. `layout` has no samples, unless an older version trained the run.

    `load()` returns the whole data set, loaded at the first call.
    """

    run: Run
    layout: Dataset
    load: Callable[[], Dataset]


def open_run(workdir: Path, checkpoint: str, data_dir: Path | None = None) -> Run:
    """Return a run at its newest `last` or `best` checkpoint, with its data in `data_dir` if given.

    Raises UserError if there is no run or no such checkpoint, and if files are damaged or missing.
    """
    return open_folder(workdir, checkpoint, data_dir).run


def open_folder(workdir: Path, checkpoint: str, data_dir: Path | None = None) -> OpenedRun:
    """Return a run as `open_run` does, with its data set."""
    config = load_run_config(workdir, data_dir)
    # Loading the data may take minutes: a missing checkpoint is reported first.
    restore.find_checkpoint(workdir, checkpoint)

    @cache
    def load() -> Dataset:
        loaded = data.load(**config.data)
        check_data(workdir, loaded)
        return loaded

    def take(split: str, count: int | None) -> tuple[np.ndarray, np.ndarray]:
        try:
            dataset = load()
        except DataNotFound as error:
            raise UserError(
                f"{error}\nIf they have moved, open the run with data_dir=PLACE."
            ) from error
        return take_samples(select_split(dataset, split), count)

    layout = read_layout(workdir) or load()
    # Searched again, because a run that still trains may have deleted the first one.
    saved = restore.identify_checkpoint(workdir, checkpoint)
    model, variables = load_network(config, saved, layout)
    run = Run(
        model=model,
        variables=jax.tree.map(jnp.asarray, variables),
        config=read_config(workdir),
        classes=layout.classes or tuple(map(str, range(layout.num_classes))),
        shape=layout.test.shape,
        mean=layout.mean,
        std=layout.std,
        load=take,
        about=_describe(config, saved),
    )
    return OpenedRun(run, layout, load)


def select_split(dataset: Dataset, split: str) -> Split:
    """Return a split of a data set; raise UserError if there is none of this name."""
    if split not in ("train", "test", "validation"):
        raise UserError(f"split must be train, test or validation, got {split!r}.")
    found: Split | None = getattr(dataset, split)
    if found is None:
        raise UserError(
            "this run has no validation images: its config.data.validation is not set; use the "
            "split test or train."
        )
    return found


def take_samples(split: Split, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of a split, or `count` of them, evenly spaced.

    Raises UserError for more than fits into memory.
    """
    if count is None and split.arrays is not None:
        return split.arrays["image"], split.arrays["label"]
    number = len(split) if count is None else min(count, len(split))
    check_memory(number * math.prod(split.shape) * split.dtype.itemsize, f"{number:,} images")
    batch = split.take(np.linspace(0, len(split) - 1, number).round().astype(int))
    return batch["image"], batch["label"]


def _describe(config: ConfigDict, saved: Checkpoint) -> dict[str, Any]:
    """Return the origin of a network, such as its checkpoint, seed and environment."""
    # A run may have resumed since, with other code: the checkpoint has a copy of its own starts.
    copy = read_progress(saved.folder).files.get("environment.json")
    starts = parse_starts(copy.encode()) if copy else read_starts(saved.workdir)
    summary = read_summary(saved.workdir)
    accuracy = summary.get(f"{saved.name}_accuracy")
    return {
        "title": format_title(config),
        "folder": str(saved.workdir),
        "checkpoint": saved.name,
        "step": saved.step,
        "checkpoint_sha256": saved.digest,
        "seed": config.seed,
        "environment": starts[-1] if starts else {},
        **({} if accuracy is None else {"test_accuracy": accuracy}),
    }
