"""MNIST and Fashion-MNIST: 28x28 gray images in the IDX files of their authors."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..dataset import ArraySplit, DataNotFound, Dataset, check_labels
from ..storage.archives import DamagedArchive, has_files, read_named
from ..storage.download import Remote, download
from ..storage.names import find_entry, list_places, name_archives
from .class_names import DIGITS, FASHION_MNIST
from .idx import read_idx


@dataclass(frozen=True)
class _MnistSource:
    """The folders to search under `data_dir`, and the address and hashes of the files.

    The files may also be in a folder with one of the names `homes`, or in an archive of this name.
    """

    name: str
    folders: tuple[str, ...]
    homes: tuple[str, ...]
    url: str
    md5: dict[str, str]
    mean: float
    std: float
    classes: tuple[str, ...]


_MNIST = _MnistSource(
    name="mnist",
    folders=("mnist", "MNIST/raw"),
    homes=("mnist", "mnist-dataset", "mnist_dataset"),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    md5={
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    mean=0.1307,
    std=0.3081,
    classes=DIGITS,
)
_FASHION = _MnistSource(
    name="fashion_mnist",
    folders=("fashion-mnist", "FashionMNIST/raw"),
    homes=("fashion-mnist", "FashionMNIST", "fashion_mnist"),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    md5={
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    mean=0.2860,
    std=0.3530,
    classes=FASHION_MNIST,
)
# The files of both have the same names and shapes; the first training labels tell them apart.
_FIRST_LABELS = {
    _MNIST.name: [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
    _FASHION.name: [9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
}
KAGGLE = "archive.zip"  # The name of every download from Kaggle.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def mnist(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """Return 60,000 training and 10,000 test images of digits, `N 28 28 1`.

    Downloads the four files if they are not under `data_dir`. Raises `DataNotFound` if that fails,
    `UserError` for wrong files.
    """
    return _load(_MNIST, Path(data_dir).absolute())


def fashion_mnist(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """Return 60,000 training and 10,000 test images of clothes, `N 28 28 1`.

    Downloads the four files if they are neither under `data_dir` nor in Debian's package. Raises
    `DataNotFound` if that fails, `UserError` for wrong files.
    """
    return _load(_FASHION, Path(data_dir).absolute())


def find_files(name: str, root: Path) -> dict[Path, str | None]:
    """Return the files that are read for `mnist` or `fashion_mnist`, with published md5."""
    # Debian compresses the files itself, so their md5 differs. Plain files have none published.
    source = {"mnist": _MNIST, "fashion_mnist": _FASHION}[name]
    return {
        path: md5 if path.name.endswith("ubyte.gz") and path.parent != DEBIAN else None
        for path, md5 in zip(_find_files(source, root) or (), source.md5.values(), strict=False)
    }


def _load(source: _MnistSource, root: Path) -> Dataset:
    paths = _find_files(source, root)
    read = _read_archive(source, root) if paths is None else None
    if read is None:
        paths = paths or _fetch(source, _list_places(source, root))
        read = [_read_idx(path) for path in paths]
    _check_source(source, *read[1])
    return Dataset(
        name=source.name,
        train=_make_split(*read[:2]),
        test=_make_split(*read[2:]),
        num_classes=10,
        mean=(source.mean,),
        std=(source.std,),
        classes=source.classes,
    )


def _check_source(source: _MnistSource, path: Path, labels: np.ndarray) -> None:
    """Raise UserError if the training labels are those of the other data set."""
    for name, first in _FIRST_LABELS.items():
        if name != source.name and labels[: len(first)].tolist() == first:
            raise UserError(
                f"{path.absolute()} is of {name}, not of {source.name}: both have files of these "
                f"names. Move them to {name}/ in config.data.data_dir, or choose {name}."
            )


_Read = tuple[Path, np.ndarray]  # A file and its array: images, or labels.


def _read_idx(path: Path, content: bytes | None = None) -> _Read:
    ndim = 3 if "images" in path.name.casefold() else 1
    return path, read_idx(path, ndim=ndim, content=content)


def _read_archive(source: _MnistSource, root: Path) -> list[_Read] | None:
    """Return the four arrays of an archive of the files, as Kaggle and others pack them."""
    for place in list_places(root, *source.homes):
        names = [name for stem in source.md5 for name in _list_names(stem)]
        archive = find_entry(place, *name_archives(source.homes))
        download = find_entry(place, KAGGLE)
        if archive is None and download is not None:
            # It may be of any other data set.
            is_ours = any(
                has_files(download, [name]) for name in _list_names(next(iter(source.md5)))
            )
            archive = download if is_ours else None
        if archive is not None and archive.is_file():
            try:
                found = read_named(archive, names, "")
            except DamagedArchive as error:
                raise UserError(f"{error} Or get the four files of {source.url}") from error
            chosen = [next((n for n in _list_names(s) if n in found), None) for s in source.md5]
            if None not in chosen:
                return [_read_idx(archive / name, found[name]) for name in chosen if name]
    return None


def _list_places(source: _MnistSource, root: Path) -> list[Path]:
    elsewhere = [DEBIAN] if source is _FASHION else []
    named = [*(root / folder for folder in source.folders), root, *elsewhere]
    return list(dict.fromkeys([*named, *list_places(root, *source.homes)]))


def _find_files(source: _MnistSource, root: Path) -> list[Path] | None:
    """Return the four files in the first place that has all of them."""
    places = _list_places(source, root)
    return next(filter(None, (_find_all(source, place) for place in places)), None)


def _find_all(source: _MnistSource, folder: Path) -> list[Path] | None:
    """Return the four files of a folder, if it has all of them, gzipped or plain."""
    found = [_find_file(folder, stem) for stem in source.md5]
    paths = [path for path in found if path is not None]
    return paths if len(paths) == len(found) else None


def _find_file(folder: Path, stem: str) -> Path | None:
    for name in _list_names(stem):
        path = find_entry(folder, name)
        # Kaggle has each file in a folder of the same name.
        inner = find_entry(path, *_list_names(stem)) if path is not None else None
        for found in (path, inner):
            if found is not None and found.is_file():
                return found
    return None


def _list_names(stem: str) -> tuple[str, ...]:
    """Return the names of a file: those of its authors, and those that 7-Zip and Kaggle write."""
    kind, axes = stem.removesuffix("-ubyte").rsplit("-", 1)
    dotted = f"{kind}.{axes}-ubyte"
    return f"{stem}.gz", stem, f"{dotted}.gz", dotted


def _fetch(source: _MnistSource, places: list[Path]) -> list[Path]:
    """Download the files that are missing in the first folder, and return all four."""
    try:
        for stem, md5 in source.md5.items():
            if _find_file(places[0], stem) is None:
                download(Remote(f"{source.url}{stem}.gz", md5), places[0] / f"{stem}.gz")
    except UserError as error:
        missing = []
        for place in places[: len(source.folders) + 1 + (source is _FASHION)]:
            absent = [stem for stem in source.md5 if _find_file(place, stem) is None]
            missing.append((place, f"no {', '.join(absent)} (plain or .gz)"))
        how = f"the four .gz files of {source.url}"
        if source is _FASHION:
            how = f"apt-get install dataset-fashion-mnist\nor {how}"
        raise DataNotFound(source.name, missing, f"{how}\nTried just now: {error}") from error
    return [path for stem in source.md5 if (path := _find_file(places[0], stem)) is not None]


def _make_split(images_read: _Read, labels_read: _Read) -> ArraySplit:
    # Counts may be below the published ones, so that tests and users can have smaller files;
    # train.check compares them with the published counts.
    (images_path, images), (labels_path, labels) = images_read, labels_read
    if not len(images):
        raise UserError(
            f"{images_path.absolute()}: expected images, got none. "
            "Replace the file with the official one."
        )
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
    return ArraySplit(images[..., None], labels.astype(np.int32))
