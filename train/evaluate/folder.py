"""A user's images for a network that was trained on another data set: DIR/CLASS/*.png."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..data.dataset import ArraySplit, Dataset
from ..data.images import folder
from ..data.images.class_folders import find_classes, read_numbers, sort_naturally
from ..errors import UserError

# A note lists all folders up to MOST_LISTED, or the FIRST and the LAST.
MOST_LISTED, FIRST, LAST = 12, 6, 3
# Characters between words, including those that Windows, macOS and archives write for a slash.
SEPARATORS = r"[\s_\-/\\:;|.,&'()]+"


def read_own_images(place: Path, dataset: Dataset) -> tuple[ArraySplit, str]:
    """Return the images in `place`, shaped like those of `dataset`, and a note.

    The note says which folder has which label, and what was converted or skipped. Folders that are
    named after classes get the labels of these classes, and whole numbers below the number of
    classes are the labels. If no folder has such a name, the labels are the positions of the
    folders in the order of their names. Raises UserError if only some are named after classes, if
    the names allow two readings, if their number is wrong, and for damaged files.
    """
    shape = dataset.train.shape
    if not dataset.mean and len(shape) == 3:
        raise UserError(
            f"--folder needs a network for pixels 0 to 255; {dataset.name} has floats. Evaluate "
            "on its own images, without --folder."
        )
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(
            f"--folder needs a network for gray or color images; {dataset.name} has samples of "
            f"shape {shape}. Evaluate on its own samples, without --folder."
        )
    if not place.is_dir():
        raise UserError(f"there is no folder {place}; give one that has a folder for each class.")
    folders = find_classes(place)
    labels, why = find_labels(place, list(folders), dataset)
    samples, notes = folder.read_images(
        place, {folders[name]: label for name, label in labels.items()}, shape
    )
    return samples, "; ".join([f"{why}: {_list_labels(labels, dataset)}", *notes])


def find_labels(place: Path, names: Sequence[str], dataset: Dataset) -> tuple[dict[str, int], str]:
    """Return the label of each name of a folder in `place`, and how the labels were found."""
    labels = _match(place, names, dataset)
    if len(labels) == len(names):
        _check_different(place, labels)
        return labels, f"the folders are named after classes of {dataset.name}"
    # Some names known and some not: a typing error rather than other classes.
    if labels:
        unknown = [name for name in names if name not in labels]
        raise UserError(
            f"{place}: no class of {dataset.name} is named {_shorten(unknown)}; it has "
            f"{_shorten(dataset.classes)}. Rename these folders or move them away."
        )
    if numbers := read_numbers(names):
        _check_numbers(place, numbers, dataset)
        return numbers, "the folders are named by the labels"
    if len(names) != dataset.num_classes:
        raise UserError(
            f"{place} has {len(names)} folders, but the network has {dataset.num_classes} "
            "classes. Make a folder for each class, "
            + (f"named {_shorten(dataset.classes)}." if dataset.classes else "in their order.")
        )
    if (natural := sort_naturally(names)) != list(names):
        pairs = zip(names, natural, strict=True)
        here = next(i for i, pair in enumerate(pairs) if pair[0] != pair[1])
        raise UserError(
            f"{place}: no folder is named after a class, and two orders are possible: by text "
            f"{_shorten(names, around=here)}; by number and without case "
            f"{_shorten(natural, around=here)}. Name the folders after the classes, or 0 to "
            f"{dataset.num_classes - 1} as their labels."
        )
    return (
        {name: label for label, name in enumerate(names)},
        "no folder is named after a class, so the order of their names determines the labels",
    )


def _match(place: Path, names: Sequence[str], dataset: Dataset) -> dict[str, int]:
    """Return the labels of names of classes; raise UserError if a name fits several classes.

    A name is compared as it is, and only if no class has it, without case, punctuation and leading
    zeros.
    """
    labels: dict[str, int] = {}
    for read in (_compose, _normalize):
        known: dict[str, list[int]] = {}
        for label, name in enumerate(dataset.classes):
            if read(name):  # A name without letters and numbers is empty when it is normalized.
                known.setdefault(read(name), []).append(label)
        for name in names:
            if name in labels or not (found := known.get(read(name))):
                continue
            if len(found) > 1:
                several = ", ".join(f"{dataset.classes[label]} ({label})" for label in found)
                raise UserError(
                    f"{place}: the folder {name} may be any of the classes {several}. Give it "
                    "the exact name of one, or move it away."
                )
            labels[name] = found[0]
    return labels


def _check_different(place: Path, labels: dict[str, int]) -> None:
    for label, count in Counter(labels.values()).items():
        if count > 1:
            same = [name for name in labels if labels[name] == label]
            raise UserError(
                f"{place}: two folders name the same class: {', '.join(same)}. Merge them."
            )


def _check_numbers(place: Path, numbers: dict[str, int], dataset: Dataset) -> None:
    """Raise UserError for numbers that are not labels, or that count from 1."""
    least, most, classes = min(numbers.values()), max(numbers.values()), dataset.num_classes
    if most < classes:
        return
    if most == classes and least >= 1:
        raise UserError(
            f"{place}: the folders are numbers up to {classes}, and the network has {classes} "
            f"classes, 0 to {classes - 1}. If folder 1 is class {_name(dataset, 0)}, rename each "
            f"to one less; if it is class {_name(dataset, 1)}, remove folder {most}."
        )
    raise UserError(
        f"{place} has the folder {most}, but the labels of {dataset.name} are 0 to {classes - 1}. "
        "Rename or remove it."
    )


def _name(dataset: Dataset, label: int) -> str:
    return f"{label} ({dataset.classes[label]})" if dataset.classes else str(label)


def _list_labels(labels: dict[str, int], dataset: Dataset) -> str:
    """Return which folder has which label, shortened."""
    return _shorten([f"{name} is {_name(dataset, label)}" for name, label in labels.items()])


def _shorten(names: Sequence[str], *, around: int | None = None) -> str:
    """Return names with commas: of many only the first and last, or those around a position."""
    if len(names) <= MOST_LISTED:
        return ", ".join(names)
    if around is None:
        return f"{', '.join(names[:FIRST])}, ..., {', '.join(names[-LAST:])}"
    start = max(0, around - LAST)
    middle = ", ".join(names[start : around + FIRST])
    return f"{'..., ' if start else ''}{middle}, ..."


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _normalize(name: str) -> str:
    """Return a normalized name: `T-shirt/top` and `t_shirt_top` become equal, `07` and `7` too.

    Signs that change a meaning stay: `C++` is not `C`, and `-1` is not `1`.
    """
    plain = _compose(name).casefold()
    if re.match("[-+.][0-9]", plain):
        return plain
    plain = re.sub(SEPARATORS, "_", plain).strip("_")
    return str(int(plain)) if re.fullmatch("[0-9]{1,18}", plain) else plain
