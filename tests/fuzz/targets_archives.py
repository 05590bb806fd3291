"""Targets: archives, files and folders of data sets, prepared data and their manifests."""

import gzip
import json
from pathlib import Path
from unittest import mock

import numpy as np

from tests.fuzz.core import SLOW_SHARE, FileTarget
from tests.train.data.images.test_cifar import IMAGES, LABELS, make_cifar10_files
from tests.train.data.images.test_mnist import FILES as MNIST
from tests.train.data.storage.test_archives import pack_tar, pack_zip
from tests.train.event_files import (
    make_cifar10_dvs,
    make_gestures,
    make_n_mnist,
    make_tonic_gestures,
    make_zip,
    write,
    zip_classes,
)
from tests.train.image_files import (
    encode_binary,
    pickle_as_python3,
    write_folder,
    write_idx,
)
from tests.train.image_files import write_prepared as write_as_tfds
from tests.train.imagenet_files import write_archives
from train.data import load
from train.data.dataset import DataNotFound, Dataset
from train.data.imagenet import source
from train.data.imagenet.array_records import convert
from train.data.imagenet.decode import check_image, decode
from train.errors import UserError

PYTHON = "cifar-10-batches-py"


def make_root(folder: Path, name: str) -> Path:
    root = folder / name
    root.mkdir()
    return root


def check_images(dataset: Dataset, shape: tuple[int, ...]) -> None:
    """Check the shape and the type of images, and the range of their labels."""
    for split in (dataset.train, dataset.test):
        images, labels = split.arrays["image"], split.arrays["label"]
        assert images.dtype == np.uint8 and images.shape[1:] == shape
        assert labels.dtype == np.int32 and labels.shape == images.shape[:1]
        assert len(labels) == 0 or 0 <= labels.min() <= labels.max() < dataset.num_classes


def load_or_refuse(name: str, root: Path, **options: object) -> Dataset:
    """Load a data set; a damaged name of a file may also mean that there is none."""
    try:
        with (
            mock.patch("train.data.images.mnist.download", refuse_download),
            mock.patch("train.data.images.cifar.download", refuse_download),
            mock.patch("train.data.tonic.fetch", return_value=False),
        ):
            return load(name, root, **options)
    except DataNotFound as error:
        raise UserError(f"{root}: {str(error).splitlines()[0]}") from error


def refuse_download(*_: object) -> None:
    raise UserError("downloads are not fuzzed")


def write_cifar_archives(folder: Path) -> list[Path]:
    """Write CIFAR-10 in archives of every kind, with pickles of Python 2 and 3."""
    named = {f"{PYTHON}/{name}": raw for name, raw in make_cifar10_files().items()}
    newer = make_cifar10_files(pickle_as_python3)
    roots = [make_root(folder, name) for name in ("gz", "tar", "zip", "xz", "stored")]
    pack_tar(roots[0] / "cifar-10-python.tar.gz", named)
    pack_tar(
        roots[1] / "cifar-10-python.tar", {f"./{PYTHON}/{n}": r for n, r in newer.items()}, "w"
    )
    pack_zip(roots[2] / "cifar-10-python.zip", named)
    pack_tar(roots[3] / "cifar-10-python.tar.xz", named, "w:xz")
    pack_zip(roots[4] / "cifar-10-python.zip", named, 0)
    return roots


def write_cifar_folders(folder: Path) -> list[Path]:
    """Write CIFAR-10 as extracted pickles and as binary files."""
    roots = [make_root(folder, name) for name in ("python2", "python3", "binary")]
    write_folder(roots[0] / PYTHON, make_cifar10_files())
    write_folder(roots[1] / PYTHON, make_cifar10_files(pickle_as_python3))
    binary = {f"{name}.bin": encode_binary(IMAGES[name], LABELS[name]) for name in IMAGES}
    write_folder(roots[2] / "cifar-10-batches-bin", binary)
    return roots


def read_cifar(root: Path) -> None:
    check_images(load_or_refuse("cifar10", root), (32, 32, 3))


def write_tfds(folder: Path) -> list[Path]:
    """Write CIFAR-10 as TensorFlow Datasets prepares it."""
    root = make_root(folder, "tfds")
    splits = {"train": "data_batch_1", "test": "test_batch"}
    images = {split: IMAGES[name] for split, name in splits.items()}
    labels = {split: LABELS[name] for split, name in splits.items()}
    write_as_tfds(root, "cifar10", images, labels)
    return [root]


def write_mnist(folder: Path) -> list[Path]:
    """Write MNIST plain, compressed, and in an archive."""
    roots = [make_root(folder, name) for name in ("plain", "gz", "zip")]
    write_idx(roots[0], MNIST, gzipped=False)
    write_idx(roots[1], MNIST)
    files = {file.name: file.read_bytes() for file in roots[1].iterdir()}
    pack_zip(roots[2] / "mnist.zip", files, 0)
    return roots


def read_mnist(root: Path) -> None:
    check_images(load_or_refuse("mnist", root), (28, 28, 1))


def write_event_archives(folder: Path) -> list[Path]:
    """Write the archives of three data sets of events; the first word of a name says which."""
    names = ("dvs_gesture gz", "dvs_gesture tar", "dvs_gesture tonic", "n_mnist zip")
    roots = [make_root(folder, name) for name in (*names, "cifar10_dvs zips", "cifar10_dvs one")]
    gestures = {f"DvsGesture/{name}": raw for name, raw in make_gestures().items()}
    pack_tar(roots[0] / "DvsGesture.tar.gz", gestures)
    pack_tar(roots[1] / "DvsGesture.tar", gestures, "w")
    for name, files in make_tonic_gestures().items():
        pack_tar(roots[2] / f"{name}.tar.gz", files)
    write(roots[3], {f"{name}.zip": make_zip(files) for name, files in make_n_mnist().items()})
    recordings = make_cifar10_dvs((0, 900))
    write(roots[4], zip_classes(recordings))
    write(roots[5], {"CIFAR10DVS.zip": make_zip(zip_classes(recordings))})
    return roots


def read_event_archives(root: Path) -> None:
    options = {"num_frames": 1}
    name = root.name.split()[0]
    dataset = load_or_refuse(name, root, **options, **({} if name == "n_mnist" else {"size": 8}))
    for split in (dataset.train, dataset.test):
        images = split.arrays["image"]
        assert images.shape[1] == 1 and images.shape[-1] == 2 and np.isfinite(images).all()
        assert (images >= 0).all()


def write_gesture_texts(folder: Path) -> list[Path]:
    """Write the lists and tables of gestures, next to recordings that are not damaged."""
    root = make_root(folder, "DvsGesture")
    write(root, make_gestures())
    for name in ("user01_led.aedat", "user29_lab.aedat", "README.txt"):
        (root / name).rename(folder.parent / name)
    return [root]


def read_gesture_texts(root: Path) -> None:
    for name in ("user01_led.aedat", "user29_lab.aedat"):
        (root / name).write_bytes((root.parents[1] / name).read_bytes())
    dataset = load_or_refuse("dvs_gesture", root.parent, num_frames=1, size=8)
    for split in (dataset.train, dataset.test):
        assert ((split.arrays["label"] >= 0) & (split.arrays["label"] < 11)).all()


def write_imagenet(folder: Path) -> list[Path]:
    """Write ImageNet's archives, with the development kit, and with a list of labels."""
    roots = [make_root(folder, name) for name in ("devkit", "list", "extracted")]
    write_archives(roots[0])
    write_archives(roots[1], devkit=False)
    write_archives(roots[2])
    kit = roots[2] / "ILSVRC2012_devkit_t12.tar.gz"
    kit.with_suffix("").write_bytes(gzip.decompress(kit.read_bytes()))
    kit.unlink()
    return roots


def read_imagenet(root: Path) -> None:
    try:
        plan = source.plan(root)
    except DataNotFound as error:
        raise UserError(f"{root}: {str(error).splitlines()[0]}") from error
    assert len(plan.classes) >= 2
    for shard in plan.shards:
        for piece in shard.pieces:
            for place, label, content in piece.samples():
                check_image(content, place)
                assert 0 <= label < len(plan.classes)


def write_prepared(folder: Path) -> list[Path]:
    archives = write_archives(folder.parent / "source")
    convert(source.plan(archives), folder / "imagenet", workers=1)
    return [folder / "imagenet"]


def read_prepared(root: Path) -> None:
    dataset = load_or_refuse("imagenet", root, size=8)
    for split in (dataset.train, dataset.test):
        records = split.read.args[0]
        for index in range(len(records)):
            place, label, content = records[index]
            assert 0 <= label < dataset.num_classes
            assert decode(content, place).mode == "RGB"


def write_manifests(folder: Path) -> list[Path]:
    """Write a manifest whose files are replaced by empty ones: only the JSON is damaged."""
    archives = write_archives(folder.parent / "source")
    convert(source.plan(archives), folder.parent / "whole", workers=1)
    root = make_root(folder, "imagenet")
    manifest = json.loads((folder.parent / "whole" / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps(manifest))
    return [root]


def read_manifests(root: Path) -> None:
    for file in (root.parents[1] / "whole").glob("*.array_record"):
        (root / file.name).write_bytes(file.read_bytes())
    read_prepared(root)


TARGETS = [
    FileTarget("CIFAR archives", write_cifar_archives, read_cifar),
    FileTarget("CIFAR folders", write_cifar_folders, read_cifar),
    FileTarget("CIFAR of tfds", write_tfds, read_cifar),
    FileTarget("MNIST", write_mnist, read_mnist),
    FileTarget("archives of events", write_event_archives, read_event_archives),
    FileTarget("lists of gestures", write_gesture_texts, read_gesture_texts),
    FileTarget("ImageNet archives", write_imagenet, read_imagenet, share=SLOW_SHARE),
    FileTarget("prepared ImageNet", write_prepared, read_prepared),
    FileTarget("manifest of ImageNet", write_manifests, read_manifests),
]
