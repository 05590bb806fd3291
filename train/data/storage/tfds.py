"""Image data sets prepared by TensorFlow Datasets, read without TensorFlow."""

import re
from pathlib import Path

import numpy as np

from pit_jax.reading import quote_error

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
