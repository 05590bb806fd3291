"""Locks that let any number of processes and machines share one folder.

A lock is released by the system when the process that holds it ends, however it ends. The files
are never deleted: one process could lock a deleted file while another locks a new one.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from pit_jax.display import print_text

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

FOLDER = "locks"


def try_lock(out: Path, name: str) -> IO[str] | None:
    """Return the open, locked file of `name`; None if another process holds the lock."""
    file = _open(out, name)
    try:
        _lock(file, wait=False)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def hold_lock(out: Path, name: str) -> Iterator[None]:
    """Wait for the lock `name` and hold it in the block."""
    with _open(out, name) as file:
        _lock(file, wait=True)
        yield


def is_locked(out: Path, name: str) -> bool:
    """Return whether a process holds the lock `name`."""
    file = try_lock(out, name)
    if file is not None:
        file.close()
    return file is None


def _open(out: Path, name: str) -> IO[str]:
    file = out / FOLDER / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("a")


def _lock(file: IO[str], *, wait: bool) -> None:
    if fcntl is None:
        _note("this system has no such locks")
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:  # Some network file systems have no locks.
        _note(str(error.strerror))


@cache
def _note(reason: str) -> None:
    print_text(
        f"files cannot be locked ({reason}): start no second process on this folder.", sys.stderr
    )
