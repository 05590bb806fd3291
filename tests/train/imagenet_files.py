"""A small ImageNet: three classes of noise, in every layout in which people have it."""

import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from train.data import prepare
from train.data.imagenet import array_records

CLASSES = ("n01440764", "n02105855", "n15075141")
TRAIN = {"n01440764": 5, "n02105855": 4, "n15075141": 7}
# The class of each validation image; classes are numbered by name.
TESTED = (2, 0, 1, 1, 0)
# The development kit numbers them from 1 in a different order, then lists families of classes.
DEVKIT_ID = {"n15075141": 1, "n01440764": 2, "n02105855": 3}
DEVKIT = "ILSVRC2012_devkit_t12"


def make_jpeg(*seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    """Return a JPEG of noise of `size` (width, height)."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], bands), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise.squeeze(), mode).save(file, "JPEG")
    return file.getvalue()


def break_huffman_tables(content: bytes) -> bytes:
    """Return the JPEG with a scan that refers to missing Huffman tables."""
    scan = content.index(b"\xff\xda")
    return content[: scan + 6] + b"\x33" + content[scan + 7 :]


def make_training_images() -> list[tuple[int, str, bytes]]:
    """Return label, name and file of every training image, class by class."""
    images = []
    for label, (name, count) in enumerate(TRAIN.items()):
        for i in range(count):
            # ImageNet has some gray and some CMYK images.
            mode = {(0, 1): "L", (1, 2): "CMYK"}.get((label, i), "RGB")
            images.append((label, f"{name}_{i}.JPEG", make_jpeg(0, label, i, mode=mode)))
    return images


def make_validation_images() -> list[tuple[int, str, bytes]]:
    """Return label, name and file of every validation image, in their order."""
    return [
        (label, f"ILSVRC2012_val_{i:08d}.JPEG", make_jpeg(1, i, size=(30 + i, 40)))
        for i, label in enumerate(TESTED, start=1)
    ]


def make_tar(files: dict[str, bytes]) -> bytes:
    """Return an archive in the POSIX format of 1988, built header by header, with its end mark."""
    blocks = []
    for name, content in files.items():
        header = bytearray(512)
        header[0:100] = name.encode().ljust(100, b"\0")
        header[100:108], header[108:116], header[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
        header[124:136], header[136:148] = b"%011o\0" % len(content), b"00000000000\0"
        header[148:156], header[156:157] = b" " * 8, b"0"
        header[257:265] = b"ustar\x0000"
        header[148:156] = b"%06o\0 " % sum(header)
        blocks += [bytes(header), content.ljust(-(-len(content) // 512) * 512, b"\0")]
    return b"".join(blocks).ljust(sum(map(len, blocks)) + 1024, b"\0")


def write_archives(folder: Path, *, devkit: bool = True) -> Path:
    """Write the official archives: one of archives, one of images, and the labels of the latter.

    Without `devkit` the labels are in a text file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inner = {
        f"{name}.tar": make_tar(
            {file: content for i, file, content in make_training_images() if i == label}
        )
        for label, name in enumerate(CLASSES)
    }
    # Not in the order of their names.
    (folder / "ILSVRC2012_img_train.tar").write_bytes(make_tar(dict(reversed(inner.items()))))
    images = {file: content for _, file, content in reversed(make_validation_images())}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(make_tar(images))
    if devkit:
        kit = make_tar(
            {f"{DEVKIT}/data/{name}": content for name, content in make_devkit().items()}
        )
        (folder / f"{DEVKIT}.tar.gz").write_bytes(gzip.compress(kit))
    else:
        lines = "".join(f"{CLASSES[label]}\n" for label in TESTED)
        (folder / "imagenet_2012_validation_synset_labels.txt").write_text(lines)
    return folder


def make_devkit() -> dict[str, bytes]:
    """Return the two files of the development kit that are read: a MATLAB table, and the labels."""
    kinds = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("num_children", "f8")]
    rows = [(number, name, "a thing", 0) for name, number in DEVKIT_ID.items()]
    rows.append((4, "n00001740", "a family of things", 3))
    table = np.array(rows, dtype=kinds).reshape(-1, 1)
    meta = io.BytesIO()
    savemat(meta, {"synsets": table})
    truth = "".join(f"{DEVKIT_ID[CLASSES[label]]}\n" for label in TESTED)
    return {
        "meta.mat": meta.getvalue(),
        "ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }


def write_folders(folder: Path) -> Path:
    """Write one folder per class in train and val, as many tools extract the archives."""
    for split, images in (("train", make_training_images()), ("val", make_validation_images())):
        for label, file, content in images:
            path = folder / split / CLASSES[label] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def write_prepared(root: Path) -> Path:
    """Write shards of tf.train.Example, as tfds does, and the files that describe them."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_generated_pb2 as example_pb2
    from tensorflow_datasets.proto import tf_feature_generated_pb2 as feature_pb2

    def record(label: int, name: str, content: bytes) -> bytes:
        def text(value: bytes) -> feature_pb2.Feature:
            return feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=[value]))

        number = feature_pb2.Feature(int64_list=feature_pb2.Int64List(value=[label]))
        features = {"file_name": text(name.encode()), "image": text(content), "label": number}
        example = example_pb2.Example(features=feature_pb2.Features(feature=features))
        return example.SerializeToString()

    folder = root / "imagenet2012" / "5.1.0"
    folder.mkdir(parents=True)
    splits = []
    for split, images in (
        ("train", make_training_images()),
        ("validation", make_validation_images()),
    ):
        file = folder / f"imagenet2012-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for image in images:
            writer.write(record(*image))
        writer.close()
        name = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"name": split, "shardLengths": [str(len(images))], "filepathTemplate": name})
    core = "tensorflow_datasets.core.features."
    features = {
        "image": {
            "pythonClassName": f"{core}image_feature.Image",
            "image": {
                "shape": {"dimensions": ["-1", "-1", "3"]},
                "dtype": "uint8",
                "encodingFormat": "jpeg",
            },
        },
        "label": {
            "pythonClassName": f"{core}class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(len(CLASSES))},
        },
        "file_name": {"pythonClassName": f"{core}text_feature.Text", "text": {}},
    }
    top = {"pythonClassName": f"{core}features_dict.FeaturesDict"}
    info = {"name": "imagenet2012", "version": "5.1.0", "fileFormat": "array_record"}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": splits}))
    (folder / "features.json").write_text(
        json.dumps(top | {"featuresDict": {"features": features}})
    )
    (folder / "label.labels.txt").write_text("\n".join(CLASSES))
    return root


def run_prepare(source: Path, out: Path, *options: str, workers: int = 1) -> int:
    """Run `python -m train.data.prepare imagenet` in this process; return its exit code."""
    arguments = ("--source", str(source), "--out", str(out), "--workers", str(workers))
    return prepare.main(["prepare", "imagenet", *arguments, *options])


def read_stored(out: Path, split: str) -> list[tuple[int, bytes]]:
    """Return label and file of every record of a split."""
    manifest = array_records.read_manifest(out)
    found = array_records.ImageRecords(out, manifest, split)
    return [(found[i].label, found[i].content) for i in range(len(found))]


def drop_names(images: Iterable[tuple[int, str, bytes]]) -> list[tuple[int, bytes]]:
    """Return label and file of every image."""
    return [(label, content) for label, _, content in images]


def run_refused_prepare(
    capsys: pytest.CaptureFixture[str], source: Path, out: Path, *options: str
) -> str:
    """Run the command, assert that it ends in an error, and return what it printed."""
    assert run_prepare(source, out, *options) == 2
    return capsys.readouterr().err
