"""The one way to call a foreign parser: whatever it raises becomes one error with the file's name.

Parsers raise anything for damaged bytes: `zlib.error`, `RecursionError`, `OverflowError`, errors of
their own, and a Rust library even a `PanicException`, which is not an `Exception`.
A parser that can crash or never end runs in a process with limits, which starts with this file.
"""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pit_jax.display import note_path

# How `plan_process` finds this package: last, so that no module next to it replaces one of Python.
START = (
    f"import sys; sys.path.append({str(Path(__file__).parents[1])!r}); "
    "from pit_jax.reading import run_script; run_script(*sys.argv[1:])"
)
# The limit is CPU time, which a busy machine does not stretch. A process that waits for ever
# uses none: it may take this many times as long on the clock.
CLOCK = 4
LONGEST = 200  # Characters of a foreign message that an error quotes.


class FileError(ValueError):
    """A file that cannot be read; the message names it and says what to do."""


@contextmanager
def reading(
    path: object,
    kind: str = "",
    *,
    error: type[ValueError] = FileError,
    advice: str = "Get another copy of it.",
) -> Iterator[None]:
    """Raise `error` for whatever the block raises, with the name of the file `path`.

    `kind` says what the file should be, such as "a NIR graph". Exceptions of the type `error`, and
    FileError, pass unchanged, so the block may check what it reads. A missing or forbidden file is
    reported as such, without `advice`. Signals and exits pass too.
    """
    note_path(str(path))
    try:
        yield
    except (error, FileError):
        raise
    except MemoryError as raised:
        raise error(
            f"{path} needs more memory than there is, or its sizes are damaged. {advice}"
        ) from raised
    except BaseException as raised:
        # Other exceptions that are no Exception are requests to stop, not faults of the file.
        if not isinstance(raised, Exception) and type(raised).__name__ != "PanicException":
            raise
        if isinstance(raised, OSError) and raised.errno:
            raise error(f"{path} cannot be read ({os.strerror(raised.errno)}).") from raised
        raise error(
            f"{path} is not {kind or 'a file that can be read'}, or it is damaged "
            f"({quote_error(raised)}). {advice}"
        ) from raised


def check_regular(path: Path, error: type[ValueError] = FileError) -> None:
    """Raise `error` for a device or a pipe, which could block or never end; OSError for none."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise error(f"{path} is a device or a pipe. Copy what it holds to a file.")


def quote_error(error: BaseException) -> str:
    """Return the first line of an exception's message, shortened; its type if it has none."""
    # repr() of foreign bytes in a message could be of any length.
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    first = first.rstrip(".") or type(error).__name__
    return first if len(first) <= LONGEST else f"{first[:LONGEST]}…"


def check_declared(path: object, what: str, declared: int, there: int) -> None:
    """Raise FileError unless `declared`, the bytes that a header promises, are `there`.

    Call it before anything of that size is allocated or skipped.
    """
    if not 0 <= declared <= there:
        raise FileError(
            f"{path} is damaged: its header declares {declared:,} bytes of {what}, but there are "
            f"{there:,}. Get another copy of it."
        )


def plan_process(script: Path, *words: str, seconds: int = 0, memory: int = 0) -> dict[str, Any]:
    """Return the arguments for `subprocess` that run a script, with limits if `seconds` is not 0.

    The script may import pit_jax. See `limit_process`.
    """
    # -P: the folder of the script has modules with names of packages, such as nir and tonic.
    command = [sys.executable, "-P", "-c", START, str(script), str(seconds), str(memory), *words]
    # A thread for each core, with a stack of its own, would take the memory of the parser.
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    return {"args": command, "env": os.environ | threads}


def run_parser(script: Path, *words: str, content: bytes = b"", seconds: int, memory: int) -> bytes:
    """Return the output of a script that runs in a child process with limits on time and memory.

    `content` is its standard input. Raises ValueError if it fails, crashes or does not end.
    """
    import subprocess

    plan = plan_process(script, *words, seconds=seconds, memory=memory)
    try:
        # A second later than the process ends itself: not every system can do that.
        done = subprocess.run(
            **plan, input=content, capture_output=True, timeout=CLOCK * seconds + 1, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError("its reader does not end") from None
    if has_run_out_of_time(done.returncode):
        raise ValueError("its reader does not end")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(said[-1] if said else "its reader crashes")
    return done.stdout


def has_run_out_of_time(returncode: int) -> bool:
    """Return whether a process ended because of `limit_process`."""
    signals = (getattr(signal, name, 0) for name in ("SIGALRM", "SIGPROF"))
    return returncode < 0 and -returncode in signals


def limit_process(seconds: float, memory: int) -> None:
    """End this process after `seconds` of CPU time; refuse it more `memory` than it has now.

    0 seconds are no limit. A process that waits ends after CLOCK times as long on the clock.
    """
    try:
        import resource
    except ImportError:  # Windows. The parent still ends a process that does not end.
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, hard))
    except (OSError, ValueError):
        pass  # Not Linux, or less is allowed anyway.
    for number, timer, factor in (
        (signal.SIGPROF, signal.ITIMER_PROF, 1),
        (signal.SIGALRM, signal.ITIMER_REAL, CLOCK),
    ):
        signal.signal(number, signal.SIG_DFL)
        signal.setitimer(timer, factor * seconds)


def run_script(script: str, seconds: str, memory: str, *words: str) -> None:
    """Run a script in the process of `plan_process`; an error ends it with one line."""
    import runpy

    if int(seconds):
        limit_process(int(seconds), int(memory))
    sys.argv = [script, *words]
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:  # Damaged bytes raise many types.
        sys.exit(f"{type(error).__name__}: {error}")
