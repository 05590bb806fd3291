import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.proto import tf_example_generated_pb2 as example_pb2
from tensorflow_datasets.proto import tf_feature_generated_pb2 as feature_pb2

from train.data import load
from train.data.prepared import newest_version
from train.errors import UserError

# There is none for Windows and macOS.
ArrayRecordWriter = pytest.importorskip("array_record.python.array_record_module").ArrayRecordWriter
RNG = np.random.default_rng(0)
IMAGES = {
    split: RNG.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    for split, n in (("train", 5), ("test", 3))
}
LABELS = {"train": [3, 1, 4, 1, 5], "test": [9, 2, 6]}


def record(image: np.ndarray, label: int) -> bytes:
    """One image as tfds stores it: a tf.train.Example with a PNG in it."""
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG")
    features = {
        "id": feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=[b"an_id"])),
        "image": feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=[png.getvalue()])),
        "label": feature_pb2.Feature(int64_list=feature_pb2.Int64List(value=[label])),
    }
    example = example_pb2.Example(features=feature_pb2.Features(feature=features))
    return example.SerializeToString()


def prepare(root: Path, name: str, *, file_format: str = "array_record", labels=LABELS) -> Path:
    folder = root / name / "3.0.2"
    folder.mkdir(parents=True)
    splits = []
    for split, images in IMAGES.items():
        records = [record(x, y) for x, y in zip(images, labels[split], strict=True)]
        writer = ArrayRecordWriter(
            f"{folder}/{name}-{split}.{file_format}-00000-of-00001", "group_size:1"
        )
        for each in records:
            writer.write(each)
        writer.close()
        splits.append(
            {
                "name": split,
                "shardLengths": [str(len(records))],
                "numBytes": str(sum(map(len, records))),
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    module = "tensorflow_datasets.core.features."
    features = {
        "id": {"pythonClassName": f"{module}text_feature.Text", "text": {}},
        "image": {
            "pythonClassName": f"{module}image_feature.Image",
            "image": {"shape": {"dimensions": ["32", "32", "3"]}, "dtype": "uint8"},
        },
        "label": {
            "pythonClassName": f"{module}class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "100" if name == "cifar100" else "10"},
        },
    }
    top = {"pythonClassName": f"{module}features_dict.FeaturesDict"}
    info = {"name": name, "version": "3.0.2", "fileFormat": file_format, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(
        json.dumps(top | {"featuresDict": {"features": features}})
    )
    return folder


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_prepared_folder_is_read_exactly_and_without_tensorflow(tmp_path, name):
    prepare(tmp_path, name)
    dataset = load(name, tmp_path)
    for split, which in ((dataset.train, "train"), (dataset.test, "test")):
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        assert (split.images == IMAGES[which]).all() and split.labels.tolist() == LABELS[which]
    assert "tensorflow" not in sys.modules


def test_without_tensorflow_datasets_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    folder = prepare(tmp_path, "cifar10")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"pip install tensorflow-datasets") as error:
        load("cifar10", tmp_path)
    assert str(folder) in str(error.value)


def test_a_folder_in_a_format_without_random_access_is_refused_with_the_one_to_use(tmp_path):
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


def test_the_newest_whole_version_is_chosen(tmp_path):
    assert newest_version(tmp_path, "cifar10") is None
    for version in ("3.0.2", "3.0.10", "9.0.0.incomplete_X"):
        (tmp_path / "cifar10" / version).mkdir(parents=True)
        (tmp_path / "cifar10" / version / "dataset_info.json").write_text("{}")
    (tmp_path / "cifar10" / "4.0.0").mkdir()
    assert newest_version(tmp_path, "cifar10") == "3.0.10"
