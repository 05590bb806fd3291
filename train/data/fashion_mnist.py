"""Fashion-MNIST: 28x28 grey images of clothes in the IDX files of its authors."""

import os
from pathlib import Path

import numpy as np

from train.data.dataset import DataNotFound, Dataset, Split, check_labels
from train.data.idx import read_idx
from train.errors import UserError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
HOW = (
    "apt-get install dataset-fashion-mnist\n"
    "or the four .gz files of https://github.com/zalandoresearch/fashion-mnist (data/fashion)"
)
STEMS = [
    f"{split}-{content}"
    for split in ("train", "t10k")
    for content in ("images-idx3-ubyte", "labels-idx1-ubyte")
]


def fashion_mnist(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """60,000 training and 10,000 test images `N 28 28 1` from the first folder that has all files.

    Raises `DataNotFound` if no folder has them, `UserError` if they are not what they should be.
    """
    root = Path(data_dir)
    missing = []
    for folder in (root / "fashion-mnist", root / "FashionMNIST" / "raw", root, DEBIAN):
        found = [_find(folder, stem) for stem in STEMS]
        paths = [path for path in found if path is not None]
        if len(paths) == len(STEMS):
            return _read(*paths)
        absent = [stem for stem, path in zip(STEMS, found, strict=True) if path is None]
        missing.append((folder, f"no {', '.join(absent)} (plain or .gz)"))
    raise DataNotFound("fashion_mnist", missing, HOW)


def _find(folder: Path, stem: str) -> Path | None:
    candidates = (folder / f"{stem}.gz", folder / stem)
    return next((path for path in candidates if path.is_file()), None)


def _read(train_images: Path, train_labels: Path, test_images: Path, test_labels: Path) -> Dataset:
    return Dataset(
        name="fashion_mnist",
        train=_split(train_images, train_labels),
        test=_split(test_images, test_labels),
        num_classes=10,
        mean=(0.2860,),
        std=(0.3530,),
    )


def _split(images_path: Path, labels_path: Path) -> Split:
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if images.shape[1:] != (28, 28):
        raise UserError(f"{images_path.absolute()}: expected 28x28 images, got {images.shape[1:]}.")
    if len(images) != len(labels):
        raise UserError(
            f"{labels_path.absolute()}: expected {len(images)} labels, one for each image of "
            f"{images_path.name}, got {len(labels)}."
        )
    try:
        check_labels(labels, 10)
    except ValueError as error:
        raise UserError(f"{labels_path.absolute()}: {error}.") from error
    return Split(images[..., None], labels.astype(np.int32))
