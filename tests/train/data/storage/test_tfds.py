import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.image_files import write_prepared
from train.data import load
from train.data.storage.tfds import find_newest_version
from train.errors import UserError

# array_record has no packages for Windows and macOS.
pytest.importorskip("array_record")
RNG = np.random.default_rng(0)
IMAGES = {
    split: RNG.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    for split, n in (("train", 5), ("test", 3))
}
LABELS = {"train": [3, 1, 4, 1, 5], "test": [9, 2, 6]}


def prepare(root: Path, name: str, *, file_format: str = "array_record", labels=LABELS) -> Path:
    return write_prepared(root, name, IMAGES, labels, file_format=file_format)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_prepared_folders_are_read_exactly_and_without_tensorflow(tmp_path, name):
    prepare(tmp_path, name)
    dataset = load(name, tmp_path)
    for split, which in ((dataset.train, "train"), (dataset.test, "test")):
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        assert (split.images == IMAGES[which]).all() and split.labels.tolist() == LABELS[which]
    assert "tensorflow" not in sys.modules


def test_the_error_without_tensorflow_datasets_says_how_to_install_it(tmp_path, monkeypatch):
    folder = prepare(tmp_path, "cifar10")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"pip install tensorflow-datasets") as error:
        load("cifar10", tmp_path)
    assert str(folder) in str(error.value)


def test_formats_without_random_access_are_refused(tmp_path):
    folder = prepare(tmp_path, "cifar10", file_format="tfrecord")
    with pytest.raises(UserError, match="prepare it again with file_format=array_record") as error:
        load("cifar10", tmp_path)
    assert str(folder) in str(error.value)


def test_a_damaged_shard_is_refused(tmp_path):
    folder = prepare(tmp_path, "cifar10")
    shard = folder / "cifar10-test.array_record-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot read the split 'test'"):
        load("cifar10", tmp_path)


def test_a_label_out_of_range_is_refused(tmp_path):
    prepare(tmp_path, "cifar10", labels=LABELS | {"train": [0, 1, 2, 3, 10]})
    with pytest.raises(UserError, match="split 'train': expected labels 0..9, got 10"):
        load("cifar10", tmp_path)


def test_the_newest_complete_version_is_read(tmp_path):
    assert find_newest_version(tmp_path, "cifar10") is None
    for version in ("3.0.2", "3.0.10", "9.0.0.incomplete_X"):
        (tmp_path / "cifar10" / version).mkdir(parents=True)
        (tmp_path / "cifar10" / version / "dataset_info.json").write_text("{}")
    (tmp_path / "cifar10" / "4.0.0").mkdir()
    assert find_newest_version(tmp_path, "cifar10") == "3.0.10"
