"""Small data sets as TensorFlow Datasets prepares them: array_record and TFRecord files."""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MODULE = "tensorflow_datasets.core.features."
CASTAGNOLI = 0x82F63B78


def encode_picture(pixels: np.ndarray) -> bytes:
    """Return a PNG of gray or color pixels `[H, W, C]`."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    return content.getvalue()


def encode_example(features: Mapping[str, bytes | int]) -> bytes:
    """Encode a sample as a tf.train.Example."""
    from tensorflow_datasets.proto import tf_example_generated_pb2 as example_pb2
    from tensorflow_datasets.proto import tf_feature_generated_pb2 as feature_pb2

    def encode(value: bytes | int) -> feature_pb2.Feature:
        if isinstance(value, bytes):
            return feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=[value]))
        return feature_pb2.Feature(int64_list=feature_pb2.Int64List(value=[value]))

    encoded = {name: encode(value) for name, value in features.items()}
    made = example_pb2.Example(features=feature_pb2.Features(feature=encoded))
    return made.SerializeToString()


def encode_tfrecord(record: bytes) -> bytes:
    """Return a record with its length and both checksums."""
    length = struct.pack("<Q", len(record))
    return b"".join([length, _mask(length), record, _mask(record)])


def _mask(content: bytes) -> bytes:
    """Return the masked CRC-32C of some bytes."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ CASTAGNOLI * (checksum & 1)
    checksum ^= 0xFFFFFFFF
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_tfds(
    folder: Path,
    splits: Mapping[str, Sequence[tuple[np.ndarray, int]]],
    classes: Sequence[str],
    *,
    file_format: str = "array_record",
    shape: tuple[int, ...] = (-1, -1, 3),
    keys: tuple[str, str] = ("image", "label"),
    other: str = "",
) -> Path:
    """Write pairs of pixels and label by split to `folder`, `NAME/VERSION`; return the folder.

    With `other` each sample also has a label of this name, 0 of 2 classes.
    """
    folder.mkdir(parents=True)
    name = folder.parents[0].name
    listed = []
    for split, pairs in splits.items():
        records = [
            encode_example(
                {keys[0]: encode_picture(pixels), keys[1]: label} | ({other: 0} if other else {})
            )
            for pixels, label in pairs
        ]
        file = folder / f"{name}-{split}.{file_format}-00000-of-00001"
        if file_format == "tfrecord":
            file.write_bytes(b"".join(map(encode_tfrecord, records)))
        else:
            _write_array_record(file, records)
        listed.append(
            {
                "name": split,
                "shardLengths": [str(len(records))],
                "numBytes": str(sum(map(len, records))),
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    features = {
        keys[0]: {
            "pythonClassName": f"{MODULE}image_feature.Image",
            "image": {"shape": {"dimensions": list(map(str, shape))}, "dtype": "uint8"},
        }
    }
    for key, count in {keys[1]: len(classes), other: 2}.items():
        if key:
            features[key] = {
                "pythonClassName": f"{MODULE}class_label_feature.ClassLabel",
                "classLabel": {"numClasses": str(count)},
            }
    info = {"name": name, "version": folder.name, "fileFormat": file_format, "splits": listed}
    info["supervisedKeys"] = {"tuple": {"items": [{"featureKey": key} for key in keys]}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / f"{keys[1]}.labels.txt").write_text("\n".join(classes) + "\n")
    top = {"pythonClassName": f"{MODULE}features_dict.FeaturesDict"}
    (folder / "features.json").write_text(
        json.dumps(top | {"featuresDict": {"features": features}})
    )
    return folder


def _write_array_record(file: Path, records: Sequence[bytes]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(file), "group_size:1")
    for each in records:
        writer.write(each)
    writer.close()
