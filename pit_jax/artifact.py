"""A folder of files with a manifest of their hashes, and a hash of the manifest beside it.

A hash shows damage; it is no signature. `sha256sum -c manifest.sha256` checks the manifest, which
has the hashes of all other files.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pit_jax.inference.errors import ArtifactError

MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"


def write(
    folder: str | os.PathLike[str],
    kind: str,
    version: int,
    files: Mapping[str, bytes],
    notes: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Writes `files` and a manifest with `notes`; the folder appears when it is whole.

    Raises ArtifactError when it is there already, unless it shall `overwrite` an artifact.
    """
    folder = Path(folder).absolute()
    check_free(folder, overwrite)
    manifest = {
        "kind": kind,
        "version": version,
        **notes,
        "files": {name: _identity(content) for name, content in files.items()},
    }
    text = (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode()
    line = f"{hash_bytes(text)}  {MANIFEST}\n".encode()
    write_files(folder, {**files, MANIFEST: text, MANIFEST_HASH: line})


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files, which appears when it is whole, in the place of one that exists."""
    part, old = (folder.with_name(f"{folder.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)  # Of a killed process with this number.
    part.mkdir(parents=True)
    try:
        for name, content in files.items():
            with (part / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def hash_bytes(content: bytes) -> str:
    """Return the sha256 of `content` as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def check_free(folder: str | os.PathLike[str], overwrite: bool) -> None:
    """Raises ArtifactError when `write` would refuse to write there."""
    folder = Path(folder)
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise ArtifactError(f"{folder} is there already; name another folder, or overwrite it.")
    if not (folder / MANIFEST_HASH).is_file():
        raise ArtifactError(
            f"{folder} is no artifact, and is not overwritten; name another folder."
        )


def read(
    folder: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest of an artifact and its files.

    Raises ArtifactError when a file is missing, cut off or changed, or when it is of another kind
    or a version later than `version`.
    """
    folder = Path(folder)
    text = _content(folder, MANIFEST)
    line = f"{hash_bytes(text)}  {MANIFEST}\n".encode()
    if _content(folder, MANIFEST_HASH) != line:
        raise ArtifactError(
            f"{folder / MANIFEST} or its hash in {MANIFEST_HASH} was changed or cut off; take "
            "another copy, or write it again."
        )
    manifest = _manifest(folder, text)
    if manifest.get("kind") != kind:
        raise ArtifactError(f"{folder} is of the kind {manifest.get('kind')!r}, not {kind!r}.")
    found = manifest.get("version")
    if not isinstance(found, int) or not 1 <= found <= version:
        raise ArtifactError(
            f"{folder} has version {found!r} of its format, and this pit_jax reads versions up to "
            f"{version}; it was written by pit_jax {manifest.get('versions', {}).get('pit_jax')}."
        )
    files = {}
    for name, identity in manifest["files"].items():
        files[name] = content = _content(folder, name)
        if len(content) != identity["bytes"]:
            raise ArtifactError(
                f"{folder / name} has {len(content):,} bytes of {identity['bytes']:,}; take "
                "another copy, or write it again."
            )
        if _identity(content) != identity:
            raise ArtifactError(
                f"{folder / name} has other bytes than were written; take another copy, or write "
                "it again."
            )
    return manifest, files


def _identity(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hash_bytes(content)}


def _content(folder: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ArtifactError(f"{folder / MANIFEST} names {name!r}, which is no file of its folder.")
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{folder} has no {name} that can be read ({error}).") from error


def _manifest(folder: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
        files = manifest["files"].values()
        if not all(identity.keys() == {"bytes", "sha256"} for identity in files):
            raise ValueError("no hashes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{folder / MANIFEST} is no manifest of an artifact.") from error
    return dict(manifest)
