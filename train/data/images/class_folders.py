"""Folders of files, one for each class: their order, and the images or recordings in them."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from unicodedata import combining

from pit_jax.reading import reading

from ...errors import UserError
from ..storage.names import is_system_file
from .picture import is_picture

Place = tuple[int, int]  # Device and number of a folder, the same through every link.
MOST_ENDINGS = 5
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}


def find_classes(place: Path, skip: Path | None = None) -> dict[str, Path]:
    """Return the folders in `place` by the names of their classes, in the order of their labels.

    Names are in Unicode's composed form: macOS stores `é` as two characters. `skip` is a folder
    that is not a class. Raises UserError for fewer than two folders, for two with the same name,
    for folders named like splits, and for a broken link.
    """
    found: dict[str, Path] = {}
    for folder in list_class_folders(place):
        if folder == skip:
            continue
        name = unicodedata.normalize("NFC", folder.name)
        if name in found:
            raise UserError(
                f"{place}: two folders are named {name!r}, in two forms of Unicode. Merge them."
            )
        found[name] = folder
    if len(found) < 2:
        hint = "".join(f" If it has the classes, give {folder}." for folder in found.values())
        raise UserError(
            f"{place}: expected a folder for each of two or more classes, got {list(found)}.{hint}"
        )
    if SPLIT_NAMES.issuperset(name.casefold() for name in found):
        raise UserError(
            f"{place} has the folders {', '.join(found)}: these are splits, not classes. Give one "
            "of them."
        )
    return {name: found[name] for name in order_names(place, found)}


def list_class_folders(place: Path) -> list[Path]:
    """Return the folders in `place`, without system folders, in the order of their labels."""
    folders = {}
    for entry in _scan(place):
        if _leads_to(entry, "is_dir"):
            folders[entry.name] = Path(entry.path)
        elif entry.is_symlink() and not _leads_to(entry, "is_file"):
            raise UserError(f"{entry.path} is a link to nothing. Remove it, or mount its target.")
    return [folders[name] for name in order_names(place, folders)]


def order_names(place: object, names: Iterable[str]) -> list[str]:
    """Return the names of classes in the order of their labels.

    Whole numbers are in the order of their values, so 0 to N - 1 are the labels themselves; all
    other names are in the order of their text. Raises UserError for one number written twice.
    """
    names = sorted(names)
    numbers = read_numbers(names)
    if numbers is None:
        return names
    for number, count in Counter(numbers.values()).items():
        if count > 1:
            both = [name for name in names if numbers[name] == number]
            raise UserError(f"{place}: {' and '.join(both)} are the same number. Merge them.")
    return sorted(names, key=numbers.__getitem__)


def read_numbers(names: Iterable[str]) -> dict[str, int] | None:
    """Return the names as whole numbers, also with leading zeros; None if one is not a number."""
    found = {name: int(name) for name in names if re.fullmatch("[0-9]{1,18}", name)}
    return found if len(found) == len(list(names)) else None


def sort_naturally(names: Iterable[str]) -> list[str]:
    """Return the names as file managers order them: numbers by value, letters without case.

    Accents only distinguish letters that are otherwise equal. A sign before a number belongs to it.
    """
    return sorted(names, key=lambda name: ([*map(_rank, _split(name))], name))


def _split(name: str) -> list[str]:
    letters = [c for c in unicodedata.normalize("NFKD", name.casefold()) if not combining(c)]
    return re.split("(^[+-]?[0-9]+|[0-9]+)", "".join(letters))


def _rank(part: str) -> tuple[bool, int, str]:
    return (False, int(part), "") if re.fullmatch("[+-]?[0-9]+", part) else (True, 0, part)


def list_images(
    folder: Path, is_wanted: Callable[[str], bool] = is_picture
) -> tuple[list[Path], Counter[str]]:
    """Return the images in `folder` and in all folders below; count other files by their endings.

    `is_wanted` decides by the name of a file whether it is listed, so that recordings can be listed
    too. Links are followed. Raises UserError for a folder that cannot be read, for a link to a
    folder that contains it, and for an image that is a broken link or no file.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    for entry in _walk(folder):
        if not is_wanted(entry.name):
            others[PurePath(entry.name).suffix.lower() or "without ending"] += 1
        elif not _leads_to(entry, "is_file"):
            why = "a link to nothing" if entry.is_symlink() else "no regular file"
            raise UserError(f"{entry.path} is {why}. Remove it, or bring the file back.")
        else:
            images.append(Path(entry.path))
    return sorted(images), others


def count_loose_images(place: Path, is_wanted: Callable[[str], bool] = is_picture) -> int:
    """Return the number of images directly in `place`, outside of all class folders."""
    return sum(is_wanted(entry.name) and _leads_to(entry, "is_file") for entry in _scan(place))


def describe_others(others: Mapping[str, int], reader: str = "Pillow") -> str:
    """Return a phrase on the files that are not images, counted by `list_images`, with endings."""
    ordered = sorted(others.items(), key=lambda pair: (-pair[1], pair))
    listed = ", ".join(f"{ending} {count:,}" for ending, count in ordered[:MOST_ENDINGS])
    more = ", ..." if len(others) > MOST_ENDINGS else ""
    return f"skipped, because {reader} cannot read them: {sum(others.values()):,} ({listed}{more})"


def _walk(top: Path) -> Iterator[os.DirEntry[str]]:
    """Yield all files in `top` and in the folders below, without system files."""
    # Each folder with the numbers of the folders above it, because a loop of links would never end.
    open_folders = [(top, frozenset(map(_identify, top.resolve().parents)))]
    while open_folders:
        folder, above = open_folders.pop()
        if (here := _identify(folder)) in above:
            raise UserError(f"{folder} is a link to a folder that contains it. Remove it.")
        for entry in _scan(folder):
            if _leads_to(entry, "is_dir"):
                open_folders.append((Path(entry.path), above | {here}))
            else:
                yield entry


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, without system files and folders."""
    with reading(folder, "a folder", error=UserError), os.scandir(folder) as entries:
        found = [entry for entry in entries if not is_system_file(entry.name)]
    for entry in found:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{folder} has the name {entry.name!r}, which is not valid UTF-8. Rename it."
            ) from error
    return found


def _leads_to(entry: os.DirEntry[str], what: str) -> bool:
    """Return whether a file or the target of a link `is_dir` or `is_file`."""
    try:
        return bool(getattr(entry, what)())
    except OSError:  # A link to itself, or to a place that cannot be read.
        return False


def _identify(folder: Path) -> Place:
    status = folder.stat()
    return status.st_dev, status.st_ino
