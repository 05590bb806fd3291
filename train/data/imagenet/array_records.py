"""Image files in ArrayRecord shards: written in parallel, verified by hash, read by index."""

import json
import shutil
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import as_completed
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from pit_jax.reading import reading

from ...errors import UserError
from ...files import hash_file, name_own_part, remove_parts, replace_file, write_atomically
from ...terminal import Terminal, track
from ..storage.lock import hold_lock
from ..storage.workers import start_pool
from .decode import check_image, decode, shrink
from .manifest import FORMAT, MANIFEST, load_manifest

T = TypeVar("T")

# A record is the label, followed by the unchanged image file.
LABEL = struct.Struct("<I")
# Groups of one record, for random access; uncompressed, because JPEGs do not get smaller.
OPTIONS = "group_size:1,uncompressed"
REPEAT = "Repeat `python -m pit_jax prepare` as before"
AGAIN = (
    "Delete this file and repeat `python -m pit_jax prepare imagenet` as before, with --verify: "
    "only this file is written again, and the damaged image of the source is named."
)
FETCH = "Fetch it, or its archive, again; or remove it. Then repeat the command to resume."


class Sample(NamedTuple):
    """One image file: its source, for messages, its class and its bytes."""

    place: str
    label: int
    content: bytes


class Piece(Protocol):
    """A part of a source; it can be pickled, because it is sent to a worker process."""

    def samples(self) -> Iterator[Sample]:
        """Yield the images of this part."""


class Shard(NamedTuple):
    """An output file and the pieces of the source that it is made of."""

    split: str
    file: str
    pieces: tuple[Piece, ...]


class Plan(NamedTuple):
    """A planned conversion; `num_bytes` is about the size of its images."""

    name: str
    source: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    num_bytes: int


def convert(
    plan: Plan, out: Path, *, workers: int, size: int = 0, decoded: bool = False
) -> dict[str, Any]:
    """Write the shards of `plan` that are missing in `out`, and return the manifest.

    The manifest has, for each shard, its number of images by class, its bytes and its sha256. With
    a `size` above 0, images with a longer shorter side are resized to it; with `decoded`, every
    image is decoded as a test. Raises `UserError` for a folder with other files, a shard that has
    changed, a damaged source and a disk that fails.
    """
    try:
        _check_out(plan, out, size)
        # The lock is in the folder, which exists or can be made; not every user may write above it.
        with hold_lock(out / MANIFEST, f"prepares {out}") as locked:
            manifest = _claim(plan, out, size)
            if locked:  # No other process writes these parts, so killed processes left them.
                for name in (MANIFEST, *manifest["files"]):
                    remove_parts(out / name)
            _convert_missing(plan, out, manifest, workers, size, decoded)
    except OSError as error:
        free = shutil.disk_usage(_find_parent(out)).free
        raise UserError(
            f"cannot write to {out} ({error.strerror}; {free:,} bytes are free). Finished files "
            "are kept; repeat the command to resume."
        ) from error
    return manifest


def _convert_missing(
    plan: Plan, out: Path, manifest: dict[str, Any], workers: int, size: int, decoded: bool
) -> None:
    """Write the shards that are missing in `out`, and add them to the manifest."""
    done: dict[str, Any] = manifest["shards"]
    kept = {file: about for file, about in done.items() if (out / file).exists()}
    # Before hours of writing: a shard that changed on disk must not be part of the result.
    verify(out, kept, workers)
    missing = [shard for shard in plan.shards if shard.file not in kept]
    if missing and not size:  # The size of resized images is not known in advance.
        _check_space(plan, out, len(missing))
    for shard, part, about in _write_all(missing, out, size, decoded, workers):
        # First the file, then the manifest: a kill between them costs one shard, written again.
        # In the other order the manifest would promise a file that is not there.
        replace_file(part, out / shard.file)
        done[shard.file] = about
        write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))
    manifest["complete"] = True
    write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished conversion; raise `UserError` if files differ from it.

    Only sizes are compared, because this runs at every start of training; `verify` compares
    hashes.
    """
    manifest = load_manifest(folder / MANIFEST)
    if not manifest["complete"] or set(manifest["files"]) - set(manifest["shards"]):
        raise UserError(f"{folder} is not finished. Repeat the command that began it.")
    for name in manifest["files"]:
        expected, file = manifest["shards"][name]["bytes"], folder / name
        if not file.is_file():
            raise UserError(f"{file} is missing. {REPEAT}: only this file is written again.")
        if (found := file.stat().st_size) != expected:
            raise UserError(_describe_change(file, f"{expected} bytes", f"{found}"))
    return manifest


def verify(folder: Path, shards: Mapping[str, Any], workers: int) -> None:
    """Raise `UserError` for the first of `shards` whose sha256 differs from the manifest's."""
    files = [folder / name for name in shards]
    if not files:
        return
    for file, found in zip(files, _map(hash_file, files, workers, "checking"), strict=True):
        if found != shards[file.name]["sha256"]:
            raise UserError(_describe_change(file, f"sha256 {shards[file.name]['sha256']}", found))


class ImageRecords:
    """The records of one split, by index: `records[i]` is a `Sample`.

    `shards` has the manifest's entries of its files, `per_class` the number of records of each
    class.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self._folder = folder
        self.shards = {
            name: manifest["shards"][name]
            for name in manifest["files"]  # In index order; "shards" is in the order of writing.
            if manifest["shards"][name]["split"] == split
        }
        self.per_class = tuple(
            sum(about["per_class"].get(str(label), 0) for about in self.shards.values())
            for label in range(len(manifest["classes"]))
        )
        self._ends = list(accumulate(shard["records"] for shard in self.shards.values()))
        self._source = ArrayRecordDataSource(
            [
                _Instruction(str(folder / name), shard["records"])
                for name, shard in self.shards.items()
            ]
        )

    def __len__(self) -> int:
        return sum(self.per_class)

    def __getitem__(self, index: int) -> Sample:
        # The format has a hash of each record: damage inside a file is an error here.
        with reading(self._place(index), "a record", error=UserError, advice=AGAIN):
            record = self._source[index]
            (label,) = LABEL.unpack_from(record)
            if label >= len(self.per_class):
                raise ValueError(f"its label is {label} of {len(self.per_class)} classes")
        return Sample(self._place(index), label, record[LABEL.size :])

    def _place(self, index: int) -> str:
        shard = bisect_right(self._ends, index)
        first = self._ends[shard - 1] if shard else 0
        return f"{self._folder / list(self.shards)[shard]}: record {index - first}"


class _Instruction(NamedTuple):
    """A file and its number of records, so that ArrayRecordDataSource opens no file to count."""

    filename: str
    take: int
    skip: int = 0

    @property
    def examples_in_shard(self) -> int:
        return self.take


def _check_out(plan: Plan, out: Path, size: int) -> dict[str, Any]:
    """Return the manifest of `out`, or a new one for a folder that is empty or does not exist.

    Raises `UserError` for every folder that was not begun by the same command, so that no file of
    the user is overwritten. Nothing is written.
    """
    about = {
        "format": FORMAT,
        "name": plan.name,
        "source": plan.source,
        "size": size,
        "classes": list(plan.classes),
        "files": [shard.file for shard in plan.shards],
    }
    # Listed before the manifest is read: another process may write it and shards meanwhile.
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    if (out / MANIFEST).exists():
        manifest = load_manifest(out / MANIFEST)
        differing = [key for key in about if manifest.get(key) != about[key]]
        if differing:
            raise UserError(
                f"{out} was begun from another source or with other options (its manifest has "
                f"a different {', '.join(differing)}); choose another --out."
            )
        return manifest
    if not (there := _find_parent(out)).is_dir():
        raise UserError(f"{there} is a file. Choose a folder for --out.")
    # The lock, and the first manifest of a process that writes it now or was killed then.
    if set(names) - {f".{MANIFEST}.lock", f"{MANIFEST}.part"}:
        raise UserError(f"{out} is not empty and has no {MANIFEST}; choose another --out.")
    return about | {"complete": False, "shards": {}}


def _claim(plan: Plan, out: Path, size: int) -> dict[str, Any]:
    """Make `out` the folder of this conversion, and return its manifest."""
    manifest = _check_out(plan, out, size)
    if not (out / MANIFEST).exists():
        write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))
    return manifest


def _check_space(plan: Plan, out: Path, missing: int) -> None:
    # An estimate: shards are about equal, and records add only 4 bytes and an index entry.
    needed = plan.num_bytes * missing // len(plan.shards)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(
            f"{out}: about {needed:,} bytes are needed, {free:,} are free. Make room, choose "
            "another --out, or smaller images with --size."
        )


def _write_all(
    shards: list[Shard], out: Path, size: int, decoded: bool, workers: int
) -> Iterator[tuple[Shard, Path, dict[str, Any]]]:
    """Write the shards, and yield each with its file in the order in which they are finished."""
    if workers <= 1 or len(shards) <= 1:
        for shard in _show_bar(shards, "writing"):
            yield shard, *_write(shard, out, size, decoded)
        return
    with start_pool(min(workers, len(shards))) as processes:
        jobs = {processes.submit(_write, shard, out, size, decoded): shard for shard in shards}
        try:
            for job in _show_bar(as_completed(jobs), "writing", len(jobs)):
                yield jobs[job], *job.result()
        except BaseException:
            # Do not wait for the other shards, which may take half a minute each.
            processes.shutdown(wait=False, cancel_futures=True)
            raise


def _write(shard: Shard, out: Path, size: int, decoded: bool) -> tuple[Path, dict[str, Any]]:
    """Write one shard under a temporary name, which the main process replaces."""
    from array_record.python.array_record_module import ArrayRecordWriter

    part = name_own_part(out / shard.file)
    labels: Counter[int] = Counter()
    try:
        writer = ArrayRecordWriter(str(part), OPTIONS)
        for piece in shard.pieces:
            # Checked before it is written, so every record of a finished shard is an image.
            for place, label, content in piece.samples():
                check_image(content, place, FETCH)
                if size:
                    content = shrink(content, size, place, FETCH)
                elif decoded:
                    decode(content, place, FETCH)
                writer.write(LABEL.pack(label) + content)
                labels[label] += 1
        writer.close()
    except OSError as error:
        raise UserError(f"the source of {shard.file} cannot be read ({error}).") from error
    except RuntimeError as error:  # ArrayRecordWriter's error for a disk that fails.
        raise OSError(0, str(error)) from error
    return part, {
        "split": shard.split,
        "records": labels.total(),
        "bytes": part.stat().st_size,
        "sha256": hash_file(part),
        "per_class": {str(label): count for label, count in sorted(labels.items())},
    }


def _map(function: Any, arguments: list[Any], workers: int, title: str) -> Iterator[Any]:
    if workers <= 1 or len(arguments) <= 1:
        yield from map(function, _show_bar(arguments, title))
        return
    with start_pool(min(workers, len(arguments))) as processes:
        yield from _show_bar(processes.map(function, arguments), title, len(arguments))


def _show_bar(items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
    return track(items, title, total, console=Terminal(stderr=True))


def _describe_change(file: Path, expected: str, found: str) -> str:
    return (
        f"{file}: expected {expected}, got {found}. Delete this file. {REPEAT}: only this file is "
        "written again."
    )


def _find_parent(folder: Path) -> Path:
    """Return the nearest folder above that exists."""
    return folder if folder.exists() else _find_parent(folder.absolute().parent)
