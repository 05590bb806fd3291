"""Compiled programs on disk, so that a run that resumes does not compile them again."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache  # JAX has no public way to set a custom cache.
from jax._src.compilation_cache_interface import CacheInterface

from ..errors import UserError
from ..files import read_file, write_atomically

# Programs that compile faster than this are not worth a file.
LEAST_SECONDS = 0.2
SUFFIX = "-cache"
DIGEST_BYTES = 32


class CheckedCache(CacheInterface):
    """A compilation cache whose entries are written atomically, each after its SHA-256.

    JAX's own cache writes them in place. Compressed with zstandard, one with a flipped bit would be
    loaded, and run, without complaint.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder

    def get(self, key: str) -> bytes | None:
        """Return the program `key`; None if it is not stored, or damaged."""
        return _read_entry(self._path / f"{key}{SUFFIX}")

    def put(self, key: str, value: bytes) -> None:
        """Store the program `key`, unless the disk is full."""
        content = hashlib.sha256(value).digest() + value
        with suppress(OSError):  # Only the next start needs the stored program.
            self._path.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path / f"{key}{SUFFIX}", content, shared=True)


@contextmanager
def use_compile_cache(folder: Path, least_seconds: float = LEAST_SECONDS) -> Iterator[None]:
    """Use `folder` as the compilation cache in the block, unless JAX already has one.

    Only programs that take at least `least_seconds` to compile are stored.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir is not None:
        yield
        return
    before = config.jax_persistent_cache_min_compile_time_secs
    _drop_damaged(folder)
    _set_cache(folder.absolute(), least_seconds)
    try:
        yield
    finally:
        _set_cache(None, before)


def _read_entry(file: Path) -> bytes | None:
    try:
        content = read_file(file) or b""
    except UserError:  # The file is missing or cannot be read.
        return None
    digest, value = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return value if digest == hashlib.sha256(value).digest() else None


def _drop_damaged(folder: Path) -> None:
    """Remove damaged entries, which would be compiled but not replaced, and incomplete ones."""
    for file in folder.glob("*"):
        if file.name.endswith(SUFFIX) and _read_entry(file) is not None:
            continue
        if SUFFIX in file.name:
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()


def _set_cache(folder: Path | None, least_seconds: float) -> None:
    jax.config.update("jax_compilation_cache_dir", None if folder is None else str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least_seconds)
    compilation_cache.reset_cache()  # JAX reads the name of the folder only once.
    if folder is not None:
        compilation_cache._cache = CheckedCache(folder)
        compilation_cache._cache_initialized = True
