"""Event recordings on disk to frames in memory: read, cut, integrated, resized and cached."""

import io
import zipfile
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from pit_jax.events import integrate_by_number, integrate_by_time
from train.data.cache import cached
from train.data.dataset import Dataset, Split
from train.errors import UserError

Reader = Callable[[io.BufferedIOBase | Path], np.ndarray]
RULES = {"number": integrate_by_number, "time": integrate_by_time}


class Recording(NamedTuple):
    """One sample: a file, or a `member` of a zip archive, or the part [start, end) µs of it.

    `number` is its place in the class, as its authors count.
    """

    label: int
    number: int
    file: Path
    member: str = ""
    start: int = 0
    end: int = -1

    @property
    def name(self) -> str:
        """The name of its file, without folders."""
        return PurePosixPath(self.member or self.file).name

    def __str__(self) -> str:
        return f"{self.file}{f' ({self.member})' if self.member else ''}"


def stored(place: Path, endings: Container[str], how: str) -> list[tuple[Path, str]] | None:
    """The files with one of the `endings` in the folder `place`, or else in its zip as members.

    A file of a folder has the member "". None if there is neither folder nor zip. Raises UserError,
    which says `how` to get it, for a damaged zip.
    """
    archive = place.with_name(f"{place.name}.zip")
    if place.is_dir():
        return [(file, "") for file in place.rglob("*") if file.suffix in endings]
    if not archive.is_file():
        return None
    try:
        with zipfile.ZipFile(archive) as content:
            members = content.namelist()
    except zipfile.BadZipFile as error:
        raise UserError(f"{archive}: {error}; fetch it again: {how}") from error
    return [(archive, member) for member in members if PurePosixPath(member).suffix in endings]


class Frames(NamedTuple):
    """How events become frames: how many, by which rule, on which sensor, and their last size."""

    num_frames: int
    split_by: str
    sensor: tuple[int, int]
    size: tuple[int, int]

    def check(self) -> None:
        """Raises UserError for values that make no frames."""
        if self.split_by not in RULES:
            raise UserError(
                f"config.data.split_by is {self.split_by!r}; it can be {', '.join(RULES)}."
            )
        if min(self.num_frames, *self.size) < 1:
            raise UserError(f"frames need a number and a size of at least 1, got {self}.")


def frames_dataset(
    name: str,
    num_classes: int,
    train: Sequence[Recording],
    test: Sequence[Recording],
    read: Reader,
    frames: Frames,
    cache_dir: Path,
) -> Dataset:
    """The recordings of both splits as counts `N T H W 2`, made once and then read from the cache.

    Counts are whole numbers as uint16, or floats where they were resized. `read` gives the events
    of a file. Raises UserError for a file that it refuses, by its name.
    """
    frames.check()
    splits = []
    for recordings in (train, test):
        key = {
            "version": 1,
            "frames": frames,
            "files": [[r.name, r.file.stat().st_size, r.start, r.end] for r in recordings],
        }
        make = partial(_make, tuple(recordings), read, frames)
        labels = np.array([recording.label for recording in recordings], np.int32)
        splits.append(Split(cached(cache_dir, name, key, len(recordings), make), labels))
    return Dataset(name, splits[0], splits[1], num_classes)


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames `T H W C` at another `(H, W)`: bilinear with antialiasing, each channel on its own."""

    def smaller(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))

    channels = np.moveaxis(frames, -1, 1).astype(np.float32)
    return np.stack([np.stack([smaller(c) for c in frame], axis=-1) for frame in channels])


def _make(
    recordings: tuple[Recording, ...],
    read: Reader,
    frames: Frames,
    which: range,
) -> np.ndarray:
    opened: tuple[str, np.ndarray] = ("", np.empty(0))
    made = []
    for i in which:
        recording = recordings[i]
        if opened[0] != str(recording):  # Neighbours are often cut from one file.
            opened = str(recording), _read(recording, read)
        made.append(_frames(recording, opened[1], frames))
    return np.stack(made)


def _read(recording: Recording, read: Reader) -> np.ndarray:
    try:
        if not recording.member:
            return read(recording.file)
        with zipfile.ZipFile(recording.file) as archive:
            return read(io.BytesIO(archive.read(recording.member)))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{recording}: {error}") from error


def _frames(recording: Recording, events: np.ndarray, frames: Frames) -> np.ndarray:
    if recording.end >= 0:
        events = events[(events["t"] >= recording.start) & (events["t"] < recording.end)]
    height, width = frames.sensor
    try:
        counts = RULES[frames.split_by](events, frames.num_frames, height=height, width=width)
    except ValueError as error:
        raise UserError(f"{recording}: {error}") from error
    if frames.size != frames.sensor:
        return resize(counts, frames.size)
    return np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)
