"""Small image data sets in their real formats: IDX, CIFAR's archives, tfds, folders of images."""

import gzip
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

# Names of the four files of MNIST and Fashion-MNIST.
STEMS = tuple(
    f"{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


def write_idx(folder: Path, arrays: dict[str, np.ndarray], *, gzipped: bool = True) -> None:
    """Write uint8 arrays as IDX files, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in arrays.items():
        content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        content += array.tobytes()
        name = f"{stem}.gz" if gzipped else stem
        (folder / name).write_bytes(gzip.compress(content) if gzipped else content)


def save_image(path: Path, pixels: object) -> None:
    """Write an image in the format of its file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def _pickle_text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value


def _pickle_integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def make_rows(images: np.ndarray) -> np.ndarray:
    """Return rows of 1024 red, 1024 green and 1024 blue pixels."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def pickle_as_python2(images: np.ndarray, **labels: list[int]) -> bytes:
    """Pickle a batch opcode by opcode, as Python 2 wrote the official ones."""
    data = make_rows(images)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
        + _pickle_text(b"b")
        + b"\x87R"
    )
    array += b"(K\x01" + _pickle_integer(data.shape[0]) + _pickle_integer(data.shape[1]) + b"\x86"
    array += b"cnumpy\ndtype\n" + _pickle_text(b"u1") + b"K\0K\x01\x87R"
    array += (
        b"(K\x03"
        + _pickle_text(b"|")
        + b"NNN"
        + _pickle_integer(-1)
        + _pickle_integer(-1)
        + b"K\0tb"
    )
    array += b"\x89T" + struct.pack("<I", data.size) + data.tobytes() + b"tb"
    items = _pickle_text(b"batch_label") + _pickle_text(b"a batch")
    for key, values in labels.items():
        items += _pickle_text(key.encode()) + b"](" + b"".join(map(_pickle_integer, values)) + b"e"
    items += _pickle_text(b"data") + array
    items += _pickle_text(b"filenames") + b"](" + _pickle_text(b"a_cat.png") * len(images) + b"e"
    return b"\x80\x02}(" + items + b"u."


def pickle_as_python3(images: np.ndarray, **labels: list[int]) -> bytes:
    named = {key.encode(): values for key, values in labels.items()}
    return pickle.dumps({b"data": make_rows(images), **named}, protocol=2)


def encode_binary(images: np.ndarray, *labels: list[int]) -> bytes:
    """Encode rows of one byte per label, then the pixels."""
    return np.concatenate([np.array(labels, np.uint8).T, make_rows(images)], axis=1).tobytes()


def write_archive(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        directory = tarfile.TarInfo(folder)
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def encode_example(image: np.ndarray, label: int) -> bytes:
    """Encode an image as tfds stores it: a tf.train.Example with a PNG."""
    from tensorflow_datasets.proto import tf_example_generated_pb2 as example_pb2
    from tensorflow_datasets.proto import tf_feature_generated_pb2 as feature_pb2

    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG")
    features = {
        "id": feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=[b"an_id"])),
        "image": feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=[png.getvalue()])),
        "label": feature_pb2.Feature(int64_list=feature_pb2.Int64List(value=[label])),
    }
    example = example_pb2.Example(features=feature_pb2.Features(feature=features))
    return example.SerializeToString()


def write_prepared(
    root: Path,
    name: str,
    images: dict[str, np.ndarray],
    labels: dict[str, list[int]],
    *,
    file_format: str = "array_record",
) -> Path:
    """Write CIFAR as tfds does: one shard per split, and the files that describe them."""
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = root / name / "3.0.2"
    folder.mkdir(parents=True)
    splits = []
    for split in images:
        records = [encode_example(x, y) for x, y in zip(images[split], labels[split], strict=True)]
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
