"""What every data set looks like once it is loaded, and the error for one that is not there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from ..errors import UserError


@dataclass(frozen=True)
class Split:
    """Images `N H W C` (uint8) or frames of counts `N T H W 2`, with their labels `N` (int32)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one image."""
        return self.images.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """That of the images."""
        return self.images.dtype


@dataclass(frozen=True)
class Streamed:
    """A split that is read sample by sample: `read(index, rng)` gives an image and its label.

    `rng` is there for random crops. `workers` processes read ahead; 0 is this one. `per_class` are
    the counts of samples; `verify()` reads all files and raises `UserError` for a damaged one.
    """

    per_class: tuple[int, ...]
    shape: tuple[int, ...]
    read: Callable[[int, np.random.Generator], tuple[np.ndarray, int]]
    workers: int
    verify: Callable[[], None]
    dtype: np.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return sum(self.per_class)


S = TypeVar("S", Split, Streamed)


@dataclass(frozen=True)
class Dataset(Generic[S]):
    """Training and test images, with mean and std per channel for pixels scaled to 0..1.

    Both splits lie in memory, or both on disk. Frames have neither mean nor std: counts enter the
    network as they are.
    """

    name: str
    train: S
    test: S
    num_classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()  # Their names by label, where they have any.


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
