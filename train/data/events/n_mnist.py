"""N-MNIST: MNIST filmed by a camera on a pan-tilt unit, 34x34 pixels, in 300 ms."""

import os
from pathlib import Path, PurePosixPath

from pit_jax.events import read_atis

from ...errors import UserError
from ..dataset import DataNotFound, Dataset
from ..storage.archives import list_files
from ..storage.cache import choose_cache_folder
from .recordings import Frames, Recording, load_frames, warn_of_missing

SENSOR = (34, 34)
PUBLISHED = {"Train": 60_000, "Test": 10_000}
DIGITS = {str(digit) for digit in range(10)}
MD5 = {
    "Train.zip": "20959b8e626244a1b502305a9e6e2031",
    "Test.zip": "69ca8762b2fe404d9b9bad1103e97832",
}
HOW = "Train.zip and Test.zip from https://www.garrickorchard.com/datasets/n-mnist"


def n_mnist(
    data_dir: str | os.PathLike[str] = "data",
    *,
    num_frames: int = 10,
    split_by: str = "number",
    cache_dir: str | None = None,
) -> Dataset:
    """Return frames of counts `N T 34 34 2`: 60,000 recordings for training and 10,000 for testing.

    Prints a warning if recordings are missing. Raises `DataNotFound` without folders and archives,
    `UserError` for damaged files.

    Args:
        num_frames: T, the number of frames of each recording.
        split_by: how events are divided into frames, by equal number or equal time: `number` or
            `time`.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    root = Path(data_dir).absolute()
    train, test = (_find(root, name) for name in PUBLISHED)
    warn_of_missing("n_mnist", {"Train": len(train), "Test": len(test)}, PUBLISHED)
    frames = Frames(num_frames, split_by, SENSOR, SENSOR)
    cache = choose_cache_folder(data_dir, cache_dir)
    return load_frames("n_mnist", 10, train, test, read_atis, frames, cache)


def _find(root: Path, split: str) -> list[Recording]:
    """Return all recordings in the order of classes and numbers."""
    places = []
    for folder in (root / "NMNIST", root / "n_mnist", root):
        files = list_files(folder / split, (".bin",), HOW)
        if files == []:
            raise UserError(
                f"{folder / split} has no .bin file: remove it, fetch or extract it again: {HOW}"
            )
        if files is not None:
            return sorted(_make_recording(file, member) for file, member in files)
        places.append((folder / split, "folders 0 to 9 of .bin files, or a .zip of them"))
    raise DataNotFound("n_mnist", places, HOW)


def _make_recording(file: Path, member: str) -> Recording:
    name = PurePosixPath(member or file)
    if not (name.stem.isdecimal() and name.parent.name in DIGITS):
        raise UserError(f"{name}: expected a name like 7/00012.bin, whose folder is its class.")
    return Recording(int(name.parent.name), int(name.stem), file, member)
