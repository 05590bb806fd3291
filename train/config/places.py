"""The keys of a config that are paths."""

import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pit_jax.paths import read_path

from ..errors import UserError

KEYS = ("data.data_dir", "data.cache_dir", "pretrained")


def expand_places(config: ConfigDict) -> None:
    """Expand `~` in the keys of a config that are paths; raise UserError for an invalid path."""
    for key in KEYS:
        section, _, last = key.rpartition(".")
        inside = config.get(section) if section else config
        # An empty `pretrained` and a `cache_dir` of None are not set.
        if isinstance(inside, ConfigDict) and inside.get(last) not in (None, ""):
            with config.unlocked(), config.ignore_type():
                inside[last] = str(read_place(key, inside[last]))


def read_place(key: str, value: str | os.PathLike[str] | Any) -> Path:
    """Return the path in `config.KEY`; raise UserError for an invalid path."""
    try:
        return read_path(value)
    except ValueError as error:
        raise UserError(f"config.{key} {error}") from error
