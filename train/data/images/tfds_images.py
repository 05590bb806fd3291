"""Any image data set with classes that TensorFlow Datasets prepares, `tfds/NAME`."""

import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pit_jax.display import print_text
from pit_jax.reading import quote_error, reading

from ...errors import UserError
from ...terminal import track
from ..dataset import ArraySplit, DataNotFound, Dataset, check_labels, check_memory
from ..layouts import SPLITS, check_share, describe_test, split_off
from ..own import measure
from ..storage.tfds import find_newest_version, read_tfrecords
from .folder import check_image_size, crop, read_image
from .picture import describe_changes, open_image

AGAIN = "Prepare it again."


class _Prepared(NamedTuple):
    """A prepared data set: tfds's object for it, and the features that are image and class."""

    name: str
    folder: Path
    builder: Any
    image: str
    label: str

    @property
    def channels(self) -> int:
        """1 for gray images, 3 for color."""
        return 1 if self.builder.info.features[self.image].shape[-1] == 1 else 3


def tfds_images(
    name: str,
    data_dir: str | os.PathLike[str] = "data",
    *,
    size: int = 0,
    test_share: float = 0.2,
) -> Dataset:
    """Return the images `N H W C` of the data set `name` of TensorFlow Datasets, in `data_dir`.

    It is prepared there if it is missing. Files of array_record and of tfrecord are read, without
    TensorFlow. Mean and standard deviation are measured on the training images. Raises `UserError`
    without tensorflow_datasets, for data without images or classes, and for damaged files.

    Args:
        size: height and width to which the largest square in the middle is resized; 0 keeps images
            that all have the same size.
        test_share: the share of the images of each class that become the test split, if there is
            neither a test nor a validation split with labels.
    """
    check_image_size(size, least=0)
    check_share(test_share)
    prepared = _open(name, Path(data_dir).absolute())
    info = prepared.builder.info
    classes = tuple(info.features[prepared.label].names)
    splits: dict[str, ArraySplit] = {}
    notes: list[str] = []
    for split, usual in SPLITS.items():
        for each in (each for each in usual if each in info.splits):
            read, more = _read(prepared, each, size, len(classes))
            notes += [f"tfds/{name}, {each}: {note}" for note in more]
            if read is not None:
                splits[split] = read
                break
    if "train" not in splits:
        known = ", ".join(info.splits) or "none"
        raise UserError(f"tfds/{name} has no split train with labels; its splits are {known}.")
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    elif "test" not in splits:
        whole = splits["train"]
        splits["train"], splits["test"] = split_off(whole, test_share, f"tfds/{name}")
        notes.append(describe_test(f"tfds/{name}", len(splits["test"]), len(whole)))
    _check_shapes(name, splits)
    mean, std = measure(splits["train"].images)
    return Dataset(
        f"tfds/{name}",
        splits["train"],
        splits["test"],
        len(classes),
        mean,
        std,
        classes,
        validation=splits.get("validation"),
        notes=tuple(notes),
        read_file=partial(read_image, shape=splits["train"].shape),
    )


def _open(name: str, root: Path) -> _Prepared:
    """Return the data set that is prepared in `root`; prepare it if it is missing."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"tfds/{name} is read by tensorflow_datasets, which is not installed: "
            "pip install 'pit-jax[tfds]', or in a clone pip install '.[tfds]'."
        ) from error
    folder = _find(name, root) or _prepare(tfds, name, root)
    with reading(folder, "a folder of TensorFlow Datasets", error=UserError, advice=AGAIN):
        builder = tfds.builder_from_directory(str(folder))
        features = builder.info.features
        keys = builder.info.supervised_keys or ()
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    found = []
    for place, (kind, usual) in enumerate(zip(kinds, ("image", "label"), strict=True)):
        names = [key for key, each in features.items() if isinstance(each, kind)]
        # tfds names the pair for training, if a data set has one; some have several labels.
        wanted = [key for key in (*keys[place : place + 1], usual) if key in names]
        if not wanted and len(names) != 1:
            raise UserError(
                f"tfds/{name} has no {usual} for each sample: its features are "
                f"{', '.join(features)}. Only images with one class each are read."
            )
        found.append((wanted or names)[0])
    if features[found[0]].np_dtype != np.uint8:
        raise UserError(f"tfds/{name}: images must be uint8, got {features[found[0]].np_dtype}.")
    return _Prepared(name, folder, builder, *found)


def _find(name: str, root: Path) -> Path | None:
    """Return the newest version of a data set in `root`; `name` can be `NAME/CONFIG`."""
    if version := find_newest_version(root, name):
        return root / name / version
    inner = [each.name for each in sorted(root.glob(f"{name}/*/")) if each.is_dir()]
    configs = {each: found for each in inner if (found := find_newest_version(root / name, each))}
    if len(configs) > 1:
        raise UserError(
            f"{root / name} has several configs. Choose one of "
            f"{', '.join(f'tfds/{name}/{each}' for each in configs)}."
        )
    return next((root / name / each / found for each, found in configs.items()), None)


def _prepare(tfds: Any, name: str, root: Path) -> Path:
    print_text(f"tfds/{name} is not in {root}: tensorflow_datasets prepares it there", sys.stderr)
    try:
        builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
        builder.download_and_prepare()
        return Path(builder.data_dir)
    except Exception as error:  # Errors of the network, the disk or tfds have many types.
        expected = "a version prepared by tensorflow_datasets, as array_record or tfrecord"
        call = f"tfds.builder({name!r}, data_dir={str(root)!r}, file_format='array_record')"
        how = (
            f'python -c "import tensorflow_datasets as tfds; {call}.download_and_prepare()"\n'
            f"Tried just now: {quote_error(error)}"
        )
        raise DataNotFound(f"tfds/{name}", [(root / name, expected)], how) from error


def _read(
    prepared: _Prepared, split: str, size: int, num_classes: int
) -> tuple[ArraySplit | None, list[str]]:
    """Return the images of a split, None if all labels are hidden, and notes on them."""
    place = f"{prepared.folder} ({split})"
    count = prepared.builder.info.splits[split].num_examples
    sides = (size, size) if size else prepared.builder.info.features[prepared.image].shape[:2]
    check_memory(count * math.prod(side or 1 for side in sides) * prepared.channels, place)
    images, labels, changes = [], [], Counter[str]()
    with reading(place, "a split of TensorFlow Datasets", error=UserError, advice=AGAIN):
        for example in track(_iterate(prepared, split), f"reading {split}", count):
            labels.append(int(example[prepared.label]))
            if labels[-1] >= 0:  # Hidden labels are -1; such images are not used.
                images.append(_read_one(prepared, example, size, place, changes))
        if len(labels) != count:
            raise UserError(f"{place} has {len(labels):,} of {count:,} images. {AGAIN}")
    known = np.array([label for label in labels if label >= 0], np.int32)
    if not images:
        return None, [f"not read, because its {count:,} labels are hidden"]
    try:
        check_labels(known, num_classes)
    except ValueError as error:
        raise UserError(f"{place}: {error}. {AGAIN}") from error
    if len({image.shape for image in images}) > 1:
        raise UserError(
            f"tfds/{prepared.name} has images of several sizes. Set config.data.size, such as "
            "--config.data.size=64."
        )
    return ArraySplit(np.stack(images), known), describe_changes(changes, count)


def _iterate(prepared: _Prepared, split: str) -> Iterator[Any]:
    """Yield the examples of a split in the order in which they are stored, images as files."""
    import tensorflow_datasets as tfds

    # `open_image` decodes them, as it does all other images: tfds gives gray ones other shapes.
    decoders = {prepared.image: tfds.decode.SkipDecoding()}
    info = prepared.builder.info
    kind = info.file_format.value if info.file_format else "tfrecord"
    if kind != "tfrecord":
        yield from prepared.builder.as_data_source(split=split, decoders=decoders)
        return
    for file in info.splits[split].filepaths:
        for record in read_tfrecords(Path(file)):
            yield info.features.deserialize_example_np(record, decoders=decoders)


def _read_one(
    prepared: _Prepared, example: Any, size: int, place: str, changes: Counter[str]
) -> np.ndarray:
    content = example[prepared.image]
    content = content.item() if isinstance(content, np.ndarray) else content
    gray = prepared.channels == 1
    # As stored: tfds does not rotate images by their EXIF orientation either.
    image = open_image(content, place, gray=gray, as_stored=True, changes=changes, advice=AGAIN)
    if size:
        return crop(image, (size, size, prepared.channels))
    return np.asarray(image).reshape(image.height, image.width, prepared.channels)


def _check_shapes(name: str, splits: dict[str, ArraySplit]) -> None:
    for split, read in splits.items():
        if read.shape != splits["train"].shape:
            raise UserError(
                f"tfds/{name}: images of {split} have the shape {read.shape}, those of train "
                f"{splits['train'].shape}. Set config.data.size, such as --config.data.size=64."
            )
