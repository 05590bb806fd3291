"""Compile functions to machine code, cache it, and count the cores that may run it."""

import os
from pathlib import Path
from typing import Any

import numba

from pit_jax.artifact import hash_parts
from pit_jax.inference.runtime import fixed_point
from pit_jax.old_names import serve_old_names


def compile_inner(function: Any) -> Any:
    """Compile `function` as a part of the entry that calls it."""
    return numba.njit(nogil=True)(function)


def compile_entry(function: Any) -> Any:
    """Compile `function` at its first call and store the machine code in __pycache__.

    numba recompiles when the file of `function` changes, but not when a function that it calls
    changes in another file. Therefore `function` must be a closure over `SOURCES_HASH`, whose value
    is a part of numba's cache key.
    """
    return numba.njit(nogil=True, cache=True)(function)


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # On Linux a process may be limited to some cores.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _hash_sources() -> str:
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(fixed_point.__file__)]
    return hash_parts(file.read_bytes() for file in files)


SOURCES_HASH = _hash_sources()


serve_old_names(__name__)
