"""Atomic writes of files and folders, and the hashes by which they are checked.

A file is written under another name, flushed to disk, and then renamed: after a kill or a power cut
there is either the old file or the new one. The order matters: a file that is renamed before its
bytes are on disk can be empty after a power cut.
"""

import glob
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pit_jax.signals import remove_if_stopped

from .errors import UserError


def write_atomically(file: Path, content: str | bytes, *, shared: bool = False) -> None:
    """Write `file` so that a reader finds either the old content or the new, never part of it.

    With `shared`, other processes may write the same file at the same time.
    """
    if not shared:
        _write_and_rename(file.with_name(f"{file.name}.part"), file, content)
        return
    part = _name_private(file)
    try:
        # The name is unique, so no later write would replace what is left of this one.
        with remove_if_stopped(part):
            _write_and_rename(part, file, content)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _write_and_rename(part: Path, file: Path, content: str | bytes) -> None:
    with part.open("wb") as opened:
        opened.write(content.encode() if isinstance(content, str) else content)
        opened.flush()
        os.fsync(opened.fileno())
    replace_file(part, file)


@contextmanager
def explain_unwritable(out: Path) -> Iterator[None]:
    """Raise UserError if the block cannot write `out`, which the user chose with --out."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another --out.") from error


def read_file(file: Path) -> bytes | None:
    """Return the content of `file`; None if it is missing.

    Raises UserError for a folder, for pipes and devices, which could be read forever, and if it
    cannot be read.
    """
    try:
        # For a link, its target is checked.
        if not is_regular(file):
            raise UserError(f"{file} is not a file; move it away.")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{file} cannot be read ({reason}); restore it or move it away.") from error


def is_regular(file: Path) -> bool:
    """Return whether `file`, or the target of a link, is a regular file; raise OSError if none."""
    return stat.S_ISREG(file.stat().st_mode)


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
def write_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` if the block ends without an error.

    Until then it has a name that no other process or thread uses. A `folder` that exists is
    replaced as a whole; nobody sees some of the new files without the others.
    """
    part, old = _name_private(folder), _name_private(folder)
    try:
        part.mkdir(parents=True)
        with remove_if_stopped(part):
            yield part
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)


def remove_parts(path: Path) -> None:
    """Remove what killed processes left of `path`; to be called where no other one writes it."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink()


def _name_private(path: Path) -> Path:
    # Not only the number of the process: threads share it, and so may containers that share a disk.
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


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
