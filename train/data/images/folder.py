"""A user's own images, a folder for each class: train/CLASS/*.png, test/CLASS/*.png."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from ...errors import UserError
from ..dataset import ArraySplit, DataNotFound, Dataset
from ..imagenet.decode import explain
from ..storage.archives import is_from_macos

HOW = "put your images into train/CLASS/ and test/CLASS/ (or val/CLASS/), as .png or .jpg files"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def folder(data_dir: str | os.PathLike[str] = "data", *, size: int = 32) -> Dataset:
    """Return square center crops, resized to `N size size 3`; classes are in order of name.

    Mean and standard deviation are measured on the training images. Raises `DataNotFound` without
    folders, `UserError` for files that are not images and for classes that only one split has.

    Args:
        size: height and width of the resized images.
    """
    if not isinstance(size, int) or size < 1:
        raise UserError(f"config.data.size must be a whole number of at least 1, got {size!r}.")
    root = Path(data_dir).absolute()
    places = {"train": root / "train", "test": root / "test"}
    if not places["test"].is_dir() and (root / "val").is_dir():
        places["test"] = root / "val"
    missing = [place for place in places.values() if not place.is_dir()]
    if missing:
        raise DataNotFound("folder", [(place, "a folder for each class") for place in missing], HOW)
    classes = {split: find_classes(place) for split, place in places.items()}
    if classes["train"] != classes["test"]:
        only = sorted(set(classes["train"]) ^ set(classes["test"]))
        raise UserError(f"{root}: only one of train and test has the classes {', '.join(only)}.")
    labels = {name: label for label, name in enumerate(classes["train"])}
    train, test = (read_images(place, labels, (size, size, 3)) for place in places.values())
    pixels = train.images.reshape(-1, 3)
    mean, std = pixels.mean(axis=0) / 255, pixels.std(axis=0) / 255
    return Dataset(
        "folder",
        train,
        test,
        len(labels),
        tuple(mean.tolist()),
        # A channel that never changes is centered only.
        tuple(np.where(std > 0, std, 1).tolist()),
        tuple(labels),
    )


def find_classes(place: Path) -> list[str]:
    """Return the names of the folders in `place`; raise UserError for fewer than two."""
    names = sorted(p.name for p in place.iterdir() if p.is_dir() and not is_from_macos(p.name))
    if len(names) < 2:
        raise UserError(f"{place}: expected a folder for each of two or more classes, got {names}.")
    return names


def read_images(place: Path, labels: Mapping[str, int], shape: tuple[int, ...]) -> ArraySplit:
    """Return the images of `place`/CLASS as `N *shape`, with the labels of their classes.

    Raises UserError for a class without images, and for a file that is not a complete image.
    """
    files = []
    for name, label in labels.items():
        inside = (p for p in (place / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        found = sorted(p for p in inside if not is_from_macos(p.relative_to(place)))
        if not found:
            raise UserError(
                f"{place / name} has no image; known endings are {', '.join(sorted(SUFFIXES))}."
            )
        files += [(file, label) for file in found]
    images = [_read_image(file, shape) for file, _ in track(files, f"reading {place.name}")]
    return ArraySplit(np.stack(images), np.array([label for _, label in files], np.int32))


def _read_image(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the largest center crop with the ratio of `shape`, resized with antialiasing.

    `shape` is `H W C`; with one channel, the image is converted to gray.
    """
    height, width, channels = shape
    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{file} is not a complete image ({explain(error)}); replace or remove it."
        ) from error
    scale = min(image.width / width, image.height / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - w) // 2, (image.height - h) // 2
    cut = image.crop((left, top, left + w, top + h))
    return np.asarray(cut.resize((width, height), Image.Resampling.BILINEAR)).reshape(shape)
