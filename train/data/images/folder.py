"""A user's own images, a folder for each class: train/CLASS/*.png, test/CLASS/*.png."""

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import UserError
from ...terminal import track
from ..dataset import ArraySplit, DataNotFound, Dataset, check_memory
from ..storage.names import find_entry
from .class_folders import count_loose_images, describe_others, find_classes, list_images
from .picture import describe_changes, open_image

VALIDATION = ("val", "valid", "validation")
# The first folder that exists is read.
SPLITS = {"train": ("train", "training"), "test": ("test", "testing", *VALIDATION)}
HOW = "put your images into train/CLASS/ and test/CLASS/ (or val/CLASS/), as .png or .jpg files"


def folder(data_dir: str | os.PathLike[str] = "data", *, size: int = 32) -> Dataset:
    """Return square center crops, resized to `N size size 3`.

    Classes that are named by whole numbers are in the order of the numbers, others in the order of
    their names.

    Mean and standard deviation are measured on the training images. Raises `DataNotFound` without
    folders, `UserError` for files that are not images and for classes that only one split has.

    Args:
        size: height and width of the resized images.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UserError(f"config.data.size must be a whole number of at least 1, got {size!r}.")
    root = Path(data_dir).absolute()
    places = {split: _find_split(root, split) for split in SPLITS}
    missing = [root / split for split, place in places.items() if not place.is_dir()]
    if missing:
        raise DataNotFound("folder", [(place, "a folder for each class") for place in missing], HOW)
    classes = {split: find_classes(place) for split, place in places.items()}
    names = list(classes["train"])
    if only := sorted(set(names) ^ set(classes["test"])):
        raise UserError(f"{root}: only one of train and test has the classes {_quote(only)}.")
    splits, notes = [], [*_note_unread(root, places), *_note_case(root, names)]
    for split, place in places.items():
        labels = {classes[split][name]: label for label, name in enumerate(names)}
        read, more = read_images(place, labels, (size, size, 3))
        splits.append(read)
        notes += [f"{place}: {'; '.join(more)}"] if more else []
    train, test = splits
    pixels = train.images.reshape(-1, 3)
    mean, std = pixels.mean(axis=0) / 255, pixels.std(axis=0) / 255
    return Dataset(
        "folder",
        train,
        test,
        len(names),
        tuple(mean.tolist()),
        # A channel that never changes is centered only.
        tuple(np.where(std > 0, std, 1).tolist()),
        tuple(names),
        notes=tuple(notes),
    )


def _find_split(root: Path, split: str) -> Path:
    """Return the folder of a split, by the first of its names that there is, in any case."""
    found = (find_entry(root, name) for name in SPLITS[split]) if root.is_dir() else ()
    return next((place for place in found if place is not None and place.is_dir()), root / split)


def _note_unread(root: Path, places: Mapping[str, Path]) -> list[str]:
    notes = []
    for split, names in SPLITS.items():
        for name in names:
            place = find_entry(root, name)
            if place is None or not place.is_dir() or place in places.values():
                continue
            note = f"{place} is not read, because there is a folder {places[split].name}"
            if name in VALIDATION:
                note += "; config.data.validation=0.1 sets training images aside for validation"
            notes.append(note)
    return list(dict.fromkeys(notes))


def _note_case(root: Path, names: list[str]) -> list[str]:
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.casefold(), []).append(name)
    return [
        f"{root}: the classes {_quote(same)} differ only in upper and lower case"
        for same in folded.values()
        if len(same) > 1
    ]


def _quote(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def read_images(
    place: Path, labels: Mapping[Path, int], shape: tuple[int, ...]
) -> tuple[ArraySplit, list[str]]:
    """Return the images in folders as `N *shape`, with the label of each folder.

    The second value has phrases on the files that were skipped or converted. Raises UserError for a
    class without images, and for a file that is not a complete image.
    """
    files, others = [], Counter[str]()
    for folder, label in labels.items():
        found, rest = list_images(folder)
        others += rest
        if not found:
            note = f" ({describe_others(rest)})" if rest else ""
            raise UserError(f"{folder} has no image{note}. Add images, or remove the folder.")
        files += [(file, label) for file in found]
    size = " x ".join(map(str, shape[:2]))
    check_memory(len(files) * math.prod(shape), f"{len(files):,} images of {size} pixels")
    changes = Counter[str]()
    watched = track(files, f"reading {place.name}")
    images = [_read_image(file, shape, changes) for file, _ in watched]
    notes = describe_changes(changes, len(files))
    if loose := count_loose_images(place):
        notes.append(f"skipped, because they are in no class folder: {loose:,} images")
    if others:
        notes.append(describe_others(others))
    return ArraySplit(np.stack(images), np.array([label for _, label in files], np.int32)), notes


def _read_image(file: Path, shape: tuple[int, ...], changes: Counter[str]) -> np.ndarray:
    """Return the largest center crop with the ratio of `shape`, resized with antialiasing.

    `shape` is `H W C`; with one channel, the image is converted to gray.
    """
    height, width, channels = shape
    image = open_image(file, file, gray=channels == 1, changes=changes)
    scale = min(image.width / width, image.height / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - w) // 2, (image.height - h) // 2
    cut = image if (w, h) == image.size else image.crop((left, top, left + w, top + h))
    return np.asarray(cut.resize((width, height), Image.Resampling.BILINEAR)).reshape(shape)
