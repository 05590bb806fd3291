"""How functions become machine code, when they become it anew, and how many cores run it."""

import os
from pathlib import Path
from typing import Any

import numba

from pit_jax.artifact import hash_parts
from pit_jax.inference.runtime import fixed_point


def compiled(function: Any) -> Any:
    """`function` as a part of what calls it."""
    return numba.njit(nogil=True)(function)


def kept(function: Any) -> Any:
    """`function` in machine code, which is made at its first call and kept in __pycache__.

    numba keeps it until the file of `function` changes, whatever becomes of those that it calls.
    So it is to be a closure over `SOURCES`, which numba looks at too.
    """
    return numba.njit(nogil=True, cache=True)(function)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux knows of those that it may not.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _digest() -> str:
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(fixed_point.__file__)]
    return hash_parts(file.read_bytes() for file in files)


SOURCES = _digest()
