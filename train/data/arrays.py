"""A user's own arrays in a file: `.npz` with x_train, y_train, x_test and y_test, as in Keras."""

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np

from pit_jax.events.arrays import load_array
from pit_jax.reading import reading

from ..errors import UserError
from .dataset import DataNotFound, Dataset, check_memory
from .own import make_dataset

# The arrays of each split. The first four are required.
PAIRS = {
    "train": ("x_train", "y_train"),
    "test": ("x_test", "y_test"),
    "validation": ("x_valid", "y_valid"),
}
OTHERS = ("classes", "mean", "std")
NAMES = (*(name for pair in PAIRS.values() for name in pair), *OTHERS)
HOW = "np.savez_compressed(FILE, x_train=images, y_train=labels, x_test=..., y_test=...)"


def arrays(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """Return the images or event frames of the file `data_dir`, or of the only `.npz` file in it.

    Images are uint8 `[N, H, W]` or `[N, H, W, C]`, or floats, which enter the network unchanged;
    frames are `[N, T, H, W, C]`; labels are whole numbers `[N]` from 0 on. x_valid and y_valid, the
    names of the `classes`, and `mean` and `std` are optional. Raises `DataNotFound` without a file,
    `UserError` for arrays that are missing or of another form.
    """
    file = _find_file(Path(data_dir).absolute())
    found, unread = _read_arrays(file)
    missing = [name for split in ("train", "test") for name in PAIRS[split] if name not in found]
    if missing:
        there = ", ".join([*found, *unread]) or "nothing"
        raise UserError(
            f"{file} lacks {', '.join(missing)}; it has {there[:200]}. Save all four: {HOW}"
        )
    splits = {split: pair for split, pair in PAIRS.items() if found.keys() & set(pair)}
    if half := [name for pair in splits.values() for name in pair if name not in found]:
        raise UserError(f"{file} lacks {half[0]}. Save images and labels of a split, or neither.")
    returned: dict[str, object] = {
        split: (found[x], _flatten(found[y])) for split, (x, y) in splits.items()
    }
    returned |= {name: found[name] for name in OTHERS if name in found}
    dataset = make_dataset(str(file), returned)
    notes = [f"{file}: not read, because the names are unknown: {', '.join(unread)}"]
    return replace(dataset, name="arrays", notes=(*dataset.notes, *(notes if unread else ())))


def _find_file(place: Path) -> Path:
    if place.is_file():
        return place
    files = sorted(place.glob("*.npz")) if place.is_dir() else []
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UserError(f"{place} has {len(files)} .npz files: {names[:200]}. Give one of them.")
    if not files:
        raise DataNotFound("arrays", [(place, "an .npz file, or a folder with one")], HOW)
    return files[0]


def _read_arrays(file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays with known names, and the names of the others."""
    found: dict[str, np.ndarray] = {}
    with reading(file, "an .npz file of arrays", error=UserError, advice=f"Write it with {HOW}"):
        with zipfile.ZipFile(file) as archive:
            members = {
                PurePosixPath(member.filename).stem: member
                for member in archive.infolist()
                if member.filename.endswith(".npy")
            }
            wanted = {name: member for name, member in members.items() if name in NAMES}
            # Before anything is unpacked: a small file can expand to any size.
            check_memory(
                sum(member.file_size for member in wanted.values()), f"the arrays of {file}"
            )
            for name, member in wanted.items():
                with archive.open(member) as content:
                    unzipped = cast(io.BufferedIOBase, content)
                    found[name] = load_array(unzipped, f"{file} ({name})", member.file_size)
    return found, [name for name in members if name not in NAMES]


def _flatten(labels: np.ndarray) -> np.ndarray:
    """Return labels `[N, 1]`, as Keras has them for CIFAR, as `[N]`."""
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
