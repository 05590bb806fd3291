"""Image files in ArrayRecord shards: written once, in parallel, checked by hash, read by index."""

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

from rich.console import Console
from rich.progress import track

from ...errors import UserError
from ...files import hash_file, name_own_part, replace_file, write_atomically
from ..storage.workers import start_pool
from .decode import check_image, decode, shrink

T = TypeVar("T")

FORMAT = 1
MANIFEST = "manifest.json"
# A record is the label and then the image file as it was.
LABEL = struct.Struct("<I")
# Random access to each record; JPEGs do not get smaller.
OPTIONS = "group_size:1,uncompressed"
FETCH = (
    "Fetch it, or the archive that it came in, again; or remove it. Then the same command goes on."
)


class Sample(NamedTuple):
    """One image file: where it came from, for messages, its class and its bytes."""

    place: str
    label: int
    content: bytes


class Piece(Protocol):
    """A part of a source; it goes to a worker process, so it can be pickled."""

    def samples(self) -> Iterator[Sample]: ...


class Shard(NamedTuple):
    """The file that comes from some pieces of a source."""

    split: str
    file: str
    pieces: tuple[Piece, ...]


class Plan(NamedTuple):
    """A conversion before it is done; `num_bytes` is about what the images take."""

    name: str
    source: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    num_bytes: int


def convert(
    plan: Plan, out: Path, *, workers: int, size: int = 0, decoded: bool = False
) -> dict[str, Any]:
    """Write the shards of `plan` that are missing in `out`, and return the manifest.

    The manifest has the images of each shard, by class, its bytes and its sha256. With a `size`
    above 0 images whose shorter side is longer are made smaller; with `decoded` every image is
    decoded to see that it can be. Raises `UserError` for a folder
    of something else, a shard that has changed, a damaged source, and where the disk fails.
    """
    try:
        manifest = _claim(plan, out, size)
        done: dict[str, Any] = manifest["shards"]
        kept = {file: about for file, about in done.items() if (out / file).exists()}
        verify(out, kept, workers)
        missing = [shard for shard in plan.shards if shard.file not in kept]
        if missing and not size:  # How much smaller images will take nobody knows yet.
            _check_space(plan, out, len(missing))
        for part in out.glob("*.part"):
            part.unlink()
        for shard, part, about in _write_all(missing, out, size, decoded, workers):
            replace_file(part, out / shard.file)
            done[shard.file] = about
            write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))
        manifest["complete"] = True
        write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))
    except OSError as error:
        free = shutil.disk_usage(_find_parent(out)).free
        raise UserError(
            f"cannot write to {out} ({error.strerror}; {free:,} bytes are free). What is finished "
            "is kept; the same command goes on with it."
        ) from error
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished conversion; raise `UserError` if files differ from it.

    Files are compared by their size; `verify` reads them whole.
    """
    manifest = _load(folder / MANIFEST)
    if not manifest["complete"]:
        raise UserError(f"{folder} is not finished: repeat the command that began to write it.")
    for name in manifest["files"]:
        about = manifest["shards"][name]
        found = (folder / name).stat().st_size if (folder / name).exists() else 0
        if found != about["bytes"]:
            raise UserError(_describe_change(folder / name, f"{about['bytes']} bytes", f"{found}"))
    return manifest


def verify(folder: Path, shards: Mapping[str, Any], workers: int) -> None:
    """Raise `UserError` for the first of `shards` whose sha256 is not that of the manifest."""
    files = [folder / name for name in shards]
    if not files:
        return
    for file, found in zip(files, _map(hash_file, files, workers, "checking"), strict=True):
        if found != shards[file.name]["sha256"]:
            raise UserError(_describe_change(file, f"sha256 {shards[file.name]['sha256']}", found))


class ImageRecords:
    """The records of one split, by index: `records[i]` is a `Sample`.

    `shards` is what the manifest says of its files, `per_class` how many records each class has.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self._folder = folder
        self.shards = {
            name: manifest["shards"][name]
            for name in manifest["files"]  # Their order; in "shards" it is when they were done.
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
        record = self._source[index]
        (label,) = LABEL.unpack_from(record)
        return Sample(self._place(index), label, record[LABEL.size :])

    def _place(self, index: int) -> str:
        shard = bisect_right(self._ends, index)
        first = self._ends[shard - 1] if shard else 0
        return f"{self._folder / list(self.shards)[shard]}: record {index - first}"


class _Instruction(NamedTuple):
    """What ArrayRecordDataSource wants to know of a file, so that it need not open all of them."""

    filename: str
    take: int
    skip: int = 0

    @property
    def examples_in_shard(self) -> int:
        return self.take


def _claim(plan: Plan, out: Path, size: int) -> dict[str, Any]:
    """Return the manifest of `out`, which is new, empty or begun by the same command."""
    about = {
        "format": FORMAT,
        "name": plan.name,
        "source": plan.source,
        "size": size,
        "classes": list(plan.classes),
        "files": [shard.file for shard in plan.shards],
    }
    if (out / MANIFEST).exists():
        manifest = _load(out / MANIFEST)
        differing = [key for key in about if manifest.get(key) != about[key]]
        if differing:
            raise UserError(
                f"{out} was begun from another source or with other options (its manifest has "
                f"another {', '.join(differing)}); choose another --out."
            )
        return manifest
    if not (there := _find_parent(out)).is_dir():
        raise UserError(f"{there} is a file; choose another --out, a folder.")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no conversion; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    manifest = about | {"complete": False, "shards": {}}
    write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))
    return manifest


def _load(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_text())
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, not {FORMAT}")
        return {**manifest, "shards": dict(manifest["shards"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged or of another version ({error!r}).") from error


def _check_space(plan: Plan, out: Path, missing: int) -> None:
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
    """Yield each shard with the file that was written for it, as they are done."""
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
            processes.shutdown(wait=False, cancel_futures=True)
            raise


def _write(shard: Shard, out: Path, size: int, decoded: bool) -> tuple[Path, dict[str, Any]]:
    """Write one shard under a name of this process, which the main process changes later."""
    from array_record.python.array_record_module import ArrayRecordWriter

    part = name_own_part(out / shard.file)
    labels: Counter[int] = Counter()
    try:
        writer = ArrayRecordWriter(str(part), OPTIONS)
        for piece in shard.pieces:
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
    except RuntimeError as error:  # What writes says it so, with the disk's own words.
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
    return track(items, title, total, console=Console(stderr=True))


def _describe_change(file: Path, expected: str, found: str) -> str:
    return (
        f"{file}: expected {expected}, got {found}. Delete this file and repeat "
        "`python -m pit_jax prepare` as before: it alone is written again."
    )


def _find_parent(folder: Path) -> Path:
    """Return the nearest folder above that exists."""
    return folder if folder.exists() else _find_parent(folder.absolute().parent)
