"""Turn texts of a command line or a config into a `Path`; all programs use this function."""

import os
import re
from pathlib import Path
from typing import Any

from pit_jax.display import note_path

# The limits of Linux and macOS, in bytes: of a name and of a whole path.
MOST_NAME, MOST_PATH = 255, 4095
# Addresses such as gs://bucket/run.
ADDRESS = re.compile("[a-zA-Z][a-zA-Z0-9+.-]*://")


def read_path(text: str | os.PathLike[str] | Any) -> Path:
    """Return the path that `text` means, with a leading `~` expanded.

    Relative paths and links stay as they are. Raises ValueError for an empty text, for names that
    are too long, and for names that a program could not record: with a zero byte, or with bytes
    that are not UTF-8. The current folder and the target of a link are checked too.
    """
    try:
        name = os.fsdecode(text)
    except TypeError as error:
        raise ValueError(f"must be a path, got {text!r}.") from error
    if not name:
        raise ValueError("must be a path, got an empty text.")
    if "\0" in name:
        raise ValueError(f"must be a path, got {name!r} with a zero byte.")
    if ADDRESS.match(name):  # An address would become a local folder of this name.
        raise ValueError(
            f"must be a path, got the address {name!r}. Give a local folder: mount or copy it."
        )
    _check_utf_8(name, name)
    path = Path(_expand_home(name))
    try:
        real = os.path.realpath(path)
    except OSError as error:  # Only a relative path needs the current folder.
        raise ValueError(
            f"must be a path, got {name!r}, but the current folder is gone."
        ) from error
    _check_utf_8(name, real)
    _check_length(name, real)
    for each in (name, real):
        note_path(each)
    # A name given as ./~ would become a home folder when the recorded path is read again.
    return path.absolute() if str(path).startswith("~") else path


def cut_name(name: str, most: int = 180) -> str:
    """Return the beginning of a name, at most `most` bytes, to which a program adds its own."""
    return name.encode()[:most].decode(errors="ignore")


def _expand_home(name: str) -> str:
    # Not Path.expanduser, for which ./~ is a home too.
    expanded = os.path.expanduser(name)
    if expanded.startswith("~"):
        first = name.partition(os.sep)[0]
        raise ValueError(
            f"must be a path, got {name!r}: no user has the home {first!r}. Write ./~…"
        )
    return expanded


def _check_utf_8(name: str, text: str) -> None:
    try:
        # Bytes of a command line or a folder that are not UTF-8 arrive as lone surrogates.
        text.encode()
    except UnicodeEncodeError as error:
        where = repr(name) if text == name else f"{name!r}, which is {text!r}"
        raise ValueError(
            f"must be a path whose names are valid UTF-8, got {where}. Rename it or choose another."
        ) from error


def _check_length(name: str, real: str) -> None:
    longest = max(len(part.encode()) for part in real.split(os.sep))
    length = len(real.encode())
    if longest > MOST_NAME or length > MOST_PATH:
        what = f"a name of {longest:,}" if longest > MOST_NAME else f"{length:,}"
        raise ValueError(
            f"must be a path, got {name[:40]!r}… with {what} bytes. At most {MOST_NAME} bytes are "
            f"allowed in a name, {MOST_PATH:,} in a path."
        )
