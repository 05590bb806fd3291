"""Targets with a fault each, to test that the fuzzer finds it."""

import ctypes
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pit_jax.artifact import ArtifactError
from pit_jax.reading import reading
from tests.fuzz.core import FileTarget


def write_text(folder: Path) -> list[Path]:
    """Write one file."""
    file = folder / "good.txt"
    file.write_bytes(zlib.compress(b"0123456789" * 20))
    return [file]


def read_unguarded(path: Path) -> None:
    """Let the error of another package through."""
    zlib.decompress(path.read_bytes())


def read_guarded(path: Path) -> None:
    """Turn every error into one of ours."""
    with reading(path, "compressed text", error=ArtifactError):
        zlib.decompress(path.read_bytes())


def read_wrong(path: Path) -> None:
    """Accept everything, and then find the result wrong."""
    assert not path.name, "a wrong result"


def crash(path: Path) -> None:
    """Read a null pointer."""
    ctypes.string_at(0)


def hang(path: Path) -> None:
    """Never end."""
    while True:
        time.sleep(1)


def waste_memory(path: Path) -> None:
    """Take more memory than this target may."""
    np.ones(30 << 20, np.uint8).sum()


def _make(read: Callable[[Path], None], seconds: float = 10, gigabytes: float = 2) -> FileTarget:
    return FileTarget(read.__name__, write_text, read, seconds=seconds, gigabytes=gigabytes)


TARGETS = [
    _make(read_unguarded),
    _make(read_guarded),
    _make(read_wrong),
    _make(crash),
    _make(hang, seconds=1),
    _make(waste_memory, gigabytes=0.01),
]
