"""The one way to call a foreign parser: whatever it raises becomes one error with the file's name.

Parsers raise anything for damaged bytes: `zlib.error`, `RecursionError`, `OverflowError`, errors of
their own, and a Rust library even a `PanicException`, which is not an `Exception`.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 200  # Characters of a foreign message that an error quotes.


class FileError(ValueError):
    """A file that cannot be read; the message names it and says what to do."""


@contextmanager
def reading(
    path: object,
    kind: str = "",
    *,
    error: type[ValueError] = FileError,
    advice: str = "Take another copy of it.",
) -> Iterator[None]:
    """Raise `error` for whatever the block raises, with the name of the file `path`.

    `kind` says what the file should be, such as "a NIR graph". Exceptions of the type `error`, and
    FileError, pass unchanged, so the block may check what it reads. A missing or forbidden file is
    reported as such, without `advice`. Signals and exits pass too.
    """
    try:
        yield
    except (error, FileError):
        raise
    except MemoryError as raised:
        raise error(
            f"{path} needs more memory than there is, or its sizes are damaged. {advice}"
        ) from raised
    except BaseException as raised:
        # Whatever else is no Exception asks the program to stop: it is no fault of the file.
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
            f"{there:,}. Take another copy of it."
        )
