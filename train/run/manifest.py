"""The manifest of a checkpoint: sizes and hashes of its files.

Orbax loads a file with a flipped bit without complaint; the hashes show it.
"""

import json
from pathlib import Path

from ..errors import UserError
from ..files import hash_content, hash_file, read_file, write_atomically

NAME = "manifest.json"
# Orbax writes the last two after the manifest; restoring does not read them (orbax.py).
UNLISTED = {NAME, "_CHECKPOINT_METADATA", "commit_success.txt"}
# Without these no checkpoint can be restored. Orbax only warns when it does not write one.
NEEDED = {"state/manifest.ocdbt", "state/_METADATA", "progress/metadata"}


def write(folder: Path) -> None:
    """Write the manifest of all files below `folder`; raise UserError if one is missing."""
    files = {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": hash_file(file),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).as_posix() not in UNLISTED
    }
    if missing := NEEDED - files.keys():
        raise UserError(
            f"the checkpoint {folder} cannot be restored: Orbax has not written "
            f"{', '.join(sorted(missing))}. Try another --workdir."
        )
    write_atomically(folder / NAME, json.dumps(files, indent=1))


def compute_digest(folder: Path) -> str:
    """Return the hash of the manifest in `folder`; an empty text if there is none to read."""
    try:
        content = read_file(folder / NAME)
    except UserError:
        content = None
    return "" if content is None else hash_content(content)


def find_damage(folder: Path, only: str = "") -> str | None:
    """Return in words the first difference from the manifest; None if there is none.

    With `only`, the name of a file, the others are not compared.
    """
    try:
        if (content := read_file(folder / NAME)) is None:
            return f"{NAME} is missing"
        if not (files := json.loads(content)):
            return f"{NAME} is damaged"
        for name, was in files.items():
            if only and name != only:
                continue
            if not (file := folder / name).is_file():
                return f"{name} is missing"
            if (size := file.stat().st_size) != was["bytes"]:
                return f"{name} has {size} bytes, not {was['bytes']}"
            if hash_file(file) != was["sha256"]:
                return f"{name} has changed since it was written"
    except UserError as error:
        return str(error)
    # The file is not JSON, or has another structure.
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return f"{NAME} is damaged"
    except OSError as error:
        return f"it cannot be read ({error})"
    return None
