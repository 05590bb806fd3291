"""The manifest of a checkpoint: sizes and hashes of its files.

Orbax loads a file with a flipped bit without complaint; the hashes show it.
"""

import json
from pathlib import Path

from ..files import hash_file, write_atomically

NAME = "manifest.json"
# Orbax writes the last two after the manifest; restoring does not need them.
UNLISTED = {NAME, "_CHECKPOINT_METADATA", "commit_success.txt"}


def write(folder: Path) -> None:
    """Write the manifest of all files below `folder`."""
    files = {
        file.relative_to(folder).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": hash_file(file),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).as_posix() not in UNLISTED
    }
    write_atomically(folder / NAME, json.dumps(files, indent=1))


def find_damage(folder: Path) -> str | None:
    """Return in words the first difference from the manifest; None if there is none."""
    try:
        files = json.loads((folder / NAME).read_text())
        for name, was in files.items():
            if not (file := folder / name).is_file():
                return f"{name} is missing"
            if (size := file.stat().st_size) != was["bytes"]:
                return f"{name} has {size} bytes, not {was['bytes']}"
            if hash_file(file) != was["sha256"]:
                return f"{name} has changed since it was written"
    except FileNotFoundError:
        return f"{NAME} is missing"
    except (AttributeError, KeyError, TypeError, ValueError):  # No JSON, or another structure.
        return f"{NAME} is damaged"
    except OSError as error:
        return f"it cannot be read ({error})"
    return None
