"""Save variables in a folder with a manifest whose hash is checked on reading."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.artifact import MANIFEST, hash_bytes, write_files
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.files import import_safetensors
from pit_jax.interop.values import check_values
from pit_jax.paths import read_path
from pit_jax.reading import reading

ARRAYS = "variables.safetensors"


def write(variables: Mapping[str, Any], folder: str | Path, **notes: Any) -> None:
    """Write `variables` and a manifest with their names, shapes and hash, and the `notes`.

    Raises CheckpointError when `folder` exists.
    """
    folder = read_path(folder)
    if os.path.lexists(folder):
        raise CheckpointError(f"{folder} exists already; give a new folder.")
    arrays = {
        name: np.ascontiguousarray(leaf) for name, leaf in flatten_dict(variables, sep="/").items()
    }
    content = import_safetensors().save(arrays)
    manifest = {
        **notes,
        "arrays": {
            name: {"shape": list(array.shape), "dtype": str(array.dtype)}
            for name, array in sorted(arrays.items())
        },
        "sha256": hash_bytes(content),
    }
    text = json.dumps(manifest, indent=1) + "\n"
    write_files(folder.absolute(), {ARRAYS: content, MANIFEST: text.encode()})


def read(folder: str | Path) -> dict[str, Any]:
    """Return the variables that `write` saved in `folder`.

    Raises CheckpointError when a file is missing or the arrays do not match the manifest.
    """
    folder = read_path(folder)
    manifest_file, arrays_file = folder / MANIFEST, folder / ARRAYS
    for file in (manifest_file, arrays_file):
        if not file.is_file():
            raise CheckpointError(f"{folder} has no imported variables: there is no {file.name}.")
    advice = "Import it again."
    with reading(manifest_file, "the manifest of an import", error=CheckpointError, advice=advice):
        known = json.loads(manifest_file.read_bytes())["sha256"]
    with reading(arrays_file, "a file of variables", error=CheckpointError, advice=advice):
        content = arrays_file.read_bytes()
        if hash_bytes(content) != known:
            raise CheckpointError(
                f"{arrays_file} does not match the hash in {MANIFEST}; import it again."
            )
        stored = import_safetensors().load(content)
    try:
        check_values(stored, stored.__getitem__)
    except CheckpointError as error:
        raise CheckpointError(f"{arrays_file}: {error}") from error
    arrays = {tuple(name.split("/")): jnp.asarray(array) for name, array in stored.items()}
    return unflatten_dict(arrays)
