"""The manifest of prepared images: what it promises, checked field by field."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pit_jax.reading import quote_error, reading

from ...errors import UserError

FORMAT = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "test")


def load_manifest(file: Path) -> dict[str, Any]:
    """Return the content of `manifest.json`; raise `UserError` if a field is not what it must be.

    It has `classes` and `files`, lists of names; whether all files are `complete`; and in `shards`
    for each finished file its split, the records of each class, its bytes and its sha256.
    """
    advice = "Restore it, or prepare the data again in another folder."
    with reading(file, "a manifest", error=UserError, advice=advice):
        content = file.read_bytes()
        try:
            manifest = json.loads(content)
            _check(manifest)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{file} is damaged or of another version ({quote_error(error)}). {advice}"
            ) from error
    return {**manifest, "shards": dict(manifest["shards"])}


def _check(manifest: Any) -> None:
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']}, not {FORMAT}")
    _require(isinstance(manifest["complete"], bool), "complete")
    for key in ("classes", "files"):
        names = manifest[key]
        _require(isinstance(names, list) and all(isinstance(name, str) for name in names), key)
        _require(len(set(names)) == len(names) > 0, key)
    # A file is next to its manifest: no path leads elsewhere.
    _require(all(PurePath(name).name == name for name in manifest["files"]), "files")
    _require(isinstance(manifest["shards"], dict), "shards")
    for name, about in manifest["shards"].items():
        _require(name in manifest["files"], "files")
        _check_shard(name, about, len(manifest["classes"]))


def _check_shard(name: str, about: Mapping[str, Any], num_classes: int) -> None:
    _require(about["split"] in SPLITS, f"{name}: split")
    for key in ("records", "bytes"):
        _require(type(about[key]) is int and about[key] >= 0, f"{name}: {key}")
    _require(re.fullmatch("[0-9a-f]{64}", about["sha256"]) is not None, f"{name}: sha256")
    counts = about["per_class"]
    _require(all(type(count) is int and count >= 0 for count in counts.values()), f"{name}: counts")
    _require(all(label.isdecimal() and int(label) < num_classes for label in counts), name)
    _require(sum(counts.values()) == about["records"], f"{name}: records")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"the field {what}")
