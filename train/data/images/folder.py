"""A user's own images with their labels, from folders of classes or from tables of labels."""

import math
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import UserError
from ...terminal import track
from ..dataset import ArraySplit, Dataset, check_memory
from ..layouts import FileKind, Part, find_layout, list_part
from ..own import measure
from .picture import describe_changes, is_picture, open_image

IMAGES = FileKind(
    "image",
    is_picture,
    "Pillow",
    "put your images into train/CLASS/ and test/CLASS/ (or val/CLASS/), as .png or .jpg files",
)


def folder(
    data_dir: str | os.PathLike[str] = "data", *, size: int = 32, test_share: float = 0.2
) -> Dataset:
    """Return square center crops, resized to `N size size 3`.

    `data_dir` has `train/CLASS/` and `test/CLASS/` or `val/CLASS/`, or all three; tables
    `train.csv`, `test.csv`, `val.csv`, or one `labels.csv`, with the columns `file` and `label`; or
    folders of classes. It can also be a table. Classes that are named by whole numbers are in the
    order of the numbers, others in the order of their names.

    Mean and standard deviation are measured on the training images. Raises `DataNotFound` without
    images, `UserError` for files that are not images and for classes that only one split has.

    Args:
        size: height and width of the resized images.
        test_share: the share of the images of each class that become the test split, if there is
            neither a test nor a validation split.
    """
    check_image_size(size)
    root = Path(data_dir).absolute()
    layout = find_layout("folder", root, IMAGES, test_share)
    splits, notes, shape = {}, list(layout.notes), (size, size, 3)
    for split, part in layout.parts.items():
        splits[split], more = read_part(part, shape)
        notes += [f"{part.place}: {'; '.join(more)}"] if more else []
    mean, std = measure(splits["train"].images)
    return Dataset(
        "folder",
        splits["train"],
        splits["test"],
        len(layout.classes),
        mean,
        std,
        layout.classes,
        validation=splits.get("validation"),
        notes=tuple(notes),
        read_file=partial(read_image, shape=shape),
    )


def check_image_size(size: object, least: int = 1) -> None:
    """Raise UserError unless `config.data.size` is a whole number of at least `least`."""
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        raise UserError(
            f"config.data.size must be a whole number of at least {least}, got {size!r}."
        )


def read_images(
    place: Path, labels: Mapping[Path, int], shape: tuple[int, ...]
) -> tuple[ArraySplit, list[str]]:
    """Return the images in folders as `N *shape`, with the label of each folder.

    The second value has phrases on the files that were skipped or converted. Raises UserError for a
    class without images, and for a file that is not a complete image.
    """
    return read_part(list_part(place, labels, IMAGES), shape)


def read_part(part: Part, shape: tuple[int, ...]) -> tuple[ArraySplit, list[str]]:
    """Return the images of a split as `N *shape`, and phrases on what was skipped or converted."""
    size = " x ".join(map(str, shape[:2]))
    count = len(part.files)
    check_memory(count * math.prod(shape), f"{count:,} images of {size} pixels")
    changes = Counter[str]()
    watched = track(part.files, f"reading {part.place.name}")
    images = [read_image(file, shape, changes) for file, _ in watched]
    labels = np.array([label for _, label in part.files], np.int32)
    return ArraySplit(np.stack(images), labels), [
        *describe_changes(changes, count),
        *part.skipped,
    ]


def read_image(
    file: Path, shape: tuple[int, ...], changes: Counter[str] | None = None
) -> np.ndarray:
    """Return the largest center crop with the ratio of `shape`, resized with antialiasing.

    `shape` is `H W C`; with one channel, the image is converted to gray. `changes` counts what was
    converted, for `describe_changes`.
    """
    return crop(open_image(file, file, gray=shape[-1] == 1, changes=changes), shape)


def crop(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """Return the largest center crop of an image with the ratio of `shape`, resized to it."""
    height, width, _ = shape
    scale = min(image.width / width, image.height / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - w) // 2, (image.height - h) // 2
    cut = image if (w, h) == image.size else image.crop((left, top, left + w, top + h))
    return np.asarray(cut.resize((width, height), Image.Resampling.BILINEAR)).reshape(shape)
