"""The one entrance for paths: from the words of a command line or a config to a `Path`."""

import os
from pathlib import Path


def read_path(text: str | os.PathLike[str]) -> Path:
    """Return the path that `text` means, with a leading `~` expanded.

    Raises ValueError for an empty text, and for names that no program could write down again: with
    a zero byte, or with bytes that are not UTF-8.
    """
    name = os.fspath(text)
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if not name:
        raise ValueError("must be a path, got an empty text.")
    if "\0" in name:
        raise ValueError(f"must be a path, got {name!r} with a zero byte.")
    try:
        # Bytes of a command line that are not UTF-8 arrive as lone surrogates.
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"must be a path whose name is valid UTF-8, got {name!r}. Rename it, or choose another."
        ) from error
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # ~somebody, who has no home on this machine.
        raise ValueError(f"must be a path, got {name!r}: {error}.") from error
