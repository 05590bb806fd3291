"""Convert event recordings to frames: read, cut, integrate, resize and cache them."""

import io
import json
import math
import sys
import warnings
import zipfile
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pit_jax.display import print_text, show_name
from pit_jax.events import SkippedWords, integrate_by_number, integrate_by_time
from pit_jax.events.headers import CameraError
from pit_jax.events.stream import ClockError, OrderError, SensorError, check_order
from pit_jax.reading import FileError, reading

from ...errors import UserError
from ...files import hash_content
from ..dataset import ArraySplit, Dataset, check_memory
from ..storage.cache import load_or_make
from ..storage.members import show_place, take_fingerprints
from . import ordering
from .notes import Notes, print_notes, save_notes

Reader = Callable[[io.BufferedIOBase | Path], np.ndarray]
# Limits for members of zips: compressed events have a third to a tenth of their size.
_MOST_GROWTH, _ALWAYS_FITS = 100, 2**24
# SpikingJelly's rules: each frame has n div T events, or an equal time, and the last frame also has
# the remainder. Accuracies are comparable only with the same rule.
RULES = {"number": integrate_by_number, "time": integrate_by_time}


class Recording(NamedTuple):
    """One sample: a file, or a `member` of a zip archive, or the part [start, end) µs of either.

    `number` is the number that the authors gave to the sample in its class.
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
        return show_place(self.file, self.member)


class Frames(NamedTuple):
    """Options of frames: number, rule, sizes, and what happens to events that are out of order."""

    num_frames: int
    split_by: str
    sensor: tuple[int, int]
    size: tuple[int, int]
    unsorted: str = "refuse"

    def check(self) -> None:
        """Raise UserError for an unknown rule, and for numbers below 1."""
        for name, rules in {"split_by": list(RULES), "unsorted": list(ordering.RULES)}.items():
            if getattr(self, name) not in rules:
                raise UserError(
                    f"config.data.{name} is {getattr(self, name)!r}; it can be {', '.join(rules)}."
                )
        check_whole("num_frames", self.num_frames)
        for side in self.size:
            check_whole("size", side)


def check_whole(name: str, value: object) -> None:
    """Raise UserError unless the option `name` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"config.data.{name} must be a whole number and at least 1, got {value!r}.")


def check_once(found: Iterable[tuple[Hashable, object]]) -> None:
    """Raise UserError if two files are of one sample, which would count twice.

    `found` has pairs of what identifies a sample, such as its class and number, and its file.
    """
    known: dict[Hashable, object] = {}
    for sample, file in found:
        if (other := known.setdefault(sample, file)) is not file:
            raise UserError(
                f"{show_name(other)} and {show_name(file)} are the same sample by their names: it "
                "would count twice. Move one of them out of the folder of the data."
            )


def check_size(count: int, frames: Frames) -> None:
    """Raise UserError if memory cannot hold the frames of `count` recordings."""
    (height, width), size = frames.sensor, frames.size
    stored = frames.num_frames * math.prod(size) * 2 * (4 if size != frames.sensor else 2)
    counted = frames.num_frames * height * width * 2 * 8  # Before they are resized.
    check_memory(
        max(count * stored, counted),
        f"{count:,} recordings of {frames.num_frames:,} frames of {size[0]} x {size[1]} pixels",
    )


def warn_of_missing(name: str, found: Mapping[str, int], *published: Mapping[str, int]) -> None:
    """Print to stderr if the counts of recordings differ from those of all `published` copies."""
    if found in published:
        return
    nearest = min(published, key=lambda counts: abs(sum(counts.values()) - sum(found.values())))
    counts = ", ".join(
        f"{found[of]:,} of {nearest[of]:,} {of}" for of in nearest if found[of] != nearest[of]
    )
    print_text(
        f"warning: {name} has {counts} recordings; extract or fetch the missing files again",
        sys.stderr,
    )


def load_frames(
    name: str,
    num_classes: int,
    train: Sequence[Recording],
    test: Sequence[Recording],
    read: Reader,
    frames: Frames,
    cache_dir: Path,
    validation: Sequence[Recording] = (),
) -> Dataset:
    """Return the recordings as counts `N T H W 2`, made once and then read from the cache.

    Counts are uint16, or float32 if they were resized. `read` returns the events of a file.
    Raises UserError that names the file if `read` fails. Call `frames.check` before the recordings
    are found: a mistake must not cost the minutes of an extraction or a download.
    """
    check_size(len(train) + len(test) + len(validation), frames)
    splits, notes = [], []
    for recordings in filter(None, (train, test, validation)):
        # Everything that the frames depend on. Raise the version when this code computes others.
        key = {
            "version": 3,
            "frames": frames,
            "files": [
                [r.name, *known, r.start, r.end]
                for r, known in zip(recordings, fingerprint_recordings(recordings), strict=True)
            ],
        }
        notes.append(cache_dir / f"{name}-notes-{hash_key(key)}")
        make = partial(_make, tuple(recordings), read, frames, notes[-1])
        labels = np.array([recording.label for recording in recordings], np.int32)
        splits.append(ArraySplit(load_or_make(cache_dir, name, key, len(recordings), make), labels))
    print_notes(name, notes)
    return Dataset(
        name,
        splits[0],
        splits[1],
        num_classes,
        validation=splits[2] if validation else None,
        read_file=partial(read_frames, read, frames),
    )


def hash_key(key: Mapping[str, Any]) -> str:
    """Return a short hash of everything that frames depend on."""
    return hash_content(json.dumps(key))[:16]


def read_frames(read: Reader, frames: Frames, file: Path) -> np.ndarray:
    """Return a further recording as counts `T H W 2`; raise UserError that names it if it fails."""
    recording, notes = Recording(0, 0, file), Notes()
    return integrate(recording, read_events(recording, read, zipfile.ZipFile, notes), frames, notes)


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize frames `T H W C` to another `(H, W)`: bilinear with antialiasing, by channel."""

    def smaller(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))

    # float32 images, because Pillow would round integer counts.
    channels = np.moveaxis(frames, -1, 1).astype(np.float32)
    return np.stack([np.stack([smaller(c) for c in frame], axis=-1) for frame in channels])


def fingerprint_recordings(recordings: Sequence[Recording]) -> list[list[int | str]]:
    try:
        return take_fingerprints((recording.file, recording.member) for recording in recordings)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _make(
    recordings: tuple[Recording, ...],
    read: Reader,
    frames: Frames,
    notes_folder: Path,
    which: range,
) -> np.ndarray:
    opened: tuple[str, np.ndarray] = ("", np.empty(0))
    made, notes = [], Notes()
    with ExitStack() as stack:
        # Opening a zip reads the list of its members; N-MNIST has 60,000.
        open_zip = cache(lambda file: stack.enter_context(zipfile.ZipFile(file)))
        for i in which:
            recording = recordings[i]
            # The gestures of a file are neighbors, so the last file is kept instead of read again.
            if opened[0] != str(recording):
                opened = str(recording), read_events(recording, read, open_zip, notes)
            made.append(integrate(recording, opened[1], frames, notes))
    save_notes(notes_folder, which.start, notes)
    return np.stack(made)


def read_events(
    recording: Recording,
    read: Reader,
    open_zip: Callable[[Path], zipfile.ZipFile],
    notes: Notes,
) -> np.ndarray:
    """Return the events of a whole file; raise UserError that names it if `read` fails."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SkippedWords)
        try:
            with reading(recording, "a recording", error=ValueError, advice=""):
                if not recording.member:
                    _check_memory(recording, recording.file.stat().st_size)
                    events = read(recording.file)
                else:
                    archive = open_zip(recording.file)
                    _check_growth(recording, archive.getinfo(recording.member))
                    events = read(io.BytesIO(archive.read(recording.member)))
        except UserError:  # A package for this format is missing; the file is fine.
            raise
        except CameraError as error:  # Another copy does not help.
            raise UserError(_name(recording, error)) from error
        except ValueError as error:
            raise _make_error(recording, error) from error
    for warning in caught:
        if isinstance(warning.message, SkippedWords):
            notes.setdefault("words", {})[str(recording)] = warning.message.count
        else:
            warnings.warn(warning.message, stacklevel=2)
    if not len(events):
        raise _make_error(recording, "it has no events")
    return events


def _check_memory(recording: Recording, size: int) -> None:
    if size > _ALWAYS_FITS:
        # Five bytes of N-MNIST become an event of 13, and need copies of it.
        check_memory(10 * size, f"the events of {recording}")


def _check_growth(recording: Recording, member: zipfile.ZipInfo) -> None:
    """Raise FileError for a member of a zip that expands more than recordings do."""
    most = max(_ALWAYS_FITS, _MOST_GROWTH * member.compress_size)
    if member.file_size > most:
        raise FileError(
            f"{recording} has {member.compress_size:,} bytes that expand to {member.file_size:,}, "
            f"more than the {most:,} that a recording may take. Is it damaged?"
        )
    _check_memory(recording, member.file_size)


def integrate(recording: Recording, events: np.ndarray, frames: Frames, notes: Notes) -> np.ndarray:
    """Return the events of a recording as counts `T H W 2`, uint16 or, if resized, float32.

    Changes to the events are added to `notes`. Raises UserError that names the recording.
    """
    name = f"{recording} from {recording.start} µs" if recording.end >= 0 else str(recording)
    (height, width), whole = frames.sensor, events
    if recording.end >= 0:
        events = _cut(recording, events)
    try:
        if len(events) < len(whole):
            _check_clock(events, whole)
        if frames.unsorted != "refuse":
            events, count = ordering.order_events(events, frames.unsorted)
            if count:
                notes.setdefault(frames.unsorted, {})[name] = count
        counts = RULES[frames.split_by](events, frames.num_frames, height=height, width=width)
    except OrderError as error:
        raise UserError(
            f"{_make_error(recording, f'events must be in order of time, but {error.where}')}\n"
            "Or set --config.data.unsorted=sort, or skip, which drops such events."
        ) from error
    except SensorError as error:
        raise UserError(
            f"{_make_error(recording, error)}\nOr is it of another camera than the others?"
        ) from error
    except ClockError as error:
        raise UserError(_name(recording, error)) from error
    except ValueError as error:
        raise _make_error(recording, error) from error
    if frames.size != frames.sensor:
        return resize(counts, frames.size)
    most = np.iinfo(np.uint16).max
    if counts.max() > most:
        notes.setdefault("clipped", {})[name] = int(np.count_nonzero(counts > most))
        counts = np.minimum(counts, most)
    return counts.astype(np.uint16)


def _cut(recording: Recording, events: np.ndarray) -> np.ndarray:
    """Return the events from the recording's start to its end."""
    first, last = int(events["t"].min()), int(events["t"].max())
    span = f"its labels name {recording.start} to {recording.end} µs, but its events"
    # A file that is truncated between two packets is valid; only its labels show that the end is
    # missing. A warning, not an error, because official recordings may be like this too.
    if last + 1 < recording.end:
        print_text(f"{recording}: {span} end at {last} µs; is the file truncated?", sys.stderr)
    part = events[(events["t"] >= recording.start) & (events["t"] < recording.end)]
    if not len(part):
        raise _make_error(recording, f"{span} are all from {first} to {last} µs")
    return part


def _check_clock(part: np.ndarray, whole: np.ndarray) -> None:
    """Raise ClockError if a part has events from before and after the clock wrapped."""
    try:
        check_order(part["t"])
    except OrderError:
        # The wrap itself may be outside of the part, which then only looks unsorted.
        with suppress(OrderError):
            check_order(whole["t"])


def _make_error(recording: Recording, why: ValueError | str) -> UserError:
    """Return the error for a damaged file, with its name, the reason and what to do."""
    said = _name(recording, why).rstrip(".")
    # An error of the operating system, such as a missing permission: a new download does not help.
    cause = why.__cause__ if isinstance(why, ValueError) else None
    if isinstance(cause, OSError) and cause.errno:
        return UserError(f"{said}.")
    end = "" if said.endswith("?") else "."
    return UserError(
        f"{said}{end}\nFetch or extract this file again; docs/guide/data.md has the addresses. A "
        "recording of your own can be removed."
    )


def _name(recording: Recording, why: ValueError | str) -> str:
    """Return the reason of an error with the name of the file."""
    # Readers name the file, except for a member of an archive, which they get as bytes.
    said = str(why).strip()
    return said if str(recording.file) in said else f"{recording}: {said}"
