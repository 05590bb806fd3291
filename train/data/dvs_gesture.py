"""DVS128-Gesture: 11 hand gestures of 29 users in AEDAT 3.1, cut by the labels beside them."""

import csv
import os
import shutil
import sys
import tarfile
import zlib
from pathlib import Path

from pit_jax.events import read_aedat31
from train.data.cache import cache_folder
from train.data.dataset import DataNotFound, Dataset
from train.data.recordings import Frames, Recording, frames_dataset
from train.errors import UserError

NUM_CLASSES = 11
SENSOR = (128, 128)
ARCHIVE, FOLDER = "DvsGesture.tar.gz", "DvsGesture"
HOW = f"{ARCHIVE} from https://research.ibm.com/interactive/dvsgesture, by hand"


def dvs_gesture(
    data_dir: str | os.PathLike[str] = "data",
    *,
    num_frames: int = 20,
    split_by: str = "number",
    size: int = 128,
    cache_dir: str | None = None,
) -> Dataset:
    """Frames of counts `N T size size 2`: 1,176 gestures for training and 288 for testing.

    Users 1 to 23 train and 24 to 29 test, as the data set's own lists say. The archive is extracted
    once; frames are kept in `cache_dir`, by default `data_dir`/cache. Raises `DataNotFound` without
    either, `UserError` for files that are missing or damaged.
    """
    folder = _folder(Path(data_dir).absolute())
    train, test = (
        _gestures(folder, _whole(folder / name))
        for name in ("trials_to_train.txt", "trials_to_test.txt")
    )
    frames = Frames(num_frames, split_by, SENSOR, (size, size))
    cache = cache_folder(data_dir, cache_dir)
    return frames_dataset("dvs_gesture", NUM_CLASSES, train, test, read_aedat31, frames, cache)


def _folder(root: Path) -> Path:
    folder, archive = root / FOLDER, root / ARCHIVE
    if folder.is_dir():
        return folder
    if not archive.is_file():
        raise DataNotFound(
            "dvs_gesture", [(folder, "the extracted archive"), (archive, "the archive")], HOW
        )
    part = root / f"{FOLDER}.part"  # What a kill leaves behind has another name than the whole.
    shutil.rmtree(part, ignore_errors=True)
    print(f"extracting {archive} once, to {folder}", file=sys.stderr)
    try:
        with tarfile.open(archive) as content:
            content.extractall(part, filter="data")
        (part / FOLDER).rename(folder)
    except (EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{archive} is not a whole archive ({error}); get {HOW}.") from error
    except OSError as error:
        raise UserError(f"cannot extract {archive} to {folder}: {error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _gestures(folder: Path, trials: Path) -> list[Recording]:
    """The gestures of the recordings that a list names, each from its start to its end."""
    found = []
    for line in trials.read_text().split():
        file = _whole(folder / line)
        labels = _whole(file.with_name(f"{file.stem}_labels.csv"))
        with labels.open(newline="") as rows:
            for number, row in enumerate(csv.DictReader(rows)):
                try:
                    label, start, end = (
                        int(row[name]) for name in ("class", "startTime_usec", "endTime_usec")
                    )
                except (KeyError, TypeError, ValueError) as error:
                    raise UserError(
                        f"{labels}, row {number + 2}: expected a class, start and end, got {row}."
                    ) from error
                if not 1 <= label <= NUM_CLASSES or start >= end:
                    raise UserError(
                        f"{labels}, row {number + 2}: expected a class of 1 to {NUM_CLASSES} and a "
                        f"start before its end, got {label}, {start} and {end}."
                    )
                found.append(Recording(label - 1, number, file, "", start, end))
    return found


def _whole(file: Path) -> Path:
    if not file.is_file():
        raise UserError(
            f"{file} is missing: the archive was extracted in part. Remove {file.parent} and "
            f"put {ARCHIVE} beside it, from which it is extracted again."
        )
    return file
