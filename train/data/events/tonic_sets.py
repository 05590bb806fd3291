"""Any data set of tonic, `tonic/NAME`: tonic downloads and reads it, and we make its frames.

A data set of tonic is a sequence of pairs of a structured array of events and a label.
"""

import difflib
import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pit_jax.display import print_text
from pit_jax.events import convert_events, make_events
from pit_jax.reading import quote_error

from ...errors import UserError
from ..dataset import ArraySplit, Dataset
from ..images.class_folders import order_names
from ..layouts import check_share, describe_test, split_off
from ..storage.cache import choose_cache_folder, load_or_make
from .event_folder import FrameOptions, describe_sensor, read_recording
from .notes import Notes, print_notes, save_notes
from .recordings import (
    Frames,
    Recording,
    check_size,
    fingerprint_recordings,
    hash_key,
    integrate,
    read_frames,
)


class _TonicSplit(NamedTuple):
    """A split of the data set `name` of tonic: the arguments that open it, in any process."""

    name: str
    folder: str
    options: tuple[tuple[str, object], ...]

    def open(self) -> Any:
        """Return tonic's object for it, which downloads what is missing; opened once."""
        return _open(self)

    def name_sample(self, number: int) -> Recording:
        """Return a recording that stands for a sample in error messages."""
        return Recording(0, number, Path("tonic", self.name), f"sample {number}")


class _TonicSamples(NamedTuple):
    """A split and the labels of its samples, whole numbers or names of classes."""

    split: _TonicSplit
    labels: list[Any]


def tonic_events(
    name: str,
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
    """Return frames of counts `N T H W 2` of the data set `name` of tonic, in `data_dir`.

    The longer side has at most `size` pixels. Spikes of sounds, which have no rows, are frames of
    one row. Raises `UserError` without tonic, for an unknown name, and for data without classes.

    Args:
        num_frames: T, the number of frames of each recording.
        split_by: how events are divided into frames, by equal number or equal time: `number` or
            `time`.
        size: the most pixels of the longer side; larger frames are resized, smaller ones are not.
        height: the rows of the camera; 0 asks tonic, or measures the largest coordinate.
        width: the columns of the camera; 0 asks tonic, or measures the largest coordinate.
        test_share: the share of the recordings of each class that become the test split, if tonic
            has none.
        unsorted: what happens to events that are not sorted by time: `refuse`, `sort`, or
            `skip`, which drops as few as possible.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    wanted = FrameOptions(num_frames, split_by, size, height, width, unsorted)
    wanted.check()
    check_share(test_share)
    root, cache = Path(data_dir).absolute(), choose_cache_folder(data_dir, cache_dir).absolute()
    options = _list_splits(name)
    if not (root / name).exists():  # tonic has a folder for each of its classes.
        print_text(f"tonic/{name} is not in {root}: tonic downloads it there", sys.stderr)
    opened = {
        split: _TonicSplit(name, str(root), tuple(each.items())) for split, each in options.items()
    }
    samples = {split: _TonicSamples(each, _read_labels(each)) for split, each in opened.items()}
    dataset = _load(f"tonic/{name}", samples, wanted, cache)
    return dataset if len(options) > 1 else _split(dataset, test_share)


def _load(
    source: str, splits: Mapping[str, _TonicSamples], wanted: FrameOptions, cache: Path
) -> Dataset:
    """Return the frames of all splits; without a test split, it is the training split."""
    classes, num_classes = _find_classes(source, splits)
    label_of = {each: label for label, each in enumerate(classes)}
    sensor, notes = _find_sensor(wanted, splits, cache)
    frames = wanted.make(sensor)
    check_size(sum(len(of.labels) for of in splits.values()), frames)
    parts, folders = {}, []
    for split, of in splits.items():
        labels = [label_of.get(label, label) for label in of.labels]
        images, folder = _load_frames(of.split, len(labels), frames, cache)
        parts[split] = ArraySplit(images, np.array(labels, np.int32))
        folders.append(folder)
    print_notes(source, folders)
    return Dataset(
        source,
        parts["train"],
        parts.get("test", parts["train"]),
        num_classes,
        classes=classes,
        validation=parts.get("validation"),
        notes=tuple(notes),
        read_file=partial(read_frames, read_recording, frames),
    )


def _split(dataset: Dataset, test_share: float) -> Dataset:
    """Return a data set that is tested on a share of its training samples."""
    whole = dataset.train
    assert isinstance(whole, ArraySplit)
    train, test = split_off(whole, test_share, dataset.name)
    note = describe_test(dataset.name, len(test), len(whole))
    return replace(dataset, train=train, test=test, notes=(*dataset.notes, note))


def _find_class(name: str) -> Any:
    """Return the class `name` of tonic's data sets."""
    try:
        import tonic
    except ImportError as error:
        raise UserError(
            f"tonic/{name} is read by tonic, which is not installed: "
            "pip install 'pit-jax[events]', or in a clone pip install '.[events]'."
        ) from error
    known = [key for key, each in vars(tonic.datasets).items() if inspect.isclass(each)]
    if name not in known:
        near = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f" Did you mean tonic/{near[0]}?" if near else ""
        raise UserError(
            f"tonic has no data set {name!r}; it has {', '.join(sorted(known))[:500]}.{hint}"
        )
    return getattr(tonic.datasets, name)


def _list_splits(name: str) -> dict[str, dict[str, object]]:
    """Return the arguments that select each split of a data set of tonic."""
    parameters = inspect.signature(_find_class(name)).parameters
    if "train" in parameters:
        return {"train": {"train": True}, "test": {"train": False}}
    if "split" in parameters:
        words = {"train": "train", "test": "test", "validation": "valid"}
        return {split: {"split": word} for split, word in words.items()}
    return {"train": {}}


# A process of a pool makes many shards of the same split.
@lru_cache(maxsize=4)
def _open(split: _TonicSplit) -> Any:
    try:
        return _find_class(split.name)(save_to=split.folder, **dict(split.options))
    # Errors of the network, the disk or an archive. Some classes exit if files are missing.
    except (Exception, SystemExit) as error:
        raise UserError(
            f"tonic cannot open {split.name} in {split.folder}: {quote_error(error)}. Its "
            "documentation says how to get the files."
        ) from error


def _read_labels(split: _TonicSplit) -> list[Any]:
    """Return the labels of a split as whole numbers or names."""
    data = split.open()
    targets = getattr(data, "targets", None)
    # Labels of sounds are in the files only.
    if targets is None or len(targets) != len(data):
        targets = [data[i][1] for i in range(len(data))]
    found = [each.decode() if isinstance(each, bytes) else each for each in targets]
    if not found:
        raise UserError(f"tonic/{split.name} has no recordings in {split.folder}. Fetch it again.")
    for label in found:
        if isinstance(label, bool) or not isinstance(label, str | int | np.integer):
            raise UserError(
                f"tonic/{split.name} has no classes: its first label is a {type(label).__name__}. "
                "Data sets for classification have one class for each recording."
            )
    return [label if isinstance(label, str) else int(label) for label in found]


def _find_classes(source: str, splits: Mapping[str, _TonicSamples]) -> tuple[tuple[str, ...], int]:
    """Return the names of the classes, if there are any, and their number."""
    labels = {label for of in splits.values() for label in of.labels}
    if any(isinstance(label, str) for label in labels):
        names = tuple(order_names(source, map(str, labels)))
        return names, len(names)
    given = getattr(splits["train"].split.open(), "classes", ())
    # A dict has the labels by name.
    listed = sorted(given, key=given.__getitem__) if isinstance(given, Mapping) else list(given)
    names = tuple(each.decode() if isinstance(each, bytes) else str(each) for each in listed)
    most = max(labels)
    if min(labels) < 0 or len(labels) < 2:
        raise UserError(f"{source} has the labels {sorted(labels)[:10]}, not two or more classes.")
    return (names, len(names)) if len(names) > most else ((), most + 1)


def _find_sensor(
    wanted: FrameOptions, splits: Mapping[str, _TonicSamples], cache: Path
) -> tuple[tuple[int, int], list[str]]:
    """Return height and width of the camera, as tonic says or measured, and notes on it."""
    given = (wanted.height, wanted.width)
    if all(given):
        return given, []
    known = getattr(splits["train"].split.open(), "sensor_size", None)
    if known is not None:
        columns, rows = map(int, known[:2])  # tonic's order is width, height, polarities.
        return (rows, columns), []
    sizes = np.concatenate(
        [
            load_or_make(
                cache,
                f"tonic-{of.split.name}-sensor",
                _make_key(of.split, len(of.labels)),
                len(of.labels),
                partial(_measure, of.split),
            )
            for of in splits.values()
        ]
    )
    height, width = sizes.max(axis=0).tolist()
    return (height, width), [describe_sensor((height, width))]


def _load_frames(
    split: _TonicSplit, count: int, frames: Frames, cache: Path
) -> tuple[np.ndarray, Path]:
    """Return the frames of a split, and the folder of the notes on them."""
    key = _make_key(split, count) | {"frames": frames}
    name = f"tonic-{split.name}"
    notes = cache / f"{name}-notes-{hash_key(key)}"
    return load_or_make(cache, name, key, count, partial(_make, split, frames, notes)), notes


def _make_key(split: _TonicSplit, count: int) -> dict[str, Any]:
    """Return what the events of a split depend on: its files, as far as tonic names them."""
    data = getattr(split.open(), "data", None)
    listed = data if isinstance(data, list | tuple) else ()
    files = [Path(each) for each in listed if isinstance(each, str | os.PathLike)]
    return {
        "version": 1,
        "options": split.options,
        "count": count,
        "files": fingerprint_recordings([Recording(0, 0, file) for file in files]),
    }


def _measure(split: _TonicSplit, which: range) -> np.ndarray:
    found = [_read_events(split, i) for i in which]
    return np.array([[int(events[axis].max()) + 1 for axis in "yx"] for events in found])


def _make(split: _TonicSplit, frames: Frames, notes_folder: Path, which: range) -> np.ndarray:
    notes = Notes()
    made = [integrate(split.name_sample(i), _read_events(split, i), frames, notes) for i in which]
    save_notes(notes_folder, which.start, notes)
    return np.stack(made)


def _read_events(split: _TonicSplit, number: int) -> np.ndarray:
    """Return the events of a sample; raise UserError that names it for anything else."""
    try:
        given = np.asarray(split.open()[number][0])
        names = given.dtype.names or ()
        if "x" in names and "y" not in names:  # Spikes of sounds: x is the frequency.
            p = given["p"] if "p" in names else np.ones(len(given), int)
            events = make_events(given["t"], given["x"], np.zeros(len(given), int), p)
        else:
            events = convert_events(given)
    except UserError:
        raise
    except Exception as error:  # tonic's readers raise many kinds of errors for damaged files.
        raise UserError(
            f"{split.name_sample(number)} cannot be read: {quote_error(error)}. Delete its "
            f"file in {split.folder}, so that tonic fetches it again."
        ) from error
    if not len(events):
        raise UserError(f"{split.name_sample(number)} has no events.")
    return events
