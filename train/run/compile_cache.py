"""Compiled programs on disk, one cache per user: what was compiled once is read by the next start.

All runs and programs of a user share it. `FOLDER/jaxlib-VERSION-MACHINE-FEATURES/` has the programs
of one version of the compiler for the instructions of one CPU: those of another CPU may crash.
Programs that were not used for longest are removed when all together exceed `MOST_BYTES`.

Any process may remove any program at any time: a program is read by one call, and one that is
missing is compiled. A program is written under a private name and then renamed, so nobody sees, or
removes, an incomplete one.
"""

import errno
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
from jax._src import compilation_cache  # JAX has no public way to set a custom cache.
from jax._src.compilation_cache_interface import CacheInterface

from pit_jax.display import print_text

from ..errors import UserError
from ..files import hash_content, read_file, write_atomically

# The environment variable that names the folder, for JAX and for us.
FOLDER = "JAX_COMPILATION_CACHE_DIR"
# Programs that compile faster than this are not worth a file.
LEAST_SECONDS = 0.1
MOST_BYTES = 2 * 2**30
# A write takes seconds: files that are incomplete for a day are of killed processes.
STALE_SECONDS = 24 * 3600
SUFFIX = "-cache"
DIGEST_BYTES = 32


class CheckedCache(CacheInterface):
    """A compilation cache whose entries are written atomically, each after its SHA-256.

    JAX's own cache writes them in place. Compressed with zstandard, one with a flipped bit would be
    loaded, and run, without complaint. The entries in `folder` and in the folders next to it, of
    other versions and CPUs, take at most `most_bytes`.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path = folder
        self._most_bytes = most_bytes

    def get(self, key: str) -> bytes | None:
        """Return the program `key`; None if it is not stored, or damaged."""
        file = self._path / f"{key}{SUFFIX}"
        if not os.path.lexists(file):
            return None
        value = _read_entry(file)
        with suppress(OSError):
            # The time of the last use, by which old programs are found. Systems often do not record
            # when a file was read.
            os.utime(file) if value is not None else _remove(file)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Store the program `key`, unless the disk is full or read-only."""
        content = hashlib.sha256(value).digest() + value
        with suppress(OSError):  # Only the next start needs the stored program.
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._path / f"{key}{SUFFIX}", content, shared=True)
            remove_oldest(self._path.parent, self._most_bytes)


@contextmanager
def use_compile_cache(
    folder: Path | None = None, least_seconds: float = LEAST_SECONDS
) -> Iterator[None]:
    """Use the user's compilation cache in the block, or the one in `folder`; also a decorator.

    A cache that a program has given to JAX itself stays. Only programs that take at least
    `least_seconds` to compile are stored. A folder that cannot be written is reported, and the
    block runs without it.
    """
    config: Any = jax.config
    before = config.jax_compilation_cache_dir
    named = os.environ.get(FOLDER) or None
    # JAX reads the variable itself; any other folder was set by a program, or by an outer block. A
    # folder such as gs://bucket is for JAX alone.
    if before != named or "://" in (named or ""):
        yield
        return
    try:
        place = (folder or find_folder()).absolute() / name_version()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
    except (OSError, RuntimeError) as error:  # A RuntimeError: the user has no home.
        print_text(
            f"note: compiled programs are not stored for the next start ({error}); let {FOLDER} "
            "name a folder that can be written.",
            sys.stderr,
        )
        yield
        return
    least = config.jax_persistent_cache_min_compile_time_secs
    # The user may have set the variable of this option, too.
    is_set = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" in os.environ
    _set_cache(str(place), least if is_set else least_seconds)
    compilation_cache._cache = CheckedCache(place)
    compilation_cache._cache_initialized = True
    try:
        yield
    finally:
        _set_cache(before, least)


def find_folder() -> Path:
    """Return the folder of the user's compiled programs, of all versions.

    Raises RuntimeError if the user has no home.
    """
    if named := os.environ.get(FOLDER):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache):  # The standard says to ignore other values.
        return Path(cache) / "pit_jax"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "pit_jax" / "Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "pit_jax"


def name_version() -> str:
    """Return the name of the folder for this compiler and this CPU."""
    features = hash_content(_read_cpu_features())[:8]
    return f"jaxlib-{jaxlib.version.__version__}-{platform.machine()}-{features}"


def remove_oldest(root: Path, most_bytes: int) -> None:
    """Remove the entries in the folders of `root` that were used longest ago, to `most_bytes`.

    Incomplete entries of killed processes are removed too; those being written are kept.
    """
    now, found = time.time(), []
    for file in root.glob(f"jaxlib-*/*{SUFFIX}*"):
        with suppress(OSError):  # Another process may have removed it.
            status = file.stat()
            if file.name.endswith(SUFFIX):
                found.append((status.st_mtime, status.st_size, file))
            elif now - status.st_mtime > STALE_SECONDS:
                _remove(file)
    total = sum(size for _, size, _ in found)
    for _, size, file in sorted(found):
        if total <= most_bytes:
            break
        with suppress(OSError):
            _remove(file)
        total -= size


def _read_cpu_features() -> str:
    """Return in words which instructions the CPU has."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):  # On x86, on ARM.
                return " ".join(sorted(line.partition(":")[2].split()))
    return platform.processor()


def _read_entry(file: Path) -> bytes | None:
    try:
        content = read_file(file) or b""
    except UserError:  # The file cannot be read.
        return None
    digest, value = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return value if digest == hashlib.sha256(value).digest() else None


def _remove(path: Path) -> None:
    """Remove what is at `path`; nothing may be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _set_cache(folder: str | None, least_seconds: float) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least_seconds)
    compilation_cache.reset_cache()  # JAX reads the name of the folder only once.
