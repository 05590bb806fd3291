"""CIFAR-10 and CIFAR-100 from the official archives, or prepared by tfds."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pit_jax.reading import FileError

from ...errors import UserError
from ..dataset import ArraySplit, DataNotFound, Dataset
from ..storage.archives import DamagedArchive, has_files
from ..storage.download import Remote, download
from ..storage.names import find_entry, list_places, name_archives, simplify
from ..storage.tfds import find_newest_version, read_split
from .cifar_files import parse_batch, parse_rows, read_files
from .class_names import CIFAR10, CIFAR100

# The name of every download from Kaggle's website; Kaggle's program uses the name of the data set.
KAGGLE = ("archive.zip", "{}.zip", "{}-python.zip")
URL = "https://www.cs.toronto.edu/~kriz/"
_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))


@dataclass(frozen=True)
class _Layout:
    """One of the official archives: its files, their parser, and its published hash."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    parse: Callable[[bytes], ArraySplit]
    md5: str

    @property
    def stems(self) -> tuple[str, str]:
        """The names of its archives and folders: Keras names the archive after the folder."""
        return self.archive.partition(".")[0], self.folder


@dataclass(frozen=True)
class _CifarSource:
    name: str
    layouts: tuple[_Layout, ...]
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    homes: tuple[str, ...]  # Common names of its folder.


# Mean and std of both data sets are the constants of the PIT authors' code.
_CIFAR10 = _CifarSource(
    name="cifar10",
    layouts=(
        _Layout(
            archive="cifar-10-python.tar.gz",
            folder="cifar-10-batches-py",
            train=_BATCHES,
            test=("test_batch",),
            parse=partial(parse_batch, label_key=b"labels", num_classes=10),
            md5="c58f30108f718f92721af3b95e74349a",
        ),
        _Layout(
            archive="cifar-10-binary.tar.gz",
            folder="cifar-10-batches-bin",
            train=tuple(f"{name}.bin" for name in _BATCHES),
            test=("test_batch.bin",),
            parse=partial(parse_rows, label_bytes=1, num_classes=10),
            md5="c32a1d4ab5d03f1284b67883e8d87530",
        ),
    ),
    classes=CIFAR10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    homes=("cifar10", "cifar-10"),
)
_CIFAR100 = _CifarSource(
    name="cifar100",
    layouts=(
        _Layout(
            archive="cifar-100-python.tar.gz",
            folder="cifar-100-python",
            train=("train",),
            test=("test",),
            parse=partial(parse_batch, label_key=b"fine_labels", num_classes=100),
            md5="eb9058c3a382ffc7106e4002c42a8d85",
        ),
        _Layout(
            archive="cifar-100-binary.tar.gz",
            folder="cifar-100-binary",
            train=("train.bin",),
            test=("test.bin",),
            # The coarse label comes first, the fine one just before the pixels.
            parse=partial(parse_rows, label_bytes=2, num_classes=100),
            md5="03b5dce01913d631647c71ecec9e9cb8",
        ),
    ),
    classes=CIFAR100,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    homes=("cifar100", "cifar-100"),
)


def cifar10(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """Return 50,000 training and 10,000 test images `N 32 32 3` in 10 classes.

    Downloads the official archive if nothing is found under `data_dir`. Raises `DataNotFound` if
    that fails, `UserError` for damaged files.
    """
    return _load(_CIFAR10, Path(data_dir).absolute())


def cifar100(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """Return 50,000 training and 10,000 test images `N 32 32 3` in 100 classes (fine labels).

    Downloads the official archive if nothing is found under `data_dir`. Raises `DataNotFound` if
    that fails, `UserError` for damaged files.
    """
    return _load(_CIFAR100, Path(data_dir).absolute())


def find_files(name: str, root: Path) -> dict[Path, str | None]:
    """Return the files that are read for `cifar10` or `cifar100`, archives with published md5."""
    source = {"cifar10": _CIFAR10, "cifar100": _CIFAR100}[name]
    if found := _find(source, root):
        layout, place = found
        # An archive that was packed again has another hash.
        official = place.is_file() and simplify(place.name) == layout.archive
        return {place: layout.md5 if official else None}
    version = find_newest_version(root, name)
    return {root / name / version: None} if version else {}


def _load(source: _CifarSource, root: Path) -> Dataset:
    # The official files come first, since their bytes can be compared with published hashes.
    splits = _read_official(source, root) or _read_tfds(source, root) or _fetch(source, root)
    train, test = splits
    classes = source.classes
    return Dataset(source.name, train, test, len(classes), source.mean, source.std, classes)


def _read_official(source: _CifarSource, root: Path) -> list[ArraySplit] | None:
    found = _find(source, root)
    return _read(*found) if found else None


def _find(source: _CifarSource, root: Path) -> tuple[_Layout, Path] | None:
    """Return the first of the official archives and their folders that exists."""
    places = list(list_places(root, *source.homes))
    for layout in source.layouts:
        for place in places:
            # An archive before its folder: only the archive has a checksum that finds wrong bits.
            # 7-Zip makes folders whose names end like an archive's.
            archive = find_entry(place, layout.archive)
            repacked = find_entry(place, *name_archives(layout.stems))
            for found in (
                archive,
                repacked,
                *(find_entry(place, name) for name in reversed(layout.stems)),
            ):
                if found is not None:
                    return layout, found
            files = [find_entry(place, name) for name in (layout.train[0], layout.test[0])]
            if all(file is not None and file.is_file() for file in files):
                return layout, place
            names = [name.format(home) for name in KAGGLE for home in source.homes]
            download = find_entry(place, *names)
            if download is not None and has_files(download, (layout.train[0], layout.test[0])):
                return layout, download
    return None


def _read_tfds(source: _CifarSource, root: Path) -> list[ArraySplit] | None:
    version = find_newest_version(root, source.name)
    if not version:
        return None
    return [
        read_split(root, source.name, version, split, (32, 32, 3), len(source.classes))
        for split in ("train", "test")
    ]


def _fetch(source: _CifarSource, root: Path) -> list[ArraySplit]:
    first = source.layouts[0]
    archive = root / first.archive
    try:
        download(Remote(URL + first.archive, first.md5), archive)
    except UserError as error:
        places = []
        for layout in source.layouts:
            files = ", ".join(layout.train + layout.test)
            places.append((root / layout.archive, "the official archive"))
            places.append((root / layout.folder, f"the files of that archive: {files}"))
        prepared = "a version prepared by tensorflow_datasets as array_record"
        places.append((root / source.name, prepared))
        how = f"{_write_command(archive)}\nTried just now: {error}"
        raise DataNotFound(source.name, places, how) from error
    return _read(first, archive)


def _write_command(archive: Path) -> str:
    return f"curl -fL --create-dirs -o {shlex.quote(str(archive))} {URL}{archive.name}"


def _read(layout: _Layout, place: Path) -> list[ArraySplit]:
    fetch = _write_command(place.parent / layout.archive)
    try:
        files = read_files(place, layout.folder, layout.train + layout.test)
        return [_join(layout, files, names) for names in (layout.train, layout.test)]
    except DamagedArchive as error:
        raise UserError(
            f"{place}: not a complete tar.gz archive ({error.reason}). Delete it and fetch the "
            f"archive again:\n  {fetch}"
        ) from error
    except (UserError, FileError):
        raise
    except ValueError as error:
        raise UserError(f"{place}: {error}. Get the official archive:\n  {fetch}") from error


def _join(layout: _Layout, files: dict[str, bytes], names: tuple[str, ...]) -> ArraySplit:
    batches = []
    for name in names:
        try:
            batches.append(layout.parse(files[name]))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    images = np.concatenate([batch.images for batch in batches])
    return ArraySplit(images, np.concatenate([batch.labels for batch in batches]))
