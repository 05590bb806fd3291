"""What every data set looks like once it is loaded, and the error for one that is not there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.errors import UserError


@dataclass(frozen=True)
class Split:
    """Images `N H W C` (uint8) or frames of counts `N T H W 2`, with their labels `N` (int32)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """Training and test images, with mean and std per channel for pixels scaled to 0..1.

    Frames have neither: counts enter the network as they are.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class DataNotFound(UserError):
    """A data set is in none of the places (path, what was expected there); says how to get it."""

    def __init__(self, name: str, places: Sequence[tuple[Path, str]], how: str) -> None:
        looked = "\n".join(f"  {path.absolute()}: {expected}" for path, expected in places)
        super().__init__(
            f"data set {name!r} was not found. Looked for\n{looked}\nGet it with\n  {how}"
        )


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Raises `ValueError` if a label is not in `0..num_classes-1`."""
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise ValueError(f"expected labels 0..{num_classes - 1}, got {wrong[0]}")
