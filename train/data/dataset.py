"""A loaded data set, its splits in memory or on disk, and the error for a missing one."""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import UserError
from ..host_memory import GIB, find_host_limits
from .feeding.order import Order, Seed
from .feeding.read_ahead import Read, read_ahead

Batch = dict[str, np.ndarray]  # `image` and `label`.
# `describe_data` hashes all samples of smaller arrays, in about 0.1 s, and some of larger ones.
HASHED_BYTES, HASHED_SAMPLES = 200_000_000, 256


class Split(Protocol):
    """The training or the test samples of a data set: in memory, or on disk.

    An image is `H W C` (uint8 or float32), or frames of counts `T H W C`; its label is an integer.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the images."""

    @property
    def arrays(self) -> Batch | None:
        """All samples, if they are in memory."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def take(self, indices: Sequence[int] | np.ndarray, seeds: Sequence[Seed] = ()) -> Batch:
        """Return some samples, whose random crops have `seeds`, by default the indices."""

    def batches(
        self, order: Order, rows: np.ndarray | None = None, first: int = 0
    ) -> Generator[Batch, None, None]:
        """Yield the batches of `order` from batch `first` on, only their `rows` if given."""

    def count_classes(self, num_classes: int) -> np.ndarray:
        """Return the number of samples of each class, `[num_classes]`."""

    def verify(self) -> None:
        """Raise `UserError` for a damaged file."""


@dataclass(frozen=True, repr=False)
class ArraySplit:
    """A split in memory: images `N H W C` or frames of counts `N T H W C`, labels `N` (int32)."""

    images: np.ndarray
    labels: np.ndarray

    def __repr__(self) -> str:
        return f"{len(self):,} {describe_samples(self)}"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return self.images.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """The type of the images."""
        return self.images.dtype

    @property
    def arrays(self) -> Batch:
        """All samples."""
        return {"image": self.images, "label": self.labels}

    def take(self, indices: Sequence[int] | np.ndarray, seeds: Sequence[Seed] = ()) -> Batch:
        """Return some samples; `seeds` are unused, because nothing is cropped here."""
        del seeds
        return {name: array[np.asarray(indices)] for name, array in self.arrays.items()}

    def batches(
        self, order: Order, rows: np.ndarray | None = None, first: int = 0
    ) -> Generator[Batch, None, None]:
        """Yield the batches of `order` from batch `first` on, only their `rows` if given."""
        for step in range(first, len(order)):
            indices = order.indices(step)
            yield self.take(indices if rows is None else indices[rows])

    def count_classes(self, num_classes: int) -> np.ndarray:
        """Return the number of samples of each class, `[num_classes]`."""
        return np.bincount(self.labels, minlength=num_classes)

    def verify(self) -> None:
        """Do nothing: files were verified when they were read."""


@dataclass(frozen=True, repr=False)
class DiskSplit:
    """A split that is read sample by sample: `read(index, rng)` returns an image and its label.

    `rng` is for random crops. `workers` processes read ahead; with 0 this process reads.
    `per_class` has the number of samples of each class; `verify()` reads all files and raises
    `UserError` for a damaged one. Splits with other files have another `identity`.
    """

    per_class: tuple[int, ...]
    shape: tuple[int, ...]
    read: Read
    workers: int
    verify: Callable[[], None]
    dtype: np.dtype = np.dtype(np.uint8)
    identity: str = ""

    def __repr__(self) -> str:
        return f"{len(self):,} {describe_samples(self)} on disk"

    def __len__(self) -> int:
        return sum(self.per_class)

    @property
    def arrays(self) -> None:
        """None: the samples are not in memory."""
        return None

    def take(self, indices: Sequence[int] | np.ndarray, seeds: Sequence[Seed] = ()) -> Batch:
        """Return some samples, whose random crops have `seeds`, by default the indices."""
        # The index as the seed: tests and train.check see the same crop of an image every time.
        places = [int(index) for index in indices]
        samples = [
            self.read(place, np.random.default_rng(seed))
            for place, seed in zip(places, seeds or places, strict=True)
        ]
        images, labels = zip(*samples, strict=True)
        return {"image": np.stack(images), "label": np.array(labels, np.int32)}

    def batches(
        self, order: Order, rows: np.ndarray | None = None, first: int = 0
    ) -> Generator[Batch, None, None]:
        """Yield the batches of `order` from batch `first` on, only their `rows` if given."""
        rows = np.arange(len(order.indices(0))) if rows is None else rows
        return read_ahead(self.read, order, rows, first, self.workers)

    def count_classes(self, num_classes: int) -> np.ndarray:
        """Return the number of samples of each class, `[num_classes]`."""
        return np.array(self.per_class)


def describe_samples(split: Split) -> str:
    """Return the kind of the samples, such as `images 8x8x1 uint8`, for a line on a split."""
    *steps, height, width, channels = split.shape
    kind = f"recordings of {steps[0]} frames" if steps else "images"
    return f"{kind} {height}x{width}x{channels} {split.dtype}"


@dataclass(frozen=True, repr=False)
class Dataset:
    """Training and test images, with mean and std per channel for pixels scaled to 0..1.

    All splits are in memory, or all on disk. Frames and float images have neither mean nor std:
    they enter the network unchanged. The best epoch is chosen on the images of `validation`.
    `subset` is empty, or has the indices that the images of `train` and of `validation` have in
    the whole training split. `notes` has sentences on what was skipped or converted. `read_file`
    reads a file that is not in the data set, of the same kind as its files, as a sample.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()  # Names by label, if the classes have any.
    validation: Split | None = None
    subset: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read_file: Callable[[Path], np.ndarray] | None = None

    def __repr__(self) -> str:
        splits = {"training": self.train, "validation": self.validation, "test": self.test}
        counts = [f"{len(split):,} {name}" for name, split in splits.items() if split is not None]
        return (
            f"{self.name}: {', '.join(counts[:-1])} and {counts[-1]} "
            f"{describe_samples(self.train)}, {self.num_classes:,} classes"
        )


class DataNotFound(UserError):
    """A data set is in none of `places`, pairs of a path and the file expected there.

    `how` is the command or the address that gets it.
    """

    def __init__(self, name: str, places: Sequence[tuple[Path, str]], how: str) -> None:
        looked = "\n".join(f"  {path.absolute()}: {expected}" for path, expected in places)
        super().__init__(
            f"data set {name!r} was not found. Looked for\n{looked}\nGet it with\n  {how}"
        )


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Return the description of loaded data that a run records, as values of JSON.

    It has the names of the classes in the order of their labels, the normalization, and for each
    split the number of samples and a hash. In memory, all labels and samples are hashed, or only
    some samples above `HASHED_BYTES`; on disk, the numbers by class and the split's `identity`.
    Equal data have equal descriptions, except for the last digits in `input`. From `input`, a
    network can be used without its data.
    """
    splits = {"train": dataset.train, "test": dataset.test, "validation": dataset.validation}
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "num_classes": dataset.num_classes,
        # Rounded: the last digits of a sum depend on the processor.
        "mean": [round(value, 6) for value in dataset.mean],
        "std": [round(value, 6) for value in dataset.std],
        "input": {
            "shape": list(dataset.test.shape),
            "dtype": str(dataset.test.dtype),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
        },
    } | {
        name: {"samples": len(split), "sha256": _hash_split(split, dataset.num_classes)}
        for name, split in splits.items()
        if split is not None
    }


def _hash_split(split: Split, num_classes: int) -> str:
    hashed = hashlib.sha256(f"{split.dtype} {split.shape} ".encode())
    arrays = split.arrays
    if arrays is None:
        hashed.update(str(split.count_classes(num_classes).tolist()).encode())
        hashed.update(getattr(split, "identity", "").encode())
        return hashed.hexdigest()
    hashed.update(arrays["label"].tobytes())
    images = arrays["image"]
    if images.nbytes > HASHED_BYTES:
        some = np.linspace(0, len(split) - 1, min(len(split), HASHED_SAMPLES)).astype(int)
        images = images[some]
    hashed.update(np.ascontiguousarray(images).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def check_memory(needed: int, what: str) -> None:
    """Raise UserError if `what`, the arrays of a data set, need more memory than the limit."""
    for limit in find_host_limits():
        if needed > limit.bytes:
            raise UserError(
                f"{what} need at least {needed / GIB:,.1f} GiB, and there are "
                f"{limit.bytes / GIB:,.1f} GiB ({limit.name}). Fewer or smaller ones need less."
            )


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Raise `ValueError` if a label is not in `0..num_classes-1`."""
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise ValueError(f"expected labels 0..{num_classes - 1}, got {wrong[0]}")
