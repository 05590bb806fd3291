"""Atomic writes of files and folders, and the hashes by which they are checked.

A file is written under another name, flushed to disk, and then renamed: after a kill or a power cut
there is either the old file or the new one. The order matters: a file that is renamed before its
bytes are on disk can be empty after a power cut.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(file: Path, content: str | bytes, *, shared: bool = False) -> None:
    """Write `file` so that a reader finds either the old content or the new, never part of it.

    With `shared`, other processes may write the same file at the same time.
    """
    part = name_own_part(file) if shared else file.with_name(f"{file.name}.part")
    with part.open("wb") as opened:
        opened.write(content.encode() if isinstance(content, str) else content)
        opened.flush()
        os.fsync(opened.fileno())
    replace_file(part, file)


def append_line(file: Path, line: str) -> None:
    """Append `line` to `file` and wait until it is on disk.

    A kill may leave part of the line, without its newline; `run.reading.read_records` skips it.
    """
    with file.open("a") as opened:
        opened.write(f"{line}\n")
        opened.flush()
        os.fsync(opened.fileno())


def name_own_part(file: Path) -> Path:
    """Return the name under which only this process writes `file` until it is complete."""
    return file.with_name(f"{file.name}.{os.getpid()}.part")


def replace_file(part: Path, file: Path) -> None:
    """Rename `part`, which is complete, to `file`; an existing `file` is replaced."""
    os.replace(part, file)


@contextmanager
def write_folder(folder: Path, inner: str = "") -> Iterator[Path]:
    """Yield an empty folder that is renamed to `folder` if the block ends without an error.

    With `inner`, only the folder of that name inside it is.
    """
    part = folder.with_name(f"{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # A killed process may have left one.
        part.mkdir(parents=True)
        yield part
        (part / inner).rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def move_aside(path: Path, names: Iterable[Path]) -> Path:
    """Rename `path` to the first of `names` that does not exist, and return the new path."""
    aside = next(name for name in names if not os.path.lexists(name))
    aside.parent.mkdir(parents=True, exist_ok=True)
    path.rename(aside)
    return aside


def hash_file(file: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file's content, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()


def hash_content(content: str | bytes) -> str:
    """Return the SHA-256 of `content`, in hexadecimal digits."""
    return hash_chunks([content.encode() if isinstance(content, str) else content])


def hash_chunks(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of all `chunks`, one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
