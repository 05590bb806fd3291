"""The event data sets of tonic: downloaded by tonic, and read without it.

Its files are AEDAT 4 (aedat4.py), and arrays of x, y, p and milliseconds.
"""

import io
import sys
from pathlib import Path

import numpy as np

from pit_jax.display import print_text
from pit_jax.events import make_events
from pit_jax.events.arrays import load_array
from pit_jax.events.files import open_recording
from pit_jax.reading import FileError

from ...errors import UserError

# tonic's classes and arguments; making an object downloads and extracts its files.
CLASSES: dict[str, list[tuple[str, dict[str, bool]]]] = {
    "cifar10_dvs": [("CIFAR10DVS", {})],
    "dvs_gesture": [("DVSGesture", {"train": True}), ("DVSGesture", {"train": False})],
    "n_mnist": [("NMNIST", {"train": True}), ("NMNIST", {"train": False})],
}


def fetch(name: str, root: Path) -> bool:
    """Download a data set with tonic to `root`; return False without tonic or its data set.

    Raises `UserError` if tonic fails.
    """
    if name not in CLASSES:
        return False
    try:
        import tonic
    except ImportError:
        return False
    print_text(f"{name} was not found: tonic downloads it to {root.absolute()}", sys.stderr)
    try:
        for cls, options in CLASSES[name]:
            getattr(tonic.datasets, cls)(save_to=str(root), **options)
    except Exception as error:  # Of the network, the disk or an archive, of many types.
        raise UserError(
            f"tonic could not download {name} to {root.absolute()} ({error}). Try again, or fetch "
            "it by hand; docs/guide/data.md has the addresses."
        ) from error
    return True


def read_array(source: io.BufferedIOBase | Path) -> np.ndarray:
    """Return the events of a gesture of tonic's DVS-Gesture: rows of x, y, polarity and ms.

    Raises `ValueError` for a file without such an array, and for a truncated one.
    """
    with open_recording(source, "a .npy file of rows of x, y, p and t") as (file, path, size):
        if not size:
            raise FileError(f"{path}: the file is empty.")
        rows = load_array(file, path, size)
        if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
            raise FileError(
                f"{path}: expected rows of x, y, p and t, got {rows.dtype} {rows.shape}."
            )
        if not (np.isfinite(rows).all() and (rows >= 0).all()):
            raise FileError(f"{path}: expected finite x, y, p and t of at least 0.")
        # tonic's times are milliseconds in floats; whole microseconds are recovered by rounding.
        x, y, polarity, milliseconds = rows.T
        try:
            return make_events(np.rint(milliseconds * 1000.0), x, y, polarity)
        except ValueError as error:
            raise FileError(f"{path}: {error}") from error
