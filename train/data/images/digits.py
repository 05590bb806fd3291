"""Scikit-learn's 1,797 handwritten digits, 8x8 pixels: real data that needs no download."""

import os
from pathlib import Path

import numpy as np

from ..dataset import ArraySplit, Dataset
from .class_names import DIGITS

TEST_INDICES = Path(__file__).parents[1] / "splits" / "digits_test.txt"


def digits(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Return 1,437 training and 360 test images `N 8 8 1`; nothing is read from `data_dir`."""
    train, test = read_digits()
    pixels = train.images / 255
    return Dataset(
        name="digits",
        train=train,
        test=test,
        num_classes=10,
        mean=(float(pixels.mean()),),
        std=(float(pixels.std()),),
        classes=DIGITS,
    )


def read_digits() -> tuple[ArraySplit, ArraySplit]:
    """Return the training and the test images, which are files of scikit-learn."""
    from sklearn.datasets import load_digits  # Imported here, because it takes a second.

    bunch = load_digits()
    # 17 gray levels, 0 to 16, spread over uint8.
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    in_test = np.zeros(len(labels), bool)
    in_test[np.loadtxt(TEST_INDICES, dtype=int)] = True
    train, test = (ArraySplit(images[where], labels[where]) for where in (~in_test, in_test))
    return train, test
