"""A user's own event recordings with their labels, from folders of classes or from tables."""

import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from pit_jax.events import convert_events, read_aedat2, read_aedat31, read_atis, read_npz
from pit_jax.events.arrays import load_array
from pit_jax.events.files import open_recording
from pit_jax.reading import FileError

from ...errors import UserError
from ..dataset import Dataset
from ..layouts import FileKind, FileLayout, find_layout
from ..storage.cache import choose_cache_folder, load_or_make
from .aedat4 import read_aedat4
from .notes import Notes
from .recordings import (
    Frames,
    Reader,
    Recording,
    fingerprint_recordings,
    load_frames,
    read_events,
)
from .tonic import read_array

ENDINGS = (".aedat", ".aedat4", ".bin", ".npz", ".npy")
# The start of a file that ends in .aedat; version 2.0 may start with any comment.
VERSIONS = {b"#!AER-DAT3": read_aedat31, b"#!AER-DAT4": read_aedat4}


def is_recording(name: str) -> bool:
    """Return whether a file with this name is a recording of a known format."""
    return PurePath(name).suffix.lower() in ENDINGS


RECORDINGS = FileKind(
    "recording",
    is_recording,
    "pit_jax",
    f"put your recordings ({', '.join(ENDINGS)}) into train/CLASS/ and test/CLASS/",
)


def event_folder(
    data_dir: str | os.PathLike[str] = "data",
    *,
    num_frames: int = 10,
    split_by: str = "number",
    size: int = 64,
    height: int = 0,
    width: int = 0,
    test_share: float = 0.2,
    unsorted: str = "refuse",
    cache_dir: str | None = None,
) -> Dataset:
    """Return frames of counts `N T H W 2`, the longer side of which has at most `size` pixels.

    The layouts of `data_dir` are those of `folder`, with recordings in place of images: AEDAT 2.0
    of a DVS128, AEDAT 3.1 and 4, N-MNIST's `.bin`, and `.npz` or `.npy` files of events. Raises
    `DataNotFound` without recordings, `UserError` for damaged files.

    Args:
        num_frames: T, the number of frames of each recording.
        split_by: how events are divided into frames, by equal number or equal time: `number` or
            `time`.
        size: the most pixels of the longer side; larger frames are resized, smaller ones are not.
        height: the rows of the camera; 0 measures the largest coordinate of all recordings.
        width: the columns of the camera; 0 measures the largest coordinate of all recordings.
        test_share: the share of the recordings of each class that become the test split, if there
            is neither a test nor a validation split.
        unsorted: what happens to events that are not sorted by time: `refuse`, `sort`, or
            `skip`, which drops as few as possible.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    wanted = FrameOptions(num_frames, split_by, size, height, width, unsorted)
    wanted.check()
    root = Path(data_dir).absolute()
    # The folder of the cache may be next to the folders of classes, and also has .npz files.
    folder = root.parent if root.is_file() else root
    cache = choose_cache_folder(folder, cache_dir).absolute()
    layout = find_layout("event_folder", root, RECORDINGS, test_share, skip=cache)
    return _load(layout, wanted, cache)


class FrameOptions(NamedTuple):
    """Options of frames before the camera is known: `height` and `width` may be 0."""

    num_frames: int
    split_by: str
    size: int
    height: int
    width: int
    unsorted: str

    def check(self) -> None:
        """Raise UserError for values that are not allowed."""
        size = (self.size, self.size)
        Frames(self.num_frames, self.split_by, (1, 1), size, self.unsorted).check()
        for name in ("height", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UserError(
                    f"config.data.{name} must be a whole number, 0 to measure it, got {value!r}."
                )

    def make(self, found: tuple[int, int]) -> Frames:
        """Return the options of frames of a camera of the size `found`, if none was given."""
        sensor = (self.height or found[0], self.width or found[1])
        return Frames(
            self.num_frames, self.split_by, sensor, shrink(sensor, self.size), self.unsorted
        )


def describe_sensor(sensor: tuple[int, int]) -> str:
    """Return a note on a sensor that was measured."""
    return (
        f"the largest coordinates are those of a camera of {sensor[0]} x {sensor[1]} pixels, "
        "height x width; if it is larger, set config.data.height and config.data.width"
    )


def shrink(sensor: tuple[int, int], size: int) -> tuple[int, int]:
    """Return the height and width of frames whose longer side is at most `size`."""
    scale = min(1.0, size / max(sensor))
    height, width = (max(1, round(side * scale)) for side in sensor)
    return height, width


def read_recording(source: io.BufferedIOBase | Path) -> np.ndarray:
    """Return the events of a file in the format of its ending; `.aedat` files have their version.

    Raises ValueError for a file that is damaged or has another format.
    """
    assert isinstance(source, Path)
    ending = source.suffix.lower()
    if ending == ".aedat":
        with open_recording(source, "an AEDAT recording") as (file, _, _):
            start = file.read(10)
        return VERSIONS.get(start, read_aedat2)(source)
    readers: dict[str, Reader] = {
        ".aedat4": read_aedat4,
        ".bin": read_atis,
        ".npz": read_npz,
        ".npy": _read_npy,
    }
    if ending not in readers:
        raise FileError(
            f"{source} is not a recording by its ending; known are {', '.join(ENDINGS)}."
        )
    return readers[ending](source)


def _read_npy(source: io.BufferedIOBase | Path) -> np.ndarray:
    """Return the events of a structured array, or of tonic's rows of x, y, p and milliseconds."""
    with open_recording(source, "a .npy file of events") as (file, path, size):
        if not size:
            raise FileError(f"{path}: the file is empty.")
        events = load_array(file, path, size)
        if events.dtype.names is None:
            return read_array(source)
        try:
            return convert_events(events)
        except ValueError as error:
            raise FileError(f"{path}: {error}") from error


def _load(layout: FileLayout, wanted: FrameOptions, cache: Path) -> Dataset:
    """Return the frames of the recordings of all splits."""
    parts = {
        split: [Recording(label, number, file) for number, (file, label) in enumerate(part.files)]
        for split, part in layout.parts.items()
    }
    notes = [
        *layout.notes,
        *(
            f"{part.place}: {'; '.join(part.skipped)}"
            for part in layout.parts.values()
            if part.skipped
        ),
    ]
    sensor = (wanted.height, wanted.width)
    if not all(sensor):
        sensor = _measure_sensor([each for part in parts.values() for each in part], cache)
        notes.append(describe_sensor(sensor))
    dataset = load_frames(
        "event_folder",
        len(layout.classes),
        parts["train"],
        parts["test"],
        read_recording,
        wanted.make(sensor),
        cache,
        parts.get("validation", ()),
    )
    return replace(dataset, classes=layout.classes, notes=tuple(notes))


def _measure_sensor(recordings: Sequence[Recording], cache: Path) -> tuple[int, int]:
    """Return the least height and width that contain all events, measured once for these files."""
    key = {"version": 1, "files": fingerprint_recordings(recordings)}
    measure = partial(_measure, tuple(recordings))
    sizes = load_or_make(cache, "event_folder-sensor", key, len(recordings), measure)
    height, width = sizes.max(axis=0).tolist()
    return height, width


def _measure(recordings: tuple[Recording, ...], which: range) -> np.ndarray:
    """Return the largest y and x of each recording plus 1, `[N, 2]`."""
    return np.stack([_measure_one(recordings[i]) for i in which])


def _measure_one(recording: Recording) -> np.ndarray:
    events = read_events(recording, read_recording, zipfile.ZipFile, Notes())
    return np.array([int(events[axis].max()) + 1 for axis in "yx"])
