"""CIFAR-10 and CIFAR-100 from the official archives for Python, or as prepared by tfds."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from train.data.batches import parse_batch, read_archive, read_folder
from train.data.dataset import DataNotFound, Dataset, Split
from train.data.prepared import newest_version, read_split
from train.errors import UserError

_Reader = Callable[[Sequence[str]], dict[str, bytes]]

URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class _Source:
    name: str
    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: bytes
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_CIFAR10 = _Source(
    name="cifar10",
    archive="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test=("test_batch",),
    labels=b"labels",
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)
_CIFAR100 = _Source(
    name="cifar100",
    archive="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    train=("train",),
    test=("test",),
    labels=b"fine_labels",
    num_classes=100,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
)


def cifar10(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """50,000 training and 10,000 test images `N 32 32 3` in 10 classes.

    Raises `DataNotFound` if they are not under `data_dir`, `UserError` if they are damaged.
    """
    return _load(_CIFAR10, Path(data_dir).absolute())


def cifar100(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """50,000 training and 10,000 test images `N 32 32 3` in 100 classes (the fine labels).

    Raises `DataNotFound` if they are not under `data_dir`, `UserError` if they are damaged.
    """
    return _load(_CIFAR100, Path(data_dir).absolute())


def _load(source: _Source, root: Path) -> Dataset:
    archive, folder = root / source.archive, root / source.folder
    fetch = f"curl -fL --create-dirs -o {shlex.quote(str(archive))} {URL}{source.archive}"
    if archive.is_file():
        reader = partial(read_archive, archive, source.folder)
        train, test = _read_official(source, archive, reader, fetch)
    elif folder.is_dir():
        train, test = _read_official(source, folder, partial(read_folder, folder), fetch)
    elif version := newest_version(root, source.name):
        train, test = (
            read_split(root, source.name, version, split, (32, 32, 3), source.num_classes)
            for split in ("train", "test")
        )
    else:
        places = [
            (archive, "the official archive"),
            (folder, f"the files of that archive: {', '.join(source.train + source.test)}"),
            (root / source.name, "a version prepared by tensorflow_datasets as array_record"),
        ]
        raise DataNotFound(source.name, places, fetch)
    return Dataset(source.name, train, test, source.num_classes, source.mean, source.std)


def _read_official(source: _Source, place: Path, reader: _Reader, fetch: str) -> list[Split]:
    try:
        files = reader(source.train + source.test)
        return [_join(source, files, names) for names in (source.train, source.test)]
    except ValueError as error:
        raise UserError(
            f"{place}: {error}. Delete it and fetch the archive again:\n  {fetch}"
        ) from error


def _join(source: _Source, files: dict[str, bytes], names: tuple[str, ...]) -> Split:
    batches = []
    for name in names:
        try:
            batches.append(parse_batch(files[name], source.labels, source.num_classes))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    images = np.concatenate([batch.images for batch in batches])
    return Split(images, np.concatenate([batch.labels for batch in batches]))
