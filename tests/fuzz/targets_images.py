"""Targets: image files of every format, folders of images, their labels, and arrays of users."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tests.fuzz.core import FileTarget, ValueTarget
from train.data.dataset import Dataset, check_labels, describe_data
from train.data.imagenet.decode import check_image
from train.data.images.class_folders import order_names
from train.data.images.folder import folder
from train.data.images.picture import open_image
from train.data.own import make_dataset
from train.evaluate.folder import find_labels

FORMATS = "AVIF BMP DDS GIF ICNS ICO JPEG JPEG2000 PCX PNG PPM QOI SGI TGA TIFF WEBP XBM".split()
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
ENDINGS = {"JPEG2000": "jp2"}


def write_images(place: Path) -> list[Path]:
    """Write an image of each format in each mode that the format stores."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for kind in FORMATS:
        for mode in MODES:
            image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
            if mode == "I;16":
                image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
            file = place / f"{kind}-{mode.replace(';', '')}.{ENDINGS.get(kind, kind.lower())}"
            try:
                image.save(file, kind, exif=exif)
            except Exception:  # Pillow does not write this mode in this format.
                file.unlink(missing_ok=True)
            else:
                found.append(file)
    shades = [Image.new("L", (16, 16), shade) for shade in (40, 90)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        file = place / f"series.{kind.lower()}"
        shades[0].save(file, kind, save_all=True, append_images=shades[1:])
        found.append(file)
    return found


def read_image(path: Path) -> None:
    """Open an image as training and as ImageNet does."""
    try:
        image = open_image(path, path)
        assert image.mode == "RGB" and np.asarray(image).shape == (image.height, image.width, 3)
    except ValueError:
        content = path.read_bytes()
        check_image(content, str(path))
        image = open_image(content, path, gray=True, as_stored=True)
        assert image.mode == "L"
        raise


def write_folder(place: Path) -> list[Path]:
    """Write two classes in two splits."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    for split in ("train", "test"):
        for name in ("a", "b"):
            inside = place / "images" / split / name
            inside.mkdir(parents=True)
            Image.fromarray(pixels).save(inside / "x.png")
            Image.fromarray(pixels[..., :3]).save(inside / "x.jpg")
    return [place / "images"]


def read_folder(path: Path) -> None:
    """Load a folder of images as a data set."""
    with redirect_stdout(io.StringIO()):
        check_dataset(folder(path, size=4), (4, 4, 3))


def check_dataset(dataset: Dataset, shape: tuple[int, ...] | None = None) -> None:
    """Check types, ranges and agreement of the splits of a data set in memory."""
    assert shape is None or dataset.train.shape == shape
    for split in (dataset.train, dataset.test):
        assert split.shape == dataset.train.shape and split.dtype == dataset.train.dtype
        assert len(split) > 0 and split.arrays is not None
        check_labels(split.arrays["label"], dataset.num_classes)
        assert np.isfinite(split.arrays["image"]).all()
    assert np.isfinite([*dataset.mean, *dataset.std]).all() and all(s > 0 for s in dataset.std)
    describe_data(dataset)


TYPES = ("bool", "uint8", "int8", "uint16", "int16", "int64", "uint64", "float16", "float64")
IMAGES = st.sampled_from([*TYPES, "complex64", "object", "U2", "datetime64[s]"]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=6, max_side=5))
)
LABELS = st.sampled_from([*TYPES, "U1", "object"]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=2, max_side=5))
)
PLAUSIBLE = st.tuples(
    arrays.arrays("uint8", (4, 3, 3)) | arrays.arrays("float32", (4, 2, 3, 3, 2)),
    arrays.arrays("int64", 4, elements=st.integers(-1, 5)),
)
SPLIT = PLAUSIBLE | st.tuples(IMAGES, LABELS) | st.none() | IMAGES
OTHERS = st.none() | st.lists(st.floats() | st.text(max_size=3), max_size=4) | st.floats()
OWN = st.fixed_dictionaries(
    {"train": SPLIT, "test": SPLIT},
    optional={"classes": OTHERS, "mean": OTHERS, "std": OTHERS, "validation": SPLIT, "x": OTHERS},
)


def check_own(returned: Any) -> None:
    """Make a data set of what a user's function returned."""
    check_dataset(make_dataset("mine:blobs", returned))


NUMBERS = st.integers(0, 12).map(str) | st.integers(0, 12).map("{:02}".format)
NAMES = NUMBERS | st.sampled_from(["a", "A", "b-c", "b_c", "x1", "x2", "x10", "é", "e\u0301"])
FOLDERS = st.lists(NAMES | st.text(min_size=1, max_size=3), min_size=2, max_size=12, unique=True)


def check_names(given: tuple[Sequence[str], Sequence[str], int]) -> None:
    """Find the labels of folders for a network with some names of classes."""
    names, classes, more = given
    count = max(len(classes), 1) if classes else more
    dataset = SimpleNamespace(name="clothes", classes=tuple(classes), num_classes=count)
    labels, _ = find_labels(Path("place"), order_names("place", names), dataset)  # type: ignore[arg-type]
    assert sorted(labels) == sorted(names) and len(set(labels.values())) == len(names)
    assert all(0 <= label < count for label in labels.values())
    for name, label in labels.items():
        if name in classes:
            assert classes[label] == name
        elif not classes and name.isascii() and name.isdecimal() and int(name) < count:
            assert label == int(name) or any(not n.isdecimal() for n in names)


TARGETS = [
    FileTarget("image files", write_images, read_image),
    FileTarget("folders of images", write_folder, read_folder),
    ValueTarget("arrays of own data sets", OWN, check_own, ("mine:blobs",)),
    ValueTarget(
        "names of folders",
        st.tuples(FOLDERS, st.just([]) | FOLDERS, st.integers(1, 12)),
        check_names,
        ("place",),
    ),
]
