"""Any image data set of TensorFlow Datasets: splits, features, sizes and both formats of files."""

import json
import sys

import numpy as np
import pytest

from pit_jax.reading import FileError
from tests.train.tfds_files import write_tfds
from train.data import DataNotFound, load
from train.errors import UserError

# array_record has no packages for Windows and macOS.
pytest.importorskip("array_record")
RNG = np.random.default_rng(0)
CLASSES = ("daisy", "rose", "tulip")


def draw(count, shape=(6, 8, 3), first=0):
    """Draw images with the labels 0, 1, 2, 0 ..."""
    images = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
    return [(image, (first + label) % 3) for label, image in enumerate(images)]


SPLITS = {"train": draw(5), "test": draw(2), "validation": draw(3)}


def assert_equal(split, pairs):
    assert np.array_equal(split.images, [pixels for pixels, _ in pairs])
    assert split.labels.tolist() == [label for _, label in pairs]


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_splits_are_read_exactly_and_without_tensorflow(tmp_path, file_format):
    write_tfds(tmp_path / "flowers" / "1.0.0", SPLITS, CLASSES, file_format=file_format)
    dataset = load("tfds/flowers", tmp_path)
    for split, pairs in SPLITS.items():
        assert_equal(getattr(dataset, split), pairs)
    assert (dataset.name, dataset.classes) == ("tfds/flowers", CLASSES)
    pixels = dataset.train.images
    assert dataset.mean == pytest.approx(pixels.mean(axis=(0, 1, 2)) / 255)
    assert "tensorflow" not in sys.modules


def test_gray_images_have_one_channel(tmp_path):
    splits = {"train": draw(3, (5, 5, 1)), "test": draw(3, (5, 5, 1))}
    write_tfds(tmp_path / "kmnist" / "3.0.1", splits, CLASSES, shape=(5, 5, 1))
    dataset = load("tfds/kmnist", tmp_path)
    assert_equal(dataset.train, splits["train"])
    assert load("tfds/kmnist", tmp_path, size=4).train.shape == (4, 4, 1)


def test_images_of_several_sizes_need_one_size(tmp_path):
    splits = {"train": [*draw(3), *draw(3, (9, 5, 3))], "test": draw(3, (4, 4, 3))}
    write_tfds(tmp_path / "flowers" / "1.0.0", splits, CLASSES)
    with pytest.raises(UserError, match="images of several sizes. Set config.data.size"):
        load("tfds/flowers", tmp_path)
    dataset = load("tfds/flowers", tmp_path, size=4)
    assert dataset.train.images.shape == (6, 4, 4, 3)
    assert_equal(dataset.test, splits["test"])
    splits = {"train": draw(3), "test": draw(3, (4, 4, 3))}
    write_tfds(tmp_path / "other" / "1.0.0", splits, CLASSES)
    with pytest.raises(UserError, match=r"images of test have the shape \(4, 4, 3\)"):
        load("tfds/other", tmp_path)


def test_a_validation_split_is_for_the_test_if_there_is_no_other(tmp_path):
    splits = {"train": draw(4), "validation": draw(2)}
    write_tfds(tmp_path / "flowers" / "1.0.0", splits, CLASSES)
    dataset = load("tfds/flowers", tmp_path)
    assert_equal(dataset.test, splits["validation"])
    assert dataset.validation is None and not dataset.notes


def test_without_a_test_split_a_share_is_tested_on(tmp_path):
    write_tfds(tmp_path / "flowers" / "1.0.0", {"train": draw(15)}, CLASSES)
    dataset = load("tfds/flowers", tmp_path)
    assert sorted(dataset.test.labels) == [0, 1, 2] and len(dataset.train) == 12
    assert dataset.notes[0].startswith("tfds/flowers has no test split: 3 of 15 samples")


def test_splits_with_hidden_labels_are_not_read(tmp_path):
    hidden = [(pixels, -1) for pixels, _ in draw(2)]
    splits = {"train": draw(4), "test": hidden, "validation": draw(3)}
    write_tfds(tmp_path / "flowers" / "1.0.0", splits, CLASSES)
    dataset = load("tfds/flowers", tmp_path)
    assert_equal(dataset.test, splits["validation"])
    assert dataset.notes == ("tfds/flowers, test: not read, because its 2 labels are hidden",)


def test_the_supervised_keys_choose_between_several_labels(tmp_path):
    folder = tmp_path / "birds" / "1.0.0"
    write_tfds(folder, SPLITS, CLASSES, keys=("photo", "kind"), other="coarse")
    assert_equal(load("tfds/birds", tmp_path).train, SPLITS["train"])
    info = json.loads((folder / "dataset_info.json").read_text())
    del info["supervisedKeys"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="no label for each sample: its features are .*coarse"):
        load("tfds/birds", tmp_path)


def test_the_newest_version_of_a_config_is_read(tmp_path):
    write_tfds(tmp_path / "nette" / "small" / "1.0.0", {"train": draw(9)}, CLASSES)
    newest = {"train": draw(6), "test": draw(3)}
    write_tfds(tmp_path / "nette" / "small" / "1.0.10", newest, CLASSES)
    for name in ("tfds/nette/small", "tfds/nette"):
        assert_equal(load(name, tmp_path).train, newest["train"])
    write_tfds(tmp_path / "nette" / "large" / "1.0.0", newest, CLASSES)
    with pytest.raises(UserError, match="Choose one of tfds/nette/large, tfds/nette/small"):
        load("tfds/nette", tmp_path)


def test_damaged_files_are_refused(tmp_path):
    folder = write_tfds(tmp_path / "a" / "1.0.0", SPLITS, CLASSES, file_format="tfrecord")
    file = next(folder.glob("*train*"))
    content = file.read_bytes()
    for kept in (5, 100, len(content) - 1):
        file.write_bytes(content[:kept])
        with pytest.raises(FileError, match="a-train.tfrecord-00000-of-00001 is damaged"):
            load("tfds/a", tmp_path)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="has 0 of 5 images. Prepare it again"):
        load("tfds/a", tmp_path)
    (folder / "features.json").write_text("{}")
    with pytest.raises(UserError, match="is not a folder of TensorFlow Datasets"):
        load("tfds/a", tmp_path)


def test_labels_out_of_range_are_refused(tmp_path):
    wrong = SPLITS | {"test": [(draw(1)[0][0], 3)]}
    write_tfds(tmp_path / "a" / "1.0.0", wrong, CLASSES)
    with pytest.raises(UserError, match=r"a/1.0.0 \(test\): expected labels 0..2, got 3"):
        load("tfds/a", tmp_path)


def test_a_missing_data_set_is_prepared_by_tfds(tmp_path, monkeypatch, capsys):
    import tensorflow_datasets as tfds

    class Builder:
        def __init__(self, name, data_dir, file_format):
            assert (data_dir, file_format) == (str(tmp_path), "array_record")
            self.data_dir = tmp_path / name / "1.0.0"

        def download_and_prepare(self):
            write_tfds(self.data_dir, SPLITS, CLASSES)

    monkeypatch.setattr(tfds, "builder", Builder)
    assert_equal(load("tfds/flowers", tmp_path).train, SPLITS["train"])
    assert f"is not in {tmp_path}: tensorflow_datasets prepares" in capsys.readouterr().err

    def fail(*_, **__):
        raise RuntimeError("no network here")

    monkeypatch.setattr(tfds, "builder", fail)
    said = "data set 'tfds/other' was not found(.|\n)*download_and_prepare(.|\n)*no network here"
    with pytest.raises(DataNotFound, match=said):
        load("tfds/other", tmp_path)


def test_the_error_without_tensorflow_datasets_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'pit-jax\[tfds\]', or"):
        load("tfds/flowers", tmp_path)


@pytest.mark.parametrize("name", ["tfds/", "tfds/mnist:3.0.1", "tonic/"])
def test_names_without_a_data_set_and_versions_are_refused(name):
    with pytest.raises(UserError, match="give the name of a data set without a version, such as"):
        load(name)


def test_options_of_other_data_sets_are_refused(tmp_path):
    with pytest.raises(UserError, match="no key 'sizes'; tfds_images takes size, test_share"):
        load("tfds/flowers", tmp_path, sizes=3)
    with pytest.raises(UserError, match="size must be a whole number of at least 0, got -1"):
        load("tfds/flowers", tmp_path, size=-1)
