"""DVS128-Gesture: 11 hand gestures of 29 users, from IBM's recordings or tonic's copy."""

import csv
import os
import re
import sys
import tarfile
import zlib
from pathlib import Path

from pit_jax.events import read_aedat31

from ...errors import UserError
from ...files import write_folder
from ..dataset import DataNotFound, Dataset
from ..storage.archives import is_from_macos
from ..storage.cache import choose_cache_folder
from .recordings import Frames, Reader, Recording, load_frames, warn_of_missing
from .splits import read_manifest
from .tonic import read_array

NUM_CLASSES = 11
SENSOR = (128, 128)
ARCHIVE, FOLDER = "DvsGesture.tar.gz", "DvsGesture"
TONIC = "DVSGesture"  # The folder that tonic makes.
SPLITS = read_manifest("dvs_gesture")  # The users and the number of gestures of each split.
LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
MD5 = {
    ARCHIVE: "8a5c71fb11e24e5ca5b11866ca6c00a1",
    "ibmGestureTrain.tar.gz": "3a8f0d4120a166bac7591f77409cb105",
    "ibmGestureTest.tar.gz": "56070e45dadaa85fff82e0fbfbc06de5",
}
AGAIN = "remove its folder, and fetch or extract the archive again (docs/guide/data.md)."
HOW = (
    f"{ARCHIVE} from https://research.ibm.com/interactive/dvsgesture, by hand\n"
    "or tonic's copy, cut into 1,077 and 264 gestures: pip install tonic, then in Python "
    "tonic.datasets.DVSGesture(save_to=DIR, train=True), and the same with train=False"
)


def dvs_gesture(
    data_dir: str | os.PathLike[str] = "data",
    *,
    num_frames: int = 20,
    split_by: str = "number",
    size: int = 128,
    cache_dir: str | None = None,
) -> Dataset:
    """Return frames of counts `N T size size 2`: 1,176 gestures for training and 288 for testing.

    Users 1 to 23 train and 24 to 29 test, as in the data set's own lists; tonic's copy has 1,077
    and 264 gestures. Archives are extracted once, into `cache_dir`. Prints a warning if gestures
    are missing. Raises `DataNotFound` without archives and folders, `UserError` for missing or
    damaged files.

    Args:
        num_frames: T, the number of frames of each gesture.
        split_by: how events are divided into frames, by equal number or equal time: `number` or
            `time`.
        size: height and width of the frames; 128 leaves them as they were recorded.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    root, cache = Path(data_dir).absolute(), choose_cache_folder(data_dir, cache_dir).absolute()
    # IBM's files come first: they have the published split and times in microseconds.
    train, test, read = (
        _find_official(root, cache) or _find_tonic(root, cache) or _raise_not_found(root)
    )
    counts = {name: of["gestures"] for name, of in SPLITS.items()}
    published = [{name: counts[name][copy] for name in counts} for copy in ("IBM", "tonic")]
    found = {"train": len(train), "test": len(test)}
    warn_of_missing("dvs_gesture", found, *published)
    frames = Frames(num_frames, split_by, SENSOR, (size, size))
    return load_frames("dvs_gesture", NUM_CLASSES, train, test, read, frames, cache)


_Found = tuple[list[Recording], list[Recording], Reader]


def _find_official(root: Path, cache: Path) -> _Found | None:
    """Return the gestures of IBM's recordings, which have many each, by its lists of splits."""
    folder = _find_folder([root / FOLDER, cache / FOLDER], [root / ARCHIVE])
    if folder is None:
        return None
    train, test = (
        _list_gestures(folder, _require(folder / name), split) for split, name in LISTS.items()
    )
    return train, test, read_aedat31


def _find_tonic(root: Path, cache: Path) -> _Found | None:
    """Return tonic's gestures: a folder for each user and light, with a file for each gesture."""
    splits = []
    for split, name in (("train", "ibmGestureTrain"), ("test", "ibmGestureTest")):
        folders = [root / TONIC / name, root / name, cache / name]
        archives = [root / TONIC / f"{name}.tar.gz", root / f"{name}.tar.gz"]
        folder = _find_folder(folders, archives)
        if folder is not None:
            splits.append(_list_arrays(folder, split))
    if len(splits) == 1:
        raise UserError(
            f"{root / TONIC} has only one of ibmGestureTrain and ibmGestureTest; get both: {HOW}"
        )
    return (splits[0], splits[1], read_array) if splits else None


def _raise_not_found(root: Path) -> _Found:
    places = [
        (root / FOLDER, "the extracted archive"),
        (root / ARCHIVE, "the archive"),
        (root / TONIC, "tonic's ibmGestureTrain and ibmGestureTest, folders or .tar.gz"),
    ]
    raise DataNotFound("dvs_gesture", places, HOW)


def _find_folder(folders: list[Path], archives: list[Path]) -> Path | None:
    """Return the first of `folders` that exists, or extract an archive to the last of them.

    Return None if there is no archive either.
    """
    for folder in folders:
        if folder.is_dir():
            return folder
    archive = next((archive for archive in archives if archive.is_file()), None)
    if archive is None:
        return None
    folder = folders[-1]
    print(f"extracting {archive} once, to {folder}", file=sys.stderr)
    try:
        with write_folder(folder, inner=folder.name) as part:
            # "data" refuses members with paths outside the folder, links to them and devices.
            with tarfile.open(archive) as content:
                content.extractall(part, filter="data")
            if not (part / folder.name).is_dir():
                raise tarfile.TarError(f"no folder {folder.name} in it")
    except (EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{archive} is not a complete archive ({error}); get {HOW}") from error
    except OSError as error:
        raise UserError(
            f"cannot extract {archive} to {folder} ({error}); choose another folder with "
            "--config.data.cache_dir=DIR."
        ) from error
    return folder


def _list_arrays(folder: Path, split: str) -> list[Recording]:
    """Return the gestures of a split of tonic's copy, sorted by user, light and label."""
    found = []
    for file in folder.glob("*/*.npy"):
        if is_from_macos(file):
            continue
        user = re.fullmatch(r"user(\d+)_(.+)", file.parent.name)
        if not (user and file.stem.isdigit() and int(file.stem) < NUM_CLASSES):
            raise UserError(
                f"{file}: expected a name like user01_fluorescent/0.npy, with a label of 0 to "
                f"{NUM_CLASSES - 1}."
            )
        _check_user(file, int(user[1]), split)
        found.append((int(user[1]), user[2], int(file.stem), file))
    if not found:
        raise UserError(f"{folder} has no userNN_light/LABEL.npy; remove it and get {HOW}")
    return [
        Recording(label, place, file) for place, (_, _, label, file) in enumerate(sorted(found))
    ]


def _list_gestures(folder: Path, trials: Path, split: str) -> list[Recording]:
    """Return the gestures of the recordings in the list `trials`, each with its start and end."""
    found = []
    for name in _read_text(trials).split():
        user = re.fullmatch(r"user(\d+)_.+\.aedat", name)
        if not user:
            raise UserError(
                f"{trials}: expected names like user01_led.aedat, got {name!r}; {AGAIN}"
            )
        file = _require(folder / name)
        _check_user(file, int(user[1]), split)
        found += _read_labels(file, _require(file.with_name(f"{file.stem}_labels.csv")))
    if not found:
        raise UserError(f"{trials} names no recording; {AGAIN}")
    return found


def _read_labels(file: Path, labels: Path) -> list[Recording]:
    """Return the gestures of one recording."""
    found = []
    try:
        rows = list(csv.DictReader(_read_text(labels).splitlines()))
    except csv.Error as error:
        raise UserError(f"{labels}: {error}; {AGAIN}") from error
    for number, row in enumerate(rows):
        try:
            label, start, end = (
                int(row[name]) for name in ("class", "startTime_usec", "endTime_usec")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{labels}, row {number + 2}: expected a class, start and end, got {row}; {AGAIN}"
            ) from error
        if not 1 <= label <= NUM_CLASSES or not 0 <= start < end:
            raise UserError(
                f"{labels}, row {number + 2}: expected a class of 1 to {NUM_CLASSES} and a "
                f"start before its end, got {label}, {start} and {end}; {AGAIN}"
            )
        # Labels in the files start at 1.
        found.append(Recording(label - 1, number, file, "", start, end))
    if not found:
        raise UserError(f"{labels} has no gesture; {AGAIN}")
    return found


def _check_user(file: Path, user: int, split: str) -> None:
    """Raise UserError if the user of a recording is not in the published split.

    Accuracy on users seen in training is no measure of gestures of new users.
    """
    first, end = SPLITS[split]["users"]
    if not first <= user < end:
        raise UserError(
            f"{file} is in the {split} split, which has users {first} to {end - 1} "
            f"(train/data/splits/dvs_gesture.json); {AGAIN}"
        )


def _read_text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text: {error}; {AGAIN}") from error


def _require(file: Path) -> Path:
    if not file.is_file():
        raise UserError(
            f"{file} is missing: the archive was extracted in part. Remove {file.parent} and "
            f"put {ARCHIVE} into config.data.data_dir; it is extracted again."
        )
    return file
