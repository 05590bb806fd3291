"""Compiled programs on disk, so that a run that resumes does not compile them again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jax._src.compilation_cache import decompress_executable  # There is no public name for it.
from jax.experimental.compilation_cache.compilation_cache import reset_cache

# Programs that compile faster than this are not worth a file.
LEAST_SECONDS = 0.2


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
    _drop_parts(folder)
    _set_cache(str(folder), least_seconds)
    try:
        yield
    finally:
        _set_cache(None, before)


def _drop_parts(folder: Path) -> None:
    """Remove entries that a killed run left incomplete.

    JAX writes them in place, and would warn of an incomplete one at every start without replacing
    it.
    """
    for file in folder.glob("*-cache"):
        try:
            decompress_executable(file.read_bytes())
        except Exception:  # The class depends on the compression.
            file.unlink()


def _set_cache(folder: str | None, least_seconds: float) -> None:
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least_seconds)
    reset_cache()  # JAX reads the name of the folder only once.
