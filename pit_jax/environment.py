"""Faults of the environment in one sentence: devices, variables, memory, homes, folders.

JAX and its compiler read environment variables when they start; a bad value ends in a traceback
that does not name the variable, or even aborts the process.
"""

import errno
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping

from pit_jax.reading import FileError, quote_error

# Words of JAX's error when a device has no memory left.
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
# Advice if the platform that JAX_PLATFORMS names has no device.
INSTALL = "Unset JAX_PLATFORMS, or install JAX for this platform and check that its device is there"


def explain_environment(error: BaseException) -> str | None:
    """Return a sentence for an error that the environment causes, or None for any other."""
    text, files = quote_error(error), [name for name, _ in _list_frames(error)]
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if "Unable to initialize backend" in str(error):
        return f"JAX_PLATFORMS={platforms}: {text}. {INSTALL}."
    last = files[-1] if files else ""
    if isinstance(error, AssertionError) and last.endswith("jax/_src/xla_bridge.py") and platforms:
        return f"JAX_PLATFORMS={platforms}: JAX finds no such device here. {INSTALL}."
    if isinstance(error, ValueError) and last.endswith("jax/_src/config.py"):
        return f"JAX refuses a variable of the environment: {text}. Correct or unset it."
    if any(name.endswith("jax/_src/lib/__init__.py") for name in files[-2:]):
        return f"JAX cannot be imported: {text}. Reinstall jax and jaxlib of the same version."
    # Before memory: storage libraries call this RESOURCE_EXHAUSTED too.
    if os.strerror(errno.EMFILE) in str(error):
        return (
            f"{os.strerror(errno.EMFILE)}: this process has reached its limit. Raise the limit: "
            "ulimit -n 4096."
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return (
            "the system refuses another thread. Raise the limits of processes and of memory "
            "(ulimit -u, ulimit -v, or those of the container or job)."
        )
    if isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error):
        return (
            f"out of memory ({text}). A smaller batch or network needs less; config.accumulate=N "
            "trains a batch in N parts."
        )
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return f"{text.partition('] ')[2]}. Set TMPDIR to a folder that can be written."
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return f"{text}. Set HOME."
    return None


def check_compiler_flags(environment: Mapping[str, str] = os.environ) -> None:
    """Raise FileError for flags in XLA_FLAGS that XLA does not accept.

    XLA aborts the process for them, so a child process tries.
    """
    if not environment.get("XLA_FLAGS") or not hasattr(os, "fork"):
        return
    from jaxlib import _jax

    reading, writing = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks; this child calls only one function.
        child = os.fork()
    if child == 0:
        try:
            os.dup2(writing, 2)
            _jax.CompileOptions()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as printed:
        text = printed.read()
    if os.waitpid(child, 0)[1] == 0:
        return
    found = re.search(r"\.cc:\d+\] (.*)", text)
    reason = found[1].rstrip(".") if found else "a value that XLA does not accept"
    raise FileError(
        f"XLA_FLAGS={environment['XLA_FLAGS']}: {reason}. Correct the variable or unset it."
    )


def _list_frames(error: BaseException) -> Iterator[tuple[str, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename.replace(os.sep, "/"), trace.tb_lineno
        trace = trace.tb_next
