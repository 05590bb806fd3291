"""Find and read the files of a command line, as training reads the data of the run."""

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.dataset import Dataset, check_memory
from ..data.events.event_folder import is_recording
from ..data.images.class_folders import describe_others, list_images
from ..data.images.folder import read_image
from ..data.images.picture import describe_changes, is_picture
from ..errors import UserError
from ..terminal import track

# The most missing files that an error lists.
MOST_MISSING = 3


class FileSamples(NamedTuple):
    """Samples `[N, ...]` as the run stores its own, their files, and notes on what was changed."""

    files: list[Path]
    images: np.ndarray
    notes: list[str]


def is_of_events(shape: Sequence[int]) -> bool:
    """Return whether samples of this shape are frames of events, `T H W 2`."""
    return len(shape) == 4


def check_kind(dataset: Dataset) -> None:
    """Raise UserError for a run whose samples cannot be read from images or recordings."""
    shape, advice = dataset.test.shape, "pit_jax.open_run(RUN).predict takes arrays"
    if is_of_events(shape):
        return
    if not dataset.mean:
        raise UserError(
            f"{dataset.name} has floats, which no file of an image has as the network knows them; "
            f"{advice}."
        )
    if shape[-1] not in (1, 3):
        raise UserError(
            f"the images of {dataset.name} have {shape[-1]} channels, and files of images are read "
            f"in gray or color; {advice}."
        )


def find_files(places: Sequence[Path], shape: Sequence[int]) -> tuple[list[Path], list[str]]:
    """Return the given files and those in given folders, and notes on files that are skipped.

    Folders are searched with all their subfolders. A file that is given twice is returned once.
    Raises UserError for a folder without files that can be read.
    """
    events = is_of_events(shape)
    kind, reader = ("recording", "pit_jax") if events else ("image", "Pillow")
    is_wanted = is_recording if events else is_picture
    found: dict[str, Path] = {}
    notes = []
    for place in places:
        files, others = list_images(place, is_wanted) if place.is_dir() else ([place], Counter())
        skipped = describe_others(others, reader) if others else ""
        if not files:
            raise UserError(
                f"{place} has no {kind}{f' ({skipped})' if skipped else ''}. Give files, or a "
                f"folder with {kind}s."
            )
        notes += [f"{place}: {skipped}"] if skipped else []
        for file in files:
            found.setdefault(os.path.abspath(file), file)
    return list(found.values()), notes


def check_there(places: Sequence[Path]) -> None:
    """Raise UserError for missing files, and for anything that is neither a file nor a folder."""
    missing = [place for place in places if not place.is_dir() and not place.is_file()]
    if not missing:
        return
    first = missing[0]
    if first.exists():
        raise UserError(f"{first} is a device or a pipe. Copy what it holds to a file.")
    if first.is_symlink():
        raise UserError(f"{first} is a link to nothing. Remove it, or bring the file back.")
    listed = ", ".join(map(str, missing[:MOST_MISSING]))
    more = f" and {len(missing) - MOST_MISSING} more" if len(missing) > MOST_MISSING else ""
    raise UserError(f"there is no file {listed}{more}.")


def read_samples(files: Sequence[Path], dataset: Dataset) -> FileSamples:
    """Return the samples in `files`; show a progress bar.

    All are read before the first is classified: a damaged file costs no work. Raises UserError
    that names it.
    """
    shape = dataset.test.shape
    read, changes = _choose_reader(dataset), Counter[str]()
    size = math.prod(shape) * (1 if dataset.mean else 4)
    check_memory(len(files) * size, f"{len(files):,} files")
    images = [read(file, changes) for file in track(files, "reading")]
    return FileSamples(list(files), np.stack(images), describe_changes(changes, len(files)))


def _choose_reader(dataset: Dataset) -> Callable[[Path, Counter[str]], np.ndarray]:
    shape, read_file = dataset.test.shape, dataset.read_file
    if not is_of_events(shape):
        return lambda file, changes: read_image(file, shape, changes)
    if read_file is None:
        raise UserError(
            f"{dataset.name} is not read from recordings, so it is not known how to make frames "
            "of one; pit_jax.open_run(RUN).predict takes arrays of frames."
        )
    return lambda file, changes: read_file(file)
