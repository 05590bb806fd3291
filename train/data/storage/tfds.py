"""Image data sets prepared by TensorFlow Datasets, read without TensorFlow."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pit_jax.reading import check_declared, quote_error

from ...errors import UserError
from ..dataset import ArraySplit, check_labels


def find_newest_version(root: Path, name: str) -> str | None:
    """Return the highest version of the data set `name` that is prepared under `root`, or None."""
    versions = [path.parent.name for path in (root / name).glob("*/dataset_info.json")]
    complete = [
        version for version in versions if re.fullmatch(r"\d{1,9}\.\d{1,9}\.\d{1,9}", version)
    ]
    return max(complete, key=lambda version: [int(n) for n in version.split(".")], default=None)


def read_split(
    root: Path, name: str, version: str, split: str, shape: tuple[int, ...], num_classes: int
) -> ArraySplit:
    """Return the images `N *shape` and labels of a prepared split, in the order they are stored.

    Raises `UserError` if tensorflow_datasets is missing, or the folder is damaged or in another
    format than array_record.
    """
    folder = root.absolute() / name / version
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"{folder} is read by tensorflow_datasets, which is not installed: "
            "pip install tensorflow-datasets"
        ) from error
    try:
        # With the version in the name, tfds does not look for a newer one on the network.
        source = tfds.data_source(f"{name}:{version}", data_dir=root, split=split, download=False)
        examples = [(example["image"], example["label"]) for example in source]
        images = np.stack([image for image, _ in examples])
        labels = np.asarray([label for _, label in examples], np.int32)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"expected uint8 images {shape}, got {images.dtype} {images.shape[1:]}"
            )
        check_labels(labels, num_classes)
    except Exception as error:  # Readers raise many kinds of errors for a damaged folder.
        raise UserError(
            f"{folder}: tensorflow_datasets cannot read the split {split!r}: {quote_error(error)}\n"
            "Fetch it, or prepare it again with file_format=array_record."
        ) from error
    return ArraySplit(images, labels)


def read_tfrecords(file: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file, the format in which tfds prepares by default.

    A record has its length in 8 bytes, a checksum of 4, its content and a checksum of 4. The
    checksums (CRC-32C, which Python does not have) are not compared. Raises FileError for a file
    that ends within a record.
    """
    left = file.stat().st_size
    with file.open("rb") as opened:
        while left:
            start = opened.read(12)
            check_declared(file, "a record's length", 12, len(start))
            (length,) = struct.unpack("<Q", start[:8])
            check_declared(file, "a record", length + 16, left)
            yield opened.read(length)
            opened.seek(4, 1)
            left -= length + 16
