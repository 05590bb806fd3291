"""Files that are either complete or absent: hashes, atomic writes, and folders with a manifest.

A hash detects damage; it is not a signature. `sha256sum -c manifest.sha256` checks the manifest,
which has the hashes of all other files. inference/storage.py decides what a saved program
contains, and export/ does so for the formats of other tools.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pit_jax.display import show_value
from pit_jax.old_names import serve_old_names
from pit_jax.paths import cut_name, read_path
from pit_jax.reading import FileError, check_regular, reading
from pit_jax.signals import call_at_end, remove_if_stopped

MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"
MOST_NESTED = 100


class ArtifactError(FileError):
    """A saved program that is damaged, or a folder or file that must not be overwritten."""


def hash_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def hash_parts(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of the concatenation of all parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def read_bytes(path: Path) -> bytes:
    """Return the content of a file. Raises ArtifactError for a device or a pipe."""
    check_regular(path, ArtifactError)
    return path.read_bytes()


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_hash_line(content: bytes, name: str) -> bytes:
    """Return the line for a file `name` in the format of `sha256sum -c`."""
    # sha256sum escapes names with these characters in the same way.
    escaped = name.replace("\\", r"\\").replace("\n", r"\n").replace("\r", r"\r")
    mark = "" if escaped == name else "\\"
    return f"{mark}{hash_bytes(content)}  {escaped}\n".encode()


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Replace `path` atomically: `write` fills a file next to it, which is synced and renamed."""
    part = path.with_name(f"{cut_name(path.name)}.{os.getpid()}.part")
    try:
        with remove_if_stopped(part):
            write(part)
        # Without the sync a power failure could leave an empty file under the new name.
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_facts(name: str, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return facts for a manifest; raise ValueError, with the key, for what JSON cannot hold."""
    if not isinstance(facts, Mapping | None):
        raise ValueError(f"{name} must be a dictionary, got {show_value(facts)}.")
    found = dict(facts or {})
    _check_json(name, found)
    return found


def _check_json(name: str, value: Any, depth: int = 0) -> None:
    try:
        json.dumps(value, allow_nan=False)
        return
    except (RecursionError, TypeError, ValueError):
        # A list may contain itself.
        if depth == MOST_NESTED:
            raise ValueError(
                f"{show_value(name)} is nested more than {depth} times; store less."
            ) from None
    parts: dict[Any, Any] = {}
    if isinstance(value, dict):
        parts = {key: each for key, each in value.items() if isinstance(key, str)}
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    for key, each in parts.items():
        _check_json(f"{name}[{key!r}]", each, depth + 1)
    raise ValueError(
        f"{name} must be a text, a finite number, True, False, None, or lists and dictionaries of "
        f"them with texts as keys, as in JSON; got {show_value(value)}."
    )


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with `files`, replacing an existing one; it appears when it is complete."""
    # For a link, the folder that it leads to is replaced.
    folder = Path(os.path.realpath(folder))
    name = f"{cut_name(folder.name)}.{os.getpid()}"
    part, old = folder.with_name(f"{name}.part"), folder.with_name(f"{name}.old")

    def restore() -> None:
        if old.exists() and not folder.exists():
            old.rename(folder)

    shutil.rmtree(part, ignore_errors=True)  # A killed process with the same id may have left it.
    part.mkdir(parents=True)
    try:
        with remove_if_stopped(part):
            for name, content in files.items():
                with (part / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
        # A folder cannot be replaced in one step: move the old one away, and back on failure.
        with call_at_end(restore):
            if folder.exists():
                folder.rename(old)
            part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        restore()
        raise
    shutil.rmtree(old, ignore_errors=True)


def write(
    folder: str | os.PathLike[str],
    kind: str,
    version: int,
    files: Mapping[str, bytes],
    notes: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write `files` and a manifest with `notes`; the folder appears when it is complete.

    Raises ArtifactError when the folder exists, unless it is an artifact and `overwrite` is set.
    """
    folder = read_path(folder).absolute()
    check_free(folder, overwrite)
    manifest = {
        "kind": kind,
        "version": version,
        **notes,
        "files": {name: _identify(content) for name, content in files.items()},
    }
    text = (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode()
    line = make_hash_line(text, MANIFEST)
    write_files(folder, {**files, MANIFEST: text, MANIFEST_HASH: line})


def check_free(folder: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise ArtifactError when `write` would refuse to write to `folder`."""
    folder = read_path(folder)
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise ArtifactError(f"{folder} already exists; choose another folder, or overwrite it.")
    if not (folder / MANIFEST_HASH).is_file():
        raise ArtifactError(
            f"{folder} is not an artifact, so it is not overwritten; choose another folder."
        )


def check_file_free(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise ArtifactError for a folder, and when a file exists and `overwrite` is not set."""
    if read_path(path).is_dir():
        raise ArtifactError(f"{path} is a folder; choose the name of a file.")
    if os.path.lexists(read_path(path)) and not overwrite:
        raise ArtifactError(f"{path} already exists; choose another file, or overwrite it.")


def read(
    folder: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the manifest of an artifact and its files.

    Raises ArtifactError when a file is missing, truncated or changed, and when the artifact is of
    another kind or of a version later than `version`.
    """
    folder = read_path(folder)
    manifest = _read_manifest(folder)
    if manifest.get("kind") != kind:
        raise ArtifactError(f"{folder} has the kind {manifest.get('kind')!r:.80}, not {kind!r}.")
    found = manifest.get("version")
    if type(found) is not int or not 1 <= found <= version:
        versions = manifest.get("versions")
        writer = versions.get("pit_jax") if isinstance(versions, dict) else None
        raise ArtifactError(
            f"{folder} has version {found!r:.80} of its format, and this pit_jax reads versions up "
            f"to {version}; it was written by pit_jax {writer!s:.80}."
        )
    files = {}
    for name, identity in manifest["files"].items():
        files[name] = content = _read_content(folder, name)
        if len(content) != identity["bytes"]:
            raise ArtifactError(
                f"{folder / name} has {len(content):,} of {identity['bytes']:,} bytes; get "
                "another copy, or write it again."
            )
        if _identify(content) != identity:
            raise ArtifactError(
                f"{folder / name} was changed after it was written; get another copy, or write "
                "it again."
            )
    return manifest, files


def _identify(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hash_bytes(content)}


def _read_content(folder: Path, name: str) -> bytes:
    if Path(name).name != name or "\0" in name:
        raise ArtifactError(f"{folder / MANIFEST} names {name!r:.80}, which is not in its folder.")
    try:
        return read_bytes(folder / name)
    except OSError as error:
        raise ArtifactError(f"{folder} has no readable {name} ({error.strerror}).") from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    text = _read_content(folder, MANIFEST)
    if _read_content(folder, MANIFEST_HASH) != make_hash_line(text, MANIFEST):
        raise ArtifactError(
            f"{folder / MANIFEST} or its hash in {MANIFEST_HASH} was changed or truncated; get "
            "another copy, or write it again."
        )
    with reading(folder / MANIFEST, "a manifest of an artifact", error=ArtifactError):
        manifest = json.loads(text)
        if not isinstance(manifest["files"], dict):
            raise ValueError("its files have no names")
        for identity in manifest["files"].values():
            if {key: type(x) for key, x in identity.items()} != {"bytes": int, "sha256": str}:
                raise ValueError("its files have no hashes")
        return dict(manifest)


serve_old_names(__name__)
