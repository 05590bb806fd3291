"""A run trains on every format of image data, read from files."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.train.helpers import limit_devices, load_records, read_contents, run_main
from tests.train.image_files import (
    encode_binary,
    pickle_as_python2,
    save_image,
    write_archive,
    write_folder,
    write_idx,
    write_prepared,
)
from tests.train.imagenet_files import write_folders
from train import data
from train.data.imagenet import source as imagenet_source
from train.data.imagenet.array_records import convert

pytestmark = pytest.mark.usefixtures("no_figures")

STEPS, BATCH = 3, 4
TRAINED, TESTED = STEPS * BATCH, 5  # The last test batch is not full.
BATCHES = {f"data_batch_{i}": count for i, count in enumerate((3, 3, 2, 2, 2), start=1)}


def make_noise(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def make_labels(count: int) -> list[int]:
    return [i % 10 for i in range(count)]


def write_idx_files(folder: Path, *, gzipped: bool) -> None:
    arrays = {}
    for split, count in (("train", TRAINED), ("t10k", TESTED)):
        arrays[f"{split}-images-idx3-ubyte"] = make_noise(count, 28, 28)
        arrays[f"{split}-labels-idx1-ubyte"] = np.array(make_labels(count), np.uint8)
    write_idx(folder, arrays, gzipped=gzipped)


def make_pickles() -> dict[str, bytes]:
    counts = BATCHES | {"test_batch": TESTED}
    return {
        name: pickle_as_python2(make_noise(count, 32, 32, 3), labels=make_labels(count))
        for name, count in counts.items()
    }


def make_binaries() -> dict[str, bytes]:
    counts = BATCHES | {"test_batch": TESTED}
    return {
        f"{name}.bin": encode_binary(make_noise(count, 32, 32, 3), make_labels(count))
        for name, count in counts.items()
    }


def make_fine(names: tuple[str, str], *, pickled: bool) -> dict[str, bytes]:
    files = {}
    for name, count in zip(names, (TRAINED, TESTED), strict=True):
        images, wanted, coarse = make_noise(count, 32, 32, 3), make_labels(count), [0] * count
        files[name] = (
            pickle_as_python2(images, fine_labels=wanted, coarse_labels=coarse)
            if pickled
            else encode_binary(images, coarse, wanted)
        )
    return files


def write_tfds_files(root: Path, name: str) -> None:
    pytest.importorskip("array_record")
    pytest.importorskip("tensorflow_datasets")
    images = {"train": make_noise(TRAINED, 32, 32, 3), "test": make_noise(TESTED, 32, 32, 3)}
    write_prepared(root, name, images, {"train": make_labels(TRAINED), "test": make_labels(TESTED)})


def write_pictures(root: Path) -> None:
    for split, count in (("train", TRAINED), ("val", TESTED)):
        for i, image in enumerate(make_noise(count, 9, 12, 3)):
            save_image(
                root / split / ("ant", "bee")[i % 2] / f"{i}{('.png', '.jpg')[i % 2]}", image
            )


def write_imagenet(root: Path) -> None:
    pytest.importorskip("array_record")
    pytest.importorskip("grain")
    source = root.with_name("source")
    convert(imagenet_source.plan(write_folders(source)), root, workers=1)


# The name of the data set, and a function that writes its files into a folder.
FORMATS = {
    "mnist, gzipped": ("mnist", lambda root: write_idx_files(root / "mnist", gzipped=True)),
    "mnist, plain": ("mnist", lambda root: write_idx_files(root / "MNIST/raw", gzipped=False)),
    "fashion_mnist, gzipped": (
        "fashion_mnist",
        lambda root: write_idx_files(root / "FashionMNIST/raw", gzipped=True),
    ),
    "fashion_mnist, plain": ("fashion_mnist", lambda root: write_idx_files(root, gzipped=False)),
    "cifar10, python archive": (
        "cifar10",
        lambda root: write_archive(
            root / "cifar-10-python.tar.gz", "cifar-10-batches-py", make_pickles()
        ),
    ),
    "cifar10, python folder": (
        "cifar10",
        lambda root: write_folder(root / "cifar-10-batches-py", make_pickles()),
    ),
    "cifar10, binary archive": (
        "cifar10",
        lambda root: write_archive(
            root / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", make_binaries()
        ),
    ),
    "cifar10, binary folder": (
        "cifar10",
        lambda root: write_folder(root / "cifar-10-batches-bin", make_binaries()),
    ),
    "cifar10, tfds": ("cifar10", lambda root: write_tfds_files(root, "cifar10")),
    "cifar100, python archive": (
        "cifar100",
        lambda root: write_archive(
            root / "cifar-100-python.tar.gz",
            "cifar-100-python",
            make_fine(("train", "test"), pickled=True),
        ),
    ),
    "cifar100, binary folder": (
        "cifar100",
        lambda root: write_folder(
            root / "cifar-100-binary", make_fine(("train.bin", "test.bin"), pickled=False)
        ),
    ),
    "cifar100, tfds": ("cifar100", lambda root: write_tfds_files(root, "cifar100")),
    "folder": ("folder", write_pictures),
    "imagenet": ("imagenet", write_imagenet),
}


def write(tmp_path: Path, layout: str) -> tuple[str, Path]:
    """Write the files of a data set; return its name and its folder."""
    name, written = FORMATS[layout]
    root = tmp_path / "data"
    root.mkdir()
    written(root)
    return name, root


# One data set. The tests in tests/train/data/images show that all layouts of all of them are read
# exactly.
QUICK = ("cifar100, python archive",)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(layout, marks=() if layout in QUICK else pytest.mark.slow)
        for layout in FORMATS
        if layout != "imagenet"
    ],
)
def test_a_run_trains_on_image_files(tmp_path, layout):
    name, root = write(tmp_path, layout)
    before, run = read_contents(root), tmp_path / "run"
    config = ("--config", f"tests/train/tiny_images.py:{name}", "--config.cpu_devices=4")
    with limit_devices(1):
        assert run_main(*config, f"--config.data.data_dir={root}", "--workdir", str(run)) == 0
    (record,) = load_records(run)
    assert record["step"] == STEPS and 0 < record["train_loss"] < 20
    # A whole number of images: padding is not counted.
    assert record["test_accuracy"] * TESTED == pytest.approx(
        round(record["test_accuracy"] * TESTED)
    )
    assert json.loads((run / "summary.json").read_text())["best_epoch"] == 1
    assert read_contents(root) == before


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("layout", FORMATS)
def test_reading_images_writes_nothing_into_their_folder(tmp_path, layout):
    name, root = write(tmp_path, layout)
    before = read_contents(root)
    dataset = data.load(name, root)
    if name == "imagenet":
        for split in (dataset.train, dataset.test):
            split.verify()
            for index in range(len(split)):
                split.read(index, np.random.default_rng(0))
    assert read_contents(root) == before
