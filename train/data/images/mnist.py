"""MNIST and Fashion-MNIST: 28x28 gray images in the IDX files of their authors."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..dataset import ArraySplit, DataNotFound, Dataset, check_labels
from ..storage.download import Remote, download
from .class_names import DIGITS, FASHION_MNIST
from .idx import read_idx


@dataclass(frozen=True)
class _MnistSource:
    """The folders to search under `data_dir`, and the address and hashes of the files."""

    name: str
    folders: tuple[str, ...]
    url: str
    md5: dict[str, str]
    mean: float
    std: float
    classes: tuple[str, ...]


_MNIST = _MnistSource(
    name="mnist",
    folders=("mnist", "MNIST/raw"),
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
        path: md5 if path.suffix == ".gz" and path.parent != DEBIAN else None
        for path, md5 in zip(_find_files(source, root) or (), source.md5.values(), strict=False)
    }


def _load(source: _MnistSource, root: Path) -> Dataset:
    paths = _find_files(source, root) or _fetch(source, _list_places(source, root))
    train_images, train_labels, test_images, test_labels = paths
    return Dataset(
        name=source.name,
        train=_read_split(train_images, train_labels),
        test=_read_split(test_images, test_labels),
        num_classes=10,
        mean=(source.mean,),
        std=(source.std,),
        classes=source.classes,
    )


def _list_places(source: _MnistSource, root: Path) -> list[Path]:
    elsewhere = [DEBIAN] if source is _FASHION else []
    return [*(root / folder for folder in source.folders), root, *elsewhere]


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
    candidates = (folder / f"{stem}.gz", folder / stem)
    return next((path for path in candidates if path.is_file()), None)


def _fetch(source: _MnistSource, places: list[Path]) -> list[Path]:
    """Download the files that are missing in the first folder, and return all four."""
    try:
        for stem, md5 in source.md5.items():
            if _find_file(places[0], stem) is None:
                download(Remote(f"{source.url}{stem}.gz", md5), places[0] / f"{stem}.gz")
    except UserError as error:
        missing = []
        for place in places:
            absent = [stem for stem in source.md5 if _find_file(place, stem) is None]
            missing.append((place, f"no {', '.join(absent)} (plain or .gz)"))
        how = f"the four .gz files of {source.url}"
        if source is _FASHION:
            how = f"apt-get install dataset-fashion-mnist\nor {how}"
        raise DataNotFound(source.name, missing, f"{how}\nTried just now: {error}") from error
    return [path for stem in source.md5 if (path := _find_file(places[0], stem)) is not None]


def _read_split(images_path: Path, labels_path: Path) -> ArraySplit:
    # Counts may be below the published ones, so that tests and users can have smaller files;
    # train.check compares them with the published counts.
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
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
