from pathlib import Path

import numpy as np
import pytest

from tests.train.image_files import write_idx
from train.data import DataNotFound, load
from train.data.images import mnist
from train.errors import UserError

RNG = np.random.default_rng(0)
TRAIN, TEST = (RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (5, 3))
FILES = {
    "train-images-idx3-ubyte": TRAIN,
    "train-labels-idx1-ubyte": np.array([9, 0, 3, 3, 1], np.uint8),
    "t10k-images-idx3-ubyte": TEST,
    "t10k-labels-idx1-ubyte": np.array([2, 7, 0], np.uint8),
}


def write(folder: Path, *, gzipped: bool = True, **changed: np.ndarray) -> None:
    write_idx(folder, {**FILES, **changed}, gzipped=gzipped)


@pytest.fixture(autouse=True)
def no_debian_package(request, tmp_path, monkeypatch):
    if "installed" not in request.node.name:
        monkeypatch.setattr(mnist, "DEBIAN", tmp_path / "debian")


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize(
    "name, folder",
    [
        ("fashion_mnist", "data/fashion-mnist"),
        ("fashion_mnist", "data/FashionMNIST/raw"),
        ("fashion_mnist", "data"),
        ("fashion_mnist", "debian"),
        ("mnist", "data/mnist"),
        ("mnist", "data/MNIST/raw"),
        ("mnist", "data"),
    ],
)
def test_images_and_labels_are_read_exactly_from_every_place(tmp_path, name, folder, gzipped):
    write(tmp_path / folder, gzipped=gzipped)
    dataset = load(name, tmp_path / "data")
    assert dataset.name == name
    assert (dataset.train.images == TRAIN[..., None]).all()
    assert (dataset.test.images == TEST[..., None]).all()
    assert dataset.train.labels.tolist() == [9, 0, 3, 3, 1]
    assert dataset.test.labels.tolist() == [2, 7, 0]
    assert dataset.train.labels.dtype == np.int32


def test_the_first_complete_folder_is_read(tmp_path):
    write(tmp_path / "data" / "fashion-mnist")
    (tmp_path / "data" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    write(tmp_path / "data" / "FashionMNIST" / "raw")
    write(tmp_path / "data", **{"t10k-labels-idx1-ubyte": np.array([1, 1, 1], np.uint8)})
    assert load("fashion_mnist", tmp_path / "data").test.labels.tolist() == [2, 7, 0]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_missing_files_are_downloaded_and_read(tmp_path, monkeypatch, name):
    write(tmp_path / "server")
    asked = {}

    def fetch(remote, target):
        asked[remote.url.rpartition("/")[2]] = (target.name, len(remote.md5))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tmp_path / "server" / target.name).read_bytes())

    monkeypatch.setattr(mnist, "download", fetch)
    assert (load(name, tmp_path / "data").test.images == TEST[..., None]).all()
    assert asked == {f"{stem}.gz": (f"{stem}.gz", 32) for stem in FILES}
    asked.clear()
    missing = tmp_path / "data" / name.replace("_", "-") / "t10k-labels-idx1-ubyte.gz"
    missing.unlink()
    load(name, tmp_path / "data")
    assert list(asked) == [missing.name]  # Only the missing file.


@pytest.mark.usefixtures("no_network")
def test_mnist_is_not_searched_in_debians_folder_of_fashion_mnist(tmp_path):
    write(tmp_path / "debian")
    assert load("fashion_mnist", tmp_path / "data").test.labels.tolist() == [2, 7, 0]
    with pytest.raises(DataNotFound, match="mnist/: the four|ossci-datasets.*\n.*no network here"):
        load("mnist", tmp_path / "data")


@pytest.mark.usefixtures("no_network")
def test_the_error_for_missing_data_has_each_place_and_its_missing_files(tmp_path):
    write(tmp_path / "data" / "fashion-mnist")
    (tmp_path / "data" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataNotFound) as error:
        load("fashion_mnist", tmp_path / "data")
    message = str(error.value)
    assert f"{tmp_path}/data/fashion-mnist: no t10k-labels-idx1-ubyte (plain or .gz)\n" in message
    for place in ("data/FashionMNIST/raw", "data", "debian"):
        assert f"{tmp_path / place}: no train-images-idx3-ubyte, train-labels" in message
    assert "apt-get install dataset-fashion-mnist" in message


@pytest.mark.parametrize(
    "stem, array, problem",
    [
        ("train-images-idx3-ubyte", TRAIN[:, 1:], r"expected 28x28 images, got \(27, 28\)"),
        ("train-images-idx3-ubyte", TRAIN[:0], "expected images, got none. Replace the file"),
        ("t10k-images-idx3-ubyte", TEST[:0], "expected images, got none. Replace the file"),
        ("t10k-images-idx3-ubyte", TEST[0], "expected 3 axes, got 2"),
        ("t10k-labels-idx1-ubyte", np.zeros(2, np.uint8), "expected 3 labels, one .*, got 2"),
        ("train-labels-idx1-ubyte", np.full(5, 10, np.uint8), "expected labels 0..9, got 10"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path, stem, array, problem):
    write(tmp_path, **{stem: array})
    with pytest.raises(UserError, match=f"{tmp_path}/{stem}.gz: {problem}"):
        load("fashion_mnist", tmp_path)


@pytest.mark.skipif(not mnist.DEBIAN.is_dir(), reason="dataset-fashion-mnist not there")
def test_the_installed_package_has_the_published_size_mean_and_std(tmp_path):
    dataset = load("fashion_mnist", tmp_path)
    assert dataset.train.images.shape == (60_000, 28, 28, 1)
    assert dataset.test.images.shape == (10_000, 28, 28, 1)
    assert (np.bincount(dataset.train.labels) == 6_000).all()
    assert (np.bincount(dataset.test.labels) == 1_000).all()
    counts, values = np.bincount(dataset.train.images.ravel(), minlength=256), np.arange(256) / 255
    mean = np.average(values, weights=counts)
    std = np.average((values - mean) ** 2, weights=counts) ** 0.5
    assert dataset.mean == pytest.approx([mean], abs=5e-5)
    assert dataset.std == pytest.approx([std], abs=5e-5)
