"""Plans the conversion of ImageNet-1k from the official archives, a folder or tfds."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pit_jax.display import print_text
from pit_jax.reading import quote_error, reading

from ...errors import UserError
from ..dataset import DataNotFound
from ..images.class_folders import describe_others, list_class_folders, list_images
from ..storage.names import find_entry, is_system_file, normalize_member
from ..storage.tar import Member, list_members
from ..storage.tfds import find_newest_version
from .array_records import Piece, Plan, Sample, Shard
from .labels import read_validation_labels

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
TFDS = "imagenet2012"
TFDS_AGAIN = "Prepare it again with file_format=array_record."
SYNSET = re.compile(r"n\d{8}")
# A shard has about a gigabyte: half a minute of work, which is all that a killed run loses.
CLASSES_A_SHARD, IMAGES_A_SHARD = 8, 10_000
# Where Kaggle's archive has the folders `train` and `val`; their labels are in its root.
KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
HOW = (
    "an account at image-net.org (ILSVRC2012, task 1 and 2), then\n"
    "  python -m pit_jax prepare imagenet --source DIR --out DIR"
)


@dataclass(frozen=True)
class TarPart:
    """All images of the archive at bytes `[start, end)` of a file, which are of one class."""

    file: Path
    start: int
    end: int
    label: int

    def samples(self) -> Iterator[Sample]:
        with self.file.open("rb") as file:
            try:
                for member in list_members(file, self.start, self.end):
                    if not is_system_file(normalize_member(self.file, member.name)):
                        yield _read(self.file, file, member, self.label)
            except ValueError as error:
                raise _make_error(self.file, error) from error


@dataclass(frozen=True)
class TarMembers:
    """Some images of an archive, each with its class."""

    file: Path
    images: tuple[tuple[Member, int], ...]

    def samples(self) -> Iterator[Sample]:
        with self.file.open("rb") as file:
            for member, label in self.images:
                yield _read(self.file, file, member, label)


@dataclass(frozen=True)
class ImageFiles:
    """Image files, each with its class."""

    images: tuple[tuple[Path, int], ...]

    def samples(self) -> Iterator[Sample]:
        for path, label in self.images:
            yield Sample(str(path), label, path.read_bytes())


@dataclass(frozen=True)
class TfdsExamples:
    """The examples `[start, end)` of a split that TensorFlow Datasets has prepared."""

    root: Path
    version: str
    split: str
    start: int
    end: int

    def samples(self) -> Iterator[Sample]:
        source = _open_tfds(self.root, self.version, self.split)
        for index in range(self.start, self.end):
            place = f"{self.root / TFDS / self.version}: example {index} of {self.split}"
            with reading(place, "an image with a label", error=UserError, advice=TFDS_AGAIN):
                example = source[index]
                sample = Sample(place, int(example["label"]), bytes(example["image"]))
            yield sample


def plan(source: Path) -> Plan:
    """Plan the conversion of the files in `source`; classes are in the order of their names.

    Raises `DataNotFound` if there are no such files, and `UserError` for a damaged or wrong
    archive and for classes that only one split has.
    """
    # The official archives first: their members are known to be the published images.
    train, val = (find_entry(source, name) for name in (TRAIN, VAL))
    if train is not None and val is not None and train.is_file() and val.is_file():
        return _plan_archives(source, train, val)
    for root in (source, *(source / name for name in KAGGLE)):
        train = find_entry(root, "train", "training")
        val = find_entry(root, "val", "test", "valid", "validation")
        if train is not None and val is not None and train.is_dir() and val.is_dir():
            return _plan_folders(source, train, val)
    if version := find_newest_version(source, TFDS):
        return _plan_tfds(source, version)
    raise DataNotFound(
        "imagenet",
        [
            (source / TRAIN, "the official archive, 138 GB"),
            (source / VAL, "the official archive, 6 GB"),
            (source / "train", "a folder for each class, nXXXXXXXX, as is val"),
            (source / KAGGLE[0], "the same, from Kaggle's archive"),
            (source / TFDS, "a version prepared by tensorflow_datasets as array_record"),
        ],
        HOW,
    )


def _plan_archives(source: Path, train: Path, val: Path) -> Plan:
    parts = {}
    for member in _list_members(train):
        inner = normalize_member(train, member.name)
        name = inner.stem.lower()
        if not SYNSET.fullmatch(name) or inner.suffix.lower() != ".tar":
            raise UserError(
                f"{train} has {member.name} at byte {member.offset}; the official archive has "
                "only nXXXXXXXX.tar, one for each class."
            )
        parts[name] = member
    classes = sorted(parts)
    of_image = read_validation_labels(source)
    _check_same(source, classes, sorted(set(of_image.values())))
    images = []
    for member in _list_members(val):
        stem = normalize_member(val, member.name).stem
        if stem not in of_image:
            raise UserError(f"{val} has {member.name}, which has no label in {source}.")
        images.append((member, classes.index(of_image[stem])))
    _check_each_once(
        val, [normalize_member(val, member.name).stem for member, _ in images], of_image
    )
    # Workers get byte ranges, not images: each opens the archive and reads its own part.
    pieces = [
        TarPart(train, parts[name].offset, parts[name].offset + parts[name].size, label)
        for label, name in enumerate(classes)
    ]
    tests = [TarMembers(val, tuple(part)) for part in _group(images, IMAGES_A_SHARD)]
    shards = _make_shards("train", _group(pieces, CLASSES_A_SHARD)) + _make_shards(
        "test", _group(tests, 1)
    )
    size = train.stat().st_size + val.stat().st_size
    return Plan("imagenet", "archives", tuple(classes), shards, size)


def _plan_folders(source: Path, train: Path, val: Path) -> Plan:
    folders, tested_folders = ({p.name: p for p in list_class_folders(of)} for of in (train, val))
    classes = list(folders)
    others: Counter[str] = Counter()
    per_class = [_label_folder(path, i, others) for i, path in enumerate(folders.values())]
    if tested_folders:
        _check_same(train.parent, classes, list(tested_folders))
        in_order = [tested_folders[name] for name in classes]
        tested = [pair for i, of in enumerate(in_order) for pair in _label_folder(of, i, others)]
    else:
        of_image = read_validation_labels(source)
        _check_same(train.parent, classes, sorted(set(of_image.values())))
        tested = _label_images(val, of_image, classes, others)
    if others:
        print_text(f"{source}: {describe_others(others)}", sys.stderr)
    pieces = [ImageFiles(tuple(images)) for images in per_class]
    tests = [ImageFiles(tuple(part)) for part in _group(tested, IMAGES_A_SHARD)]
    shards = _make_shards("train", _group(pieces, CLASSES_A_SHARD)) + _make_shards(
        "test", _group(tests, 1)
    )
    everything = [*tested, *(image for images in per_class for image in images)]
    size = sum(path.stat().st_size for path, _ in everything)
    return Plan("imagenet", "folders", tuple(classes), shards, size)


def _plan_tfds(root: Path, version: str) -> Plan:
    pieces = {}
    for split, name in (("train", "train"), ("test", "validation")):
        source = _open_tfds(root, version, name)
        count = len(source)
        starts = range(0, count, IMAGES_A_SHARD)
        ranges = [(start, min(start + IMAGES_A_SHARD, count)) for start in starts]
        pieces[split] = [TfdsExamples(root, version, name, start, end) for start, end in ranges]
    classes = tuple(source.dataset_info.features["label"].names)
    shards = sum((_make_shards(split, _group(parts, 1)) for split, parts in pieces.items()), ())
    folder = root / TFDS / version
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return Plan("imagenet", f"tfds {version}", classes, shards, size)


def _open_tfds(root: Path, version: str, split: str) -> Any:
    folder = root / TFDS / version
    try:
        import tensorflow_datasets as tfds

        name = f"{TFDS}:{version}"
        decoders = {"image": tfds.decode.SkipDecoding()}
        return tfds.data_source(name, data_dir=root, split=split, download=False, decoders=decoders)
    except ImportError as error:
        raise UserError(
            f"{folder} is read by tensorflow_datasets, which is not installed: "
            "pip install tensorflow-datasets"
        ) from error
    except Exception as error:  # Readers raise many kinds of errors for a damaged folder.
        raise UserError(
            f"{folder}: tensorflow_datasets cannot read it: {quote_error(error)}. {TFDS_AGAIN}"
        ) from error


def _list_members(archive: Path) -> list[Member]:
    with archive.open("rb") as file:
        try:
            found = list_members(file, 0, archive.stat().st_size)
            return [m for m in found if not is_system_file(normalize_member(archive, m.name))]
        except ValueError as error:
            raise _make_error(archive, error) from error


def _make_error(archive: Path, error: ValueError) -> UserError:
    return UserError(f"{archive}: {error}. Fetch it again; its size and md5 are at image-net.org.")


def _read(archive: Path, file: Any, member: Member, label: int) -> Sample:
    file.seek(member.offset)
    place = f"{archive} ({member.name} at byte {member.offset})"
    if member.is_link:
        raise UserError(f"{place} is a link. Pack the files themselves: tar --hard-dereference.")
    return Sample(place, label, file.read(member.size))


def _label_folder(folder: Path, label: int, others: Counter[str]) -> list[tuple[Path, int]]:
    images = _list_images(folder, others)
    if not images:
        raise UserError(f"{folder} has no image of a format that Pillow reads.")
    return [(path, label) for path in images]


def _list_images(folder: Path, others: Counter[str]) -> list[Path]:
    """Return the images in a folder, and count other files in `others`."""
    images, skipped = list_images(folder)
    others.update(skipped)
    return images


def _label_images(
    folder: Path, of_image: dict[str, str], classes: Sequence[str], others: Counter[str]
) -> list[tuple[Path, int]]:
    images = _list_images(folder, others)
    _check_each_once(folder, [path.stem for path in images], of_image)
    return [(path, classes.index(of_image[path.stem])) for path in images]


def _check_each_once(place: Path, found: list[str], of_image: Mapping[str, str]) -> None:
    """Raise UserError unless `place` has each labeled image exactly once, and no other image."""
    for name, count in Counter(found).items():
        if name not in of_image:
            raise UserError(f"{place} has the image {name}, which has no label. Remove it.")
        if count > 1:
            raise UserError(f"{place} has the image {name} {count} times. Remove the copies.")
    if missing := sorted(of_image.keys() - set(found)):
        raise UserError(
            f"{place} has {len(found)} images, but there are {len(of_image)} labels. Missing: "
            f"{_shorten(missing)}."
        )


def _check_same(source: Path, train: Sequence[str], test: Sequence[str]) -> None:
    if len(train) < 2 or set(train) != set(test):
        only = [sorted(set(a) - set(b)) for a, b in ((train, test), (test, train))]
        raise UserError(
            f"{source}: training and validation must have the same two or more classes; "
            f"there are {len(train)} and {len(test)}. Only in training: "
            f"{_shorten(only[0])}; only in validation: {_shorten(only[1])}."
        )


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "none"


def _group(items: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def _make_shards(split: str, groups: list[tuple[Piece, ...]]) -> tuple[Shard, ...]:
    return tuple(
        Shard(split, f"{split}-{number:05d}-of-{len(groups):05d}.array_record", pieces)
        for number, pieces in enumerate(groups)
    )
