"""Find a user's own files and their labels: folders of classes, or tables of `file,label`.

The same layouts hold for images and for event recordings.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .dataset import ArraySplit, DataNotFound
from .images.class_folders import (
    count_loose_images,
    describe_others,
    find_classes,
    list_class_folders,
    list_images,
    order_names,
)
from .storage.names import find_entry
from .storage.text import read_table
from .subsets import draw_share

# The usual names of the splits, as folders `train/` or as tables `train.csv`.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
TABLE = "labels.csv"
HEADER = 'A table has the header "file,label" and a row for each file.'


class FileKind(NamedTuple):
    """A kind of files: its noun, a test of file names, the package that reads it, and advice."""

    noun: str
    is_wanted: Callable[[str], bool]
    reader: str
    how: str


class Part(NamedTuple):
    """The files of a split with their labels, the `place` that has them, and what was skipped."""

    place: Path
    files: list[tuple[Path, int]]
    skipped: list[str]


class FileLayout(NamedTuple):
    """The parts of a data set by `train`, `test` and perhaps `validation`, and its classes."""

    parts: dict[str, Part]
    classes: tuple[str, ...]
    notes: list[str]


class _Source(NamedTuple):
    """The files of one folder or one table, each with the name of its class."""

    place: Path
    files: list[tuple[Path, str]]
    classes: list[str]
    skipped: list[str]


def find_layout(
    name: str, root: Path, kind: FileKind, test_share: float, skip: Path | None = None
) -> FileLayout:
    """Return the files of the data set `name` in `root`, a folder or a table of labels.

    Searched in this order: the splits `train`, `test` and `val` as folders of classes or as tables;
    `labels.csv`; folders of classes in `root` itself, apart from `skip`. Without a test split the
    validation files are the test files; without both, `test_share` of the files of each class.
    Classes that are named by whole numbers are in the order of the numbers, others in the order of
    their names. Raises `DataNotFound` without any of these, `UserError` for a class that is not in
    both splits, for a missing file, and for a broken table.
    """
    check_share(test_share)
    notes: list[str] = []
    if root.is_file():
        sources = _read_splits(root, kind)
    elif places := _find_places(root):
        if "train" not in places:
            raise _make_missing(name, root, kind)
        notes += _note_unread(root, places)
        sources = {split: _read_source(place, kind) for split, place in places.items()}
    elif (table := find_entry(root, TABLE)) is not None and table.is_file():
        sources = _read_splits(table, kind)
    elif _has_class(root, kind, skip):
        sources = {"train": _read_source(root, kind, skip)}
    else:
        raise _make_missing(name, root, kind)
    classes = _check_classes(root, sources)
    notes += _note_case(root, classes)
    label_of = {each: label for label, each in enumerate(classes)}
    parts = {
        split: Part(of.place, [(file, label_of[each]) for file, each in of.files], of.skipped)
        for split, of in sources.items()
    }
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    elif "test" not in parts:
        whole = parts["train"]
        parts = _hold_out(whole, test_share)
        notes.append(describe_test(whole.place, len(parts["test"].files), len(whole.files)))
    return FileLayout(parts, tuple(classes), notes)


def check_share(test_share: object) -> None:
    """Raise UserError unless `config.data.test_share` is more than 0 and less than 1."""
    if type(test_share) not in (int, float) or not 0 < test_share < 1:  # type: ignore[operator]
        raise UserError(
            f"config.data.test_share must be more than 0 and less than 1, got {test_share!r}."
        )


def split_off(whole: ArraySplit, test_share: float, place: object) -> tuple[ArraySplit, ...]:
    """Return the training and the test samples of a data set without a test split.

    Raises UserError if one of them would be empty.
    """
    chosen = draw_test(whole.labels, test_share, place)
    rest = np.setdiff1d(np.arange(len(whole)), chosen)
    return tuple(ArraySplit(whole.images[at], whole.labels[at]) for at in (rest, chosen))


def draw_test(labels: np.ndarray, test_share: float, place: object) -> np.ndarray:
    """Return the indices of test samples: the same share of every class, the same in every run."""
    count = round(test_share * len(labels))
    if not 0 < count < len(labels):
        raise UserError(
            f"{place} has no test split, and config.data.test_share={test_share} of "
            f"{len(labels):,} samples leaves one part empty. Add a test split, or more samples."
        )
    return draw_share(labels, count)


def describe_test(place: object, count: int, total: int) -> str:
    """Return a note on test samples that `draw_test` chose."""
    return (
        f"{place} has no test split: {count:,} of {total:,} samples, the same in every run, are "
        "tested on (config.data.test_share)"
    )


def list_part(place: Path, labels: Mapping[Path, int], kind: FileKind) -> Part:
    """Return the files in folders of classes, with the label of each folder.

    Raises UserError for a class without files.
    """
    files, others = [], Counter[str]()
    for folder, label in labels.items():
        found, rest = list_images(folder, kind.is_wanted)
        others += rest
        if not found:
            note = f" ({describe_others(rest, kind.reader)})" if rest else ""
            raise UserError(
                f"{folder} has no {kind.noun}{note}. Add {kind.noun}s, or remove the folder."
            )
        files += [(file, label) for file in found]
    skipped = []
    if loose := count_loose_images(place, kind.is_wanted):
        skipped.append(f"skipped, because they are in no class folder: {loose:,} {kind.noun}s")
    if others:
        skipped.append(describe_others(others, kind.reader))
    return Part(place, files, skipped)


def _find_places(root: Path) -> dict[str, Path]:
    """Return the folder of classes, or the table, of each split in `root`."""
    found: dict[str, Path] = {}
    for split, names in SPLITS.items() if root.is_dir() else ():
        folder, table = (
            next((place for place in places if place is not None and is_kind(place)), None)
            for places, is_kind in (
                ([find_entry(root, name) for name in names], Path.is_dir),
                ([find_entry(root, f"{name}.csv") for name in names], Path.is_file),
            )
        )
        # A table next to a folder has the labels of the files in it, unless it has classes.
        if folder is not None and (table is None or list_class_folders(folder)):
            found[split] = folder
        elif table is not None:
            found[split] = table
    # Folders of images without labels, next to the table of all labels.
    is_listed = find_entry(root, TABLE) if root.is_dir() else None
    if is_listed and not any(map(_has_classes, found.values())):
        return {}
    return found


def _has_classes(place: Path) -> bool:
    return place.is_file() or bool(list_class_folders(place))


def _has_class(root: Path, kind: FileKind, skip: Path | None) -> bool:
    """Return whether a folder in `root` has files of this kind; `root` may be any folder."""
    folders = list_class_folders(root) if root.is_dir() else []
    return any(list_images(folder, kind.is_wanted)[0] for folder in folders if folder != skip)


def _read_source(place: Path, kind: FileKind, skip: Path | None = None) -> _Source:
    if place.is_file():
        return _read_table(place, kind)[0]
    folders = find_classes(place, skip)
    names = list(folders)
    part = list_part(place, {folder: label for label, folder in enumerate(folders.values())}, kind)
    return _Source(place, [(file, names[label]) for file, label in part.files], names, part.skipped)


def _read_splits(table: Path, kind: FileKind) -> dict[str, _Source]:
    """Return the files of a table by split; without a column `split`, all are for training."""
    source, splits = _read_table(table, kind)
    if not any(splits):
        return {"train": source}
    split_of = {name: split for split, names in SPLITS.items() for name in names}
    for (file, _), word in zip(source.files, splits, strict=True):
        if word.casefold() not in split_of:
            raise UserError(
                f"{table}: the split of {file.name} is {word[:80]!r}; it can be train, val or test."
            )
    found: dict[str, list[tuple[Path, str]]] = {}
    for pair, word in zip(source.files, splits, strict=True):
        found.setdefault(split_of[word.casefold()], []).append(pair)
    if "train" not in found:
        raise UserError(f"{table}: no row has the split train. {HEADER}")
    return {
        split: source._replace(files=found[split], classes=_list_classes(table, found[split]))
        for split in SPLITS
        if split in found
    }


def _read_table(table: Path, kind: FileKind) -> tuple[_Source, list[str]]:
    """Return the files of a table, and the words in its column `split`, empty without one."""
    rows = read_table(table, HEADER)
    if not rows:
        raise UserError(f"{table} has no rows. {HEADER}")
    # Of a row that is too short, the last columns are missing.
    columns = dict.fromkeys(name for row in rows for name in row)
    if missing := [name for name in ("file", "label") if name not in columns]:
        raise UserError(
            f"{table} has no column {' and '.join(missing)}, but {', '.join(columns)[:200]}. "
            f"{HEADER}"
        )
    files, splits, seen = [], [], set()
    for row in rows:
        written, label = (str(row.get(name) or "").strip() for name in ("file", "label"))
        if not written or not label:
            raise UserError(f"{table}: a row has no file or no label: {str(row)[:200]}. {HEADER}")
        file = _find_file(table, written, kind)
        if file in seen:
            raise UserError(f"{table} names {written} twice: it would count twice. Remove one row.")
        seen.add(file)
        files.append((file, label))
        splits.append(str(row.get("split") or "").strip())
    return _Source(table, files, _list_classes(table, files), []), splits


def _find_file(table: Path, written: str, kind: FileKind) -> Path:
    """Return the file that a row names, next to the table or in the folder of the table's name."""
    if not kind.is_wanted(written):
        raise UserError(
            f"{table}: {kind.reader} cannot read {written[:200]}, by its ending. Convert it, or "
            "remove the row."
        )
    name = written.replace("\\", "/")
    for folder in (table.parent, table.with_suffix("")):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{table}: there is no file {table.parent / name}. File names are relative to the table."
    )


def _list_classes(table: Path, files: Iterable[tuple[Path, str]]) -> list[str]:
    return order_names(table, {label for _, label in files})


def _check_classes(root: Path, sources: Mapping[str, _Source]) -> list[str]:
    """Return the classes; raise UserError if a split has others, or a folder lacks one."""
    train = sources["train"]
    for split, source in sources.items():
        only = set(source.classes) - set(train.classes)
        # A table need not have every class: rare ones may have no file to test on.
        if source.place.is_dir():
            only ^= set(train.classes) - set(source.classes)
        if only:
            raise UserError(
                f"{root}: only one of train and {split} has the classes {_quote(sorted(only))}."
            )
    if len(train.classes) < 2:
        raise UserError(
            f"{train.place}: expected two or more classes, got {_quote(train.classes)}."
        )
    _check_apart(sources)
    return train.classes


def _check_apart(sources: Mapping[str, _Source]) -> None:
    """Raise UserError if two tables name the same file."""
    seen: dict[Path, str] = {}
    for split, source in sources.items():
        for file, _ in source.files if source.place.is_file() else ():
            if (other := seen.setdefault(file, split)) != split:
                raise UserError(
                    f"{source.place}: {file} is in {other} and in {split}. Remove one of the rows."
                )


def _hold_out(part: Part, test_share: float) -> dict[str, Part]:
    chosen = draw_test(np.array([label for _, label in part.files]), test_share, part.place)
    tested = set(chosen.tolist())
    train, test = (
        [pair for place, pair in enumerate(part.files) if (place in tested) == is_test]
        for is_test in (False, True)
    )
    # Skipped files are reported once, with the training files.
    return {"train": part._replace(files=train), "test": Part(part.place, test, [])}


def _make_missing(name: str, root: Path, kind: FileKind) -> DataNotFound:
    places = [
        (root / "train", "a folder for each class"),
        (root / "test", "a folder for each class (or val/)"),
        (root / TABLE, "a table of file,label (or train.csv and test.csv)"),
        (root, f"a folder of {kind.noun}s for each class"),
    ]
    return DataNotFound(name, places, kind.how)


def _note_unread(root: Path, places: Mapping[str, Path]) -> list[str]:
    notes = []
    for split, names in SPLITS.items():
        for name in names:
            place = find_entry(root, name)
            if split in places and place is not None and place.is_dir():
                used = places[split]
                if used.is_dir() and used != place:
                    notes.append(f"{place} is not read, because there is a folder {used.name}")
    return list(dict.fromkeys(notes))


def _note_case(root: Path, names: Sequence[str]) -> list[str]:
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.casefold(), []).append(name)
    return [
        f"{root}: the classes {_quote(same)} differ only in upper and lower case"
        for same in folded.values()
        if len(same) > 1
    ]


def _quote(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
