"""Archives that are extracted once, into the cache, with a manifest by which they are checked."""

import io
import json
import sys
import zlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pit_jax.display import print_text

from ...errors import UserError
from ...files import hash_content, move_aside
from .archives import CHUNK, Entry, iterate_files
from .lock import make_once
from .names import simplify

MANIFEST = ".extracted.json"
ENDS = 1 << 16  # Bytes at both ends of an archive that enter its fingerprint.


def extract_once(archive: Path, folder: Path, endings: Container[str]) -> None:
    """Extract the files with one of `endings` to `folder`, unless it has them from this archive.

    A folder of the same name around the files is removed from their paths. Nothing appears in
    `folder` before the checksum of the archive is compared. One process makes the folder; it is
    made again if a file is missing or has another size. Raises UserError for a damaged archive and
    for a disk that cannot be written.
    """

    def make(part: Path) -> None:
        print_text(f"extracting {archive} once, to {folder}", sys.stderr)
        if folder.exists() and not (folder / MANIFEST).exists():
            # Made by an older version or the user: it cannot be checked, but may be needed.
            aside = move_aside(
                folder, (folder.with_name(f"{folder.name}.{n}.old") for n in count())
            )
            print_text(f"{folder} has no manifest; it is kept as {aside}", sys.stderr)
        entries = (e for e in iterate_files(archive) if e.name.suffix.lower() in endings)
        files = dict(_extract(entry, part, folder.name) for entry in entries)
        text = json.dumps({"archive": content, "files": files}, indent=1)
        (part / MANIFEST).write_text(f"{text}\n")

    try:
        content = fingerprint(archive)
        make_once(folder, lambda: is_whole(folder, content), make, f"extracts {archive}")
    except OSError as error:
        raise UserError(
            f"cannot extract {archive} to {folder} ({error.strerror}); choose another folder with "
            "--config.data.cache_dir=DIR."
        ) from error


def is_whole(folder: Path, content: str = "") -> bool:
    """Return whether `folder` was extracted from the archive `content`, and has all its files.

    Without `content`, from any archive. Sizes are compared here, and contents when they are read.
    """
    manifest = _read_manifest(folder)
    if not manifest or content not in ("", manifest["archive"]):
        return False
    try:
        return all(
            (folder / name).stat().st_size == size for name, (size, _) in manifest["files"].items()
        )
    except OSError:
        return False


def fingerprint(archive: Path) -> str:
    """Return values that identify the content of an archive without reading all of it.

    The ends of a gz and of a zip have the checksums of the contents.
    """
    size = archive.stat().st_size
    with archive.open("rb") as opened:
        ends = opened.read(ENDS)
        opened.seek(max(0, size - ENDS))
        ends += opened.read(ENDS)
    return f"{size}-{hash_content(ends)[:16]}"


@dataclass(frozen=True)
class CheckedReader:
    """A reader of files that compares those of an extracted `folder` with its manifest."""

    read: Callable[[Any], np.ndarray]
    folder: Path
    checksums: Mapping[str, int]

    def __call__(self, source: io.BufferedIOBase | Path) -> np.ndarray:
        """Return what `read` returns; raise UserError for a file that has changed."""
        if not isinstance(source, Path) or not source.is_relative_to(self.folder):
            return self.read(source)
        content = source.read_bytes()
        expected = self.checksums.get(source.relative_to(self.folder).as_posix())
        if expected is not None and zlib.crc32(content) != expected:
            raise UserError(
                f"{source} has changed since it was extracted. Delete the folder {self.folder}: it "
                "is extracted again."
            )
        return self.read(io.BytesIO(content))


def check_contents(read: Callable[[Any], np.ndarray], folder: Path) -> Callable[[Any], np.ndarray]:
    """Return `read`, which also checks contents if `extract_once` extracted `folder`."""
    manifest = _read_manifest(folder)
    if not manifest:
        return read
    checksums = {name: checksum for name, (_, checksum) in manifest["files"].items()}
    return CheckedReader(read, folder, checksums)


def _extract(entry: Entry, part: Path, inner: str) -> tuple[str, tuple[int, int]]:
    """Write a file of an archive into `part`; return its path, its size and its CRC-32."""
    parts = entry.name.parts
    names = [simplify(name) for name in parts[:-1]]
    if simplify(inner) in names:
        parts = parts[names.index(simplify(inner)) + 1 :]
    target, size, checksum = part.joinpath(*parts), 0, 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while chunk := entry.read(CHUNK):
            file.write(chunk)
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    return "/".join(parts), (size, checksum)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an extracted folder; empty if it has none, or a damaged one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for size, checksum in manifest["files"].values():
            if not isinstance(size, int) or not isinstance(checksum, int):
                raise TypeError
        return manifest if isinstance(manifest["archive"], str) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
