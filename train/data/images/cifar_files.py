"""Reads the batch files of CIFAR, Python 2 pickles or binary rows, in archives or extracted."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..dataset import ArraySplit, check_labels
from ..storage.archives import read_named
from .unpickle import load_arrays


def read_files(place: Path, folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """Return the contents of the files `names` in an archive or an extracted folder.

    Raises `DamagedArchive` for an archive that is not whole, `ValueError` if a file is missing.
    """
    found = read_named(place, names, folder)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    return found


def parse_batch(pickled: bytes, label_key: bytes, num_classes: int) -> ArraySplit:
    """Return the images `N 32 32 3` and labels of a batch file: rows of 1024 red, green, blue.

    Raises `ValueError` for anything else, and for labels outside `0..num_classes-1`.
    """
    try:
        batch = load_arrays(pickled)
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from error
    if isinstance(batch, dict):  # Python 3 writes keys as text.
        batch = {key.encode() if isinstance(key, str) else key: batch[key] for key in batch}
    if not isinstance(batch, dict) or not {b"data", label_key} <= batch.keys():
        raise ValueError(f"expected a dict with the keys {b'data'!r} and {label_key!r}")
    data, labels = batch[b"data"], np.asarray(batch[label_key])
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
        came = f"{getattr(data, 'dtype', type(data))} {getattr(data, 'shape', '')}"
        raise ValueError(f"expected the data to be uint8 (rows, 3072), got {came}")
    if labels.dtype.kind not in "iu" or labels.shape != data.shape[:1]:
        raise ValueError(
            f"expected {len(data)} integer labels, one per row, got {labels.dtype} {labels.shape}"
        )
    check_labels(labels, num_classes)
    return ArraySplit(_to_images(data), labels.astype(np.int32))


def parse_rows(raw: bytes, label_bytes: int, num_classes: int) -> ArraySplit:
    """Return the images `N 32 32 3` and labels of a binary file: rows of labels and 3072 pixels.

    The last of the `label_bytes` labels in a row is used. Raises `ValueError` if the file ends
    within a row, and for labels outside `0..num_classes-1`.
    """
    size = label_bytes + 3072
    if not raw or len(raw) % size:
        raise ValueError(f"expected rows of {size} bytes, got {len(raw)} bytes")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, size)
    labels = rows[:, label_bytes - 1].astype(np.int32)
    check_labels(labels, num_classes)
    return ArraySplit(_to_images(rows[:, label_bytes:]), labels)


def _to_images(rows: np.ndarray) -> np.ndarray:
    """Convert rows of 1024 red, green and blue pixels to images."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
