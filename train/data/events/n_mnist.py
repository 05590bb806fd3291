"""N-MNIST: MNIST filmed by a camera on a pan-tilt unit, 34x34 pixels, in 300 ms."""

import io
import os
from pathlib import Path

import numpy as np

from pit_jax.events import read_atis, read_npz

from ...errors import UserError
from ..dataset import DataNotFound, Dataset
from ..storage.cache import choose_cache_folder
from ..storage.members import get_path, list_files, show_place
from ..storage.names import list_places, simplify
from .recordings import Frames, Recording, check_once, load_frames, warn_of_missing

SENSOR = (34, 34)
PUBLISHED = {"Train": 60_000, "Test": 10_000}
DIGITS = {str(digit) for digit in range(10)}
MD5 = {
    "Train.zip": "20959b8e626244a1b502305a9e6e2031",
    "Test.zip": "69ca8762b2fe404d9b9bad1103e97832",
}
HOMES = ("NMNIST", "n_mnist", "N-MNIST")  # Common names of its folder.
HOW = "Train.zip and Test.zip from https://www.garrickorchard.com/datasets/n-mnist"


def n_mnist(
    data_dir: str | os.PathLike[str] = "data",
    *,
    num_frames: int = 10,
    split_by: str = "number",
    unsorted: str = "refuse",
    cache_dir: str | None = None,
) -> Dataset:
    """Return frames of counts `N T 34 34 2`: 60,000 recordings for training and 10,000 for testing.

    Prints a warning if recordings are missing. Raises `DataNotFound` without folders and archives,
    `UserError` for damaged files.

    Args:
        num_frames: T, the number of frames of each recording.
        split_by: how events are divided into frames, by equal number or equal time: `number` or
            `time`.
        unsorted: what happens to events that are not sorted by time: `refuse`, `sort`, or
            `skip`, which drops as few as possible.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    frames = Frames(num_frames, split_by, SENSOR, SENSOR, unsorted)
    frames.check()
    root, cache = Path(data_dir).absolute(), choose_cache_folder(data_dir, cache_dir).absolute()
    train, test = (_find(root, name, cache / "n_mnist") for name in PUBLISHED)
    warn_of_missing("n_mnist", {"Train": len(train), "Test": len(test)}, PUBLISHED)
    return load_frames("n_mnist", 10, train, test, read_recording, frames, cache)


def read_recording(source: io.BufferedIOBase | Path) -> np.ndarray:
    """Return the events of one of the authors' .bin files, or of SpikingJelly's .npz files."""
    npz = isinstance(source, Path) and source.suffix.lower() == ".npz"
    return read_npz(source) if npz else read_atis(source)


def _find(root: Path, split: str, cache: Path) -> list[Recording]:
    """Return all recordings in the order of classes and numbers."""
    expected = "folders 0 to 9 of .bin files, or a .zip of them"
    places = {root / name / split: expected for name in HOMES[:2]} | {root / split: expected}
    for folder in list_places(root, *HOMES):
        files = list_files(folder / split, (".bin",), HOW, cache)
        if files == []:
            files = list_files(folder / split, (".npz",), HOW)
        # A folder `train` in `data_dir` may be of another data set.
        if files == [] and any(folder.glob(f"{split}*")):
            raise UserError(f"{folder / split} has no .bin file: fetch or extract it again: {HOW}")
        if files:
            found = sorted(_make_recording(file, member) for file, member in files)
            check_once(((each.label, each.number), each) for each in found)
            return found
    raise DataNotFound("n_mnist", list(places.items()), HOW)


def _make_recording(file: Path, member: str) -> Recording:
    name = get_path(file, member)
    number = simplify(name.stem)
    if not (number.isdecimal() and name.parent.name in DIGITS):
        raise UserError(
            f"{show_place(file, member)}: expected a name like 7/00012.bin, whose folder is its "
            "class."
        )
    return Recording(int(name.parent.name), int(number), file, member)
