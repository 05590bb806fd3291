"""Reads the files of a run, which may still be training; nothing is changed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pit_jax.old_names import rename_keys

from ..config.pages import load_shipped
from ..errors import UserError

# The line of an epoch has one of these.
LOSSES = ("validation_loss", "test_loss")


def read_config(workdir: Path) -> dict[str, Any]:
    """Return the whole config of a run; raise UserError if there is none."""
    config = read_json(workdir / "config.json", dict)
    if config is None:
        raise UserError(
            f"{workdir} is not the folder of a run: it has no config.json. Give another folder."
        )
    rename_keys(config)
    return config


def load_run_config(workdir: Path, data_dir: Path | None = None) -> ConfigDict:
    """Return the config of a run to use its checkpoints, with its data in `data_dir` if given.

    Raises UserError if there is no run.
    """
    # The base config has the keys that were added after an older run was made.
    config: ConfigDict = load_shipped("base").base()
    config.update(read_config(workdir))
    # The checkpoint has the weights: the folder that the run started from may be gone.
    config.pretrained, config.reinitialize = "", ()
    if data_dir is not None:
        config.data.data_dir = str(data_dir)
    return config


def read_json(file: Path, kind: type) -> Any:
    """Return the content of a JSON file, None if it is missing; raise UserError if not a `kind`."""
    try:
        found = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); restore it or move it away.") from error
    if not isinstance(found, kind):
        raise UserError(f"{file} is not a JSON {kind.__name__}; restore it or move it away.")
    return found


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the complete lines of metrics.jsonl; an empty list if there is no file."""
    try:
        lines = file.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); restore it or move it away.") from error
    try:
        # The last line may be incomplete: the run still trains, or was killed while it wrote.
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); restore it or move it away.") from error


def select_epochs(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of epochs, without those of single steps."""
    return [record for record in records if not record.keys().isdisjoint(LOSSES)]


def find_split(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the split on which the epochs were evaluated, `validation` or `test`."""
    return "validation" if any(LOSSES[0] in record for record in records) else "test"


def select_metrics(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metrics of `config.metrics` in the record of an epoch, by name."""
    start = f"{find_split([record])}_"
    return {
        key.removeprefix(start): value
        for key, value in record.items()
        if key.startswith(start) and key.removeprefix(start) not in ("loss", "accuracy")
    }


def make_distinct_names(workdirs: Sequence[Path]) -> list[str]:
    """Return the names of the folders, or their paths if two names are equal."""
    found = [workdir.resolve().name for workdir in workdirs]
    return found if len(set(found)) == len(found) else [str(workdir) for workdir in workdirs]
