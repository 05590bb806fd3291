"""The folder of one run.

It holds config.json, environment.json, metrics.jsonl and the checkpoints last/ and best/; at the
end summary.json, curves.png and rates.png.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from train.errors import UserError

# The data may lie elsewhere, and other workers read it, when a run goes on.
MAY_MOVE = ("data.data_dir", "data.cache_dir", "data.workers")


def claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Makes `workdir` the folder of a run with `config`, or finds that it is one already.

    Raises UserError, and writes nothing, when it cannot be written, holds files of something else,
    or belongs to a run with another config.
    """
    file = workdir / "config.json"
    try:
        if file.is_file():
            _check_same(workdir, json.loads(file.read_text()), config)
        elif workdir.is_dir() and any(workdir.iterdir()):
            raise UserError(f"{workdir} is not empty and holds no run; choose another --workdir.")
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(config, indent=2))
    except OSError as error:
        raise UserError(
            f"cannot write to the workdir {workdir} ({error.strerror}); choose another --workdir."
        ) from error
    except ValueError as error:  # No JSON, no text, or no object.
        raise UserError(f"{file} is damaged ({error}); choose another --workdir.") from error


def write_whole(file: Path, text: str) -> None:
    """Writes `file` so that a reader finds either the old text or the new, never a part."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text)
    os.replace(part, file)


def _check_same(workdir: Path, old: Any, new: Mapping[str, Any]) -> None:
    if not isinstance(old, dict):
        raise ValueError("it holds no object")
    # Through JSON, since that is what was written: tuples become lists.
    was, now = (flatten_dict(config, sep=".") for config in (old, json.loads(json.dumps(new))))
    differing = [key for key in was | now if was.get(key) != now.get(key) and key not in MAY_MOVE]
    if differing:
        lines = [f"  {key}: {was.get(key)!r} there, {now.get(key)!r} here" for key in differing]
        raise UserError(
            f"{workdir} belongs to a run with another config:\n" + "\n".join(lines) + "\n"
            "choose another --workdir, or repeat that run's command to go on with it."
        )
