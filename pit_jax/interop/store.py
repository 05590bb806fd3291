"""Save variables in a folder with a manifest whose hash is checked on reading."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.artifact import MANIFEST, hash_bytes, write_files
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.files import import_safetensors

ARRAYS = "variables.safetensors"


def write(variables: Mapping[str, Any], folder: str | Path, **notes: Any) -> None:
    """Write `variables` and a manifest with their names, shapes and hash, and the `notes`.

    Raises CheckpointError when `folder` exists.
    """
    folder = Path(folder)
    if folder.exists():
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
    folder = Path(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        content = (folder / ARRAYS).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no imported variables: {error}.") from error
    if hash_bytes(content) != manifest.get("sha256"):
        raise CheckpointError(
            f"{folder / ARRAYS} does not match the hash in {MANIFEST}; import it again."
        )
    stored = import_safetensors().load(content)
    arrays = {tuple(name.split("/")): jnp.asarray(array) for name, array in stored.items()}
    return unflatten_dict(arrays)
