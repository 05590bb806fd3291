"""DVS128-Gesture: 11 hand gestures of 29 users, from IBM's recordings or tonic's copy."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pit_jax.events import read_aedat31, read_npz

from ...errors import UserError
from ..dataset import DataNotFound, Dataset
from ..storage.archives import DamagedArchive
from ..storage.cache import choose_cache_folder
from ..storage.extracted import MANIFEST, check_contents, extract_once, is_whole
from ..storage.names import find_entry, list_places, name_archives, simplify, walk
from ..storage.text import read_table, read_text
from .recordings import Frames, Reader, Recording, check_once, load_frames, warn_of_missing
from .splits import read_manifest
from .tonic import read_array

NUM_CLASSES = 11
SENSOR = (128, 128)
ARCHIVE, FOLDER = "DvsGesture.tar.gz", "DvsGesture"
# Common names of its folder: tonic's, and the usual ones of SpikingJelly.
TONIC, HOMES = "DVSGesture", ("DVSGesture", "DVS128Gesture", "DVS128_Gesture", "dvs_gesture")
ENDINGS = {".aedat", ".csv", ".txt", ".npy"}
SPLITS = read_manifest("dvs_gesture")  # The users and the number of gestures of each split.
LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
MD5 = {
    ARCHIVE: "8a5c71fb11e24e5ca5b11866ca6c00a1",
    "ibmGestureTrain.tar.gz": "3a8f0d4120a166bac7591f77409cb105",
    "ibmGestureTest.tar.gz": "56070e45dadaa85fff82e0fbfbc06de5",
}
AGAIN = "fetch or extract the archive again (docs/guide/data.md)."
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
    unsorted: str = "refuse",
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
        unsorted: what happens to events that are not sorted by time: `refuse`, `sort`, or
            `skip`, which drops as few as possible.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    frames = Frames(num_frames, split_by, SENSOR, (size, size), unsorted)
    frames.check()
    root, cache = Path(data_dir).absolute(), choose_cache_folder(data_dir, cache_dir).absolute()
    # IBM's files come first: they have the published split and times in microseconds.
    train, test, read = (
        _find_official(root, cache)
        or _find_spikingjelly(root)
        or _find_tonic(root, cache)
        or _raise_not_found(root)
    )
    counts = {name: of["gestures"] for name, of in SPLITS.items()}
    published = [{name: counts[name][copy] for name in counts} for copy in ("IBM", "tonic")]
    found = {"train": len(train), "test": len(test)}
    warn_of_missing("dvs_gesture", found, *published)
    return load_frames("dvs_gesture", NUM_CLASSES, train, test, read, frames, cache)


_Found = tuple[list[Recording], list[Recording], Reader]


def _find_official(root: Path, cache: Path) -> _Found | None:
    """Return the gestures of IBM's recordings, which have many each, by its lists of splits."""
    folder = _find_folder(root, cache, FOLDER, (FOLDER, "DVS128Gesture", "DVS Gesture dataset"))
    if folder is None:
        return None
    train, test = (
        _list_gestures(folder, _require(folder, name), split) for split, name in LISTS.items()
    )
    return train, test, check_contents(partial(read_aedat31, dvs128=True), folder)


def _find_spikingjelly(root: Path) -> _Found | None:
    """Return the gestures that SpikingJelly has cut, in `events_np`: a folder for each label."""
    for place in list_places(root, *HOMES, FOLDER):
        if any(place.glob("train/*/user*.npz")):
            train, test = (_list_cut(place / split, split) for split in ("train", "test"))
            return train, test, read_npz
    return None


def _find_tonic(root: Path, cache: Path) -> _Found | None:
    """Return tonic's gestures: a folder for each user and light, with a file for each gesture."""
    folders = {
        split: folder
        for split, name in (("train", "ibmGestureTrain"), ("test", "ibmGestureTest"))
        if (folder := _find_folder(root, cache, name, (name,))) is not None
    }
    if len(folders) == 1:
        raise UserError(
            f"{root / TONIC} has only one of ibmGestureTrain and ibmGestureTest; get both: {HOW}"
        )
    if not folders:
        return None
    train, test = (_list_arrays(folder, split) for split, folder in folders.items())
    reader = check_contents(read_array, folders["train"])
    return train, test, check_contents(reader, folders["test"])


def _raise_not_found(root: Path) -> _Found:
    places = [
        (root / FOLDER, "the extracted archive"),
        (root / ARCHIVE, "the archive"),
        (root / "events_np", "SpikingJelly's train/LABEL/userNN_light_N.npz, and test/"),
        (root / TONIC, "tonic's ibmGestureTrain and ibmGestureTest, folders or .tar.gz"),
    ]
    raise DataNotFound("dvs_gesture", places, HOW)


def _find_folder(root: Path, cache: Path, name: str, archives: Iterable[str]) -> Path | None:
    """Return the folder `name` near `root`, or extract an archive to `cache`; None without both."""
    places = list(list_places(root, *HOMES, FOLDER))
    # Folders come before archives, because an extraction needs the same space again.
    for place in places:
        inside = find_entry(place, name)
        for folder in (place, inside and find_entry(inside, name), inside):
            if folder is not None and folder.is_dir() and _has_data(folder, name):
                return folder
    extracted = cache / name
    for place in places:
        archive = find_entry(place, *name_archives(archives))
        if archive is not None and archive.is_file():
            try:
                extract_once(archive, extracted, ENDINGS)
            except DamagedArchive as error:
                raise UserError(
                    f"{archive} is not a complete archive ({error.reason}); get {HOW}"
                ) from error
            if not (
                any(extracted.glob("*/*.npy")) or name == FOLDER and _has_data(extracted, name)
            ):
                raise UserError(
                    f"{archive} is not a complete archive (no folder {name} in it); get {HOW}"
                )
            return extracted
    # The archive may have been deleted since. A folder without a manifest is the user's.
    if extracted.is_dir() and not is_whole(extracted) and (extracted / MANIFEST).exists():
        raise UserError(
            f"{extracted} is no longer as it was extracted. Put the archive into "
            f"config.data.data_dir again: {HOW}"
        )
    return extracted if extracted.is_dir() else None


def _has_data(folder: Path, name: str) -> bool:
    """Return whether a folder has IBM's recordings, or is the folder `name` of tonic's gestures."""
    # Where upper and lower case are equal, the folder that tonic makes has IBM's name.
    if name == FOLDER:
        return any(folder.glob("*_labels.csv")) or any(folder.glob("trials_to_t*.txt"))
    return simplify(folder.name) == simplify(name)


def _list_cut(folder: Path, split: str) -> list[Recording]:
    """Return the gestures of a split of SpikingJelly's, sorted by user, light, label and number."""
    found = []
    files = walk(folder) if folder.is_dir() else ()
    for file in (file for file in files if file.suffix.lower() == ".npz"):
        name = re.fullmatch(r"user(\d+)_(.+)_(\d+)", file.stem)
        label = file.parent.name
        if not (name and label.isdecimal() and int(label) < NUM_CLASSES):
            raise UserError(
                f"{file}: expected a name like 0/user01_led_0.npz, with a folder of 0 to "
                f"{NUM_CLASSES - 1}."
            )
        _check_user(file, int(name[1]), split)
        found.append((int(name[1]), name[2], int(label), int(name[3]), file))
    if not found:
        raise UserError(f"{folder} has no LABEL/userNN_light_N.npz; get {HOW}")
    check_once(((user, simplify(light), *of), file) for user, light, *of, file in found)
    return [
        Recording(label, place, file) for place, (*_, label, _, file) in enumerate(sorted(found))
    ]


def _list_arrays(folder: Path, split: str) -> list[Recording]:
    """Return the gestures of a split of tonic's copy, sorted by user, light and label."""
    found = []
    for file in walk(folder):
        if file.suffix.lower() != ".npy":
            continue
        user = re.fullmatch(r"user(\d+)_(.+)", file.parent.name)
        if not (user and file.stem.isdecimal() and int(file.stem) < NUM_CLASSES):
            raise UserError(
                f"{file}: expected a name like user01_fluorescent/0.npy, with a label of 0 to "
                f"{NUM_CLASSES - 1}."
            )
        _check_user(file, int(user[1]), split)
        found.append((int(user[1]), user[2], int(file.stem), file))
    if not found:
        raise UserError(f"{folder} has no userNN_light/LABEL.npy; get {HOW}")
    check_once(((user, simplify(light), label), file) for user, light, label, file in found)
    return [
        Recording(label, place, file) for place, (_, _, label, file) in enumerate(sorted(found))
    ]


def _list_gestures(folder: Path, trials: Path, split: str) -> list[Recording]:
    """Return the gestures of the recordings in the list `trials`, each with its start and end."""
    found, files = [], []
    names = read_text(trials, AGAIN).split()
    _check_listed(trials, names)
    for name in names:
        user = re.fullmatch(r"user(\d+)_(.+)\.aedat", name)
        if not user:
            raise UserError(
                f"{trials}: expected names like user01_led.aedat, got {name[:200]!r}; {AGAIN}"
            )
        file = _require(folder, name)
        _check_user(file, int(user[1]), split)
        files.append(((int(user[1]), simplify(user[2])), file))
        found += _read_labels(file, _require(folder, f"{Path(name).stem}_labels.csv"))
    if not found:
        raise UserError(f"{trials} names no recording; {AGAIN}")
    check_once(files)
    return found


def _read_labels(file: Path, labels: Path) -> list[Recording]:
    """Return the gestures of one recording."""
    found = []
    for number, row in enumerate(read_table(labels, AGAIN)):
        try:
            label, start, end = (
                int(row[name]) for name in ("class", "starttime_usec", "endtime_usec")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{labels}, row {number + 2}: expected a class, start and end, got "
                f"{str(row)[:200]}; {AGAIN}"
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
    _check_listed(labels, [f"{of.start} to {of.end} µs" for of in found])
    return found


def _check_listed(file: Path, names: list[str]) -> None:
    """Raise UserError if a list has an entry twice, because it would count twice in training."""
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{file} names {name[:200]} {count} times; {AGAIN}")


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


def _require(folder: Path, name: str) -> Path:
    file = find_entry(folder, name)
    if file is None or not file.is_file():
        raise UserError(
            f"{folder / name} is missing: the archive was extracted in part. Extract it again, or "
            f"move {folder} away and put {ARCHIVE} into config.data.data_dir."
        )
    return file
