"""Compile functions to machine code, cache it, and count the cores that may run it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer
from time import monotonic
from typing import Any

import numba

from pit_jax.artifact import hash_parts
from pit_jax.display import print_text
from pit_jax.inference.runtime import fixed_point
from pit_jax.old_names import serve_old_names

# Seconds. Machine code is loaded from the cache in less.
PATIENCE = 2.0


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


@contextmanager
def report_compilation(function: Any) -> Iterator[None]:
    """Print a line to stderr while the block, the first call of `function`, compiles it.

    Loading machine code from the cache takes less than `PATIENCE`, and prints nothing.
    """
    # With NUMBA_DISABLE_JIT nothing is compiled, and functions have no signatures.
    if getattr(function, "signatures", True):
        yield
        return
    start, printed = monotonic(), Event()

    def note() -> None:
        printed.set()
        text = "compiling the event-driven engine, once on this machine …"
        print_text(text, sys.stderr, flush=True)

    timer = Timer(PATIENCE, note)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if printed.is_set():
        print_text(f"compiled in {monotonic() - start:.0f} s", sys.stderr)


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
