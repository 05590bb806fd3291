"""The event data sets of tonic: downloaded by tonic, and read without it.

Its files are aedat4, and arrays of x, y, p and milliseconds.
"""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np

from pit_jax.events import EVENT, make_events

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
    print(f"{name} was not found: tonic downloads it to {root.absolute()}", file=sys.stderr)
    try:
        for cls, options in CLASSES[name]:
            getattr(tonic.datasets, cls)(save_to=str(root), **options)
    except Exception as error:  # Of the network, the disk or an archive, of many types.
        raise UserError(
            f"tonic could not download {name} to {root.absolute()} ({error}). Try again, or fetch "
            "it by hand; docs/guide/data.md has the addresses."
        ) from error
    return True


def read_aedat4(source: io.BufferedIOBase | Path) -> np.ndarray:
    """Return the events of an AEDAT 4 recording, the format of tonic's copy of CIFAR10-DVS.

    If there are several event streams, the one with the lowest number is read, as in tonic. Axes
    are those of the file. Raises `ValueError` for a file that is damaged or of another version,
    `UserError` without the package `aedat`.
    """
    try:
        from aedat import Decoder
    except ImportError as error:
        raise UserError(
            ".aedat4 files are read by the package aedat, which is not installed: pip install aedat"
        ) from error
    if not isinstance(source, Path):  # aedat can only open files by name.
        with tempfile.NamedTemporaryFile(suffix=".aedat4") as file:
            file.write(source.read())
            file.flush()
            return read_aedat4(Path(file.name))
    try:
        decoder = Decoder(source)
        streams = decoder.id_to_stream().items()
        chosen = min((number for number, s in streams if s["type"] == "events"), default=None)
        parts = [packet["events"] for packet in decoder if packet["stream_id"] == chosen]
    except Exception as error:  # aedat raises plain Exceptions.
        raise ValueError(f"not a complete AEDAT 4 file ({error}).") from error
    if chosen is None:
        raise ValueError("an AEDAT 4 file without a stream of events.")
    return np.concatenate(
        [np.empty(0, EVENT), *(make_events(p["t"], p["x"], p["y"], p["on"]) for p in parts)]
    )


def read_array(source: io.BufferedIOBase | Path) -> np.ndarray:
    """Return the events of a gesture of tonic's DVS-Gesture: rows of x, y, polarity and ms.

    Raises `ValueError` for a file without such an array, and for a truncated one.
    """
    try:
        rows = np.load(source, allow_pickle=False)
    except EOFError as error:
        raise ValueError("the file is empty.") from error
    if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
        raise ValueError(f"expected rows of x, y, p and t, got {rows.dtype} {rows.shape}.")
    if not (np.isfinite(rows).all() and (rows >= 0).all() and (rows[:, :2] < 2**16).all()):
        raise ValueError("expected finite x, y, p and t of at least 0.")
    # tonic's times are milliseconds in floats; whole microseconds are recovered by rounding.
    x, y, polarity, milliseconds = rows.T
    return make_events(np.rint(milliseconds * 1000.0), x, y, polarity != 0)
