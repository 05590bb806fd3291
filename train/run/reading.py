"""Reads the files of a run, which may still be training; nothing is changed."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pit_jax.display import print_text
from pit_jax.old_names import rename_keys

from ..config.pages import load_shipped
from ..errors import UserError
from ..files import read_file
from .saved import read_copy

# The line of an epoch that was evaluated has one of these.
LOSSES = ("validation_loss", "test_loss")
OF_EPOCH = ("train_loss", "train_accuracy", "images_per_second")
OF_SUMMARY = ("last_accuracy", "best_accuracy", "best_epoch", "parameters", "scales", "seconds")
RESTORE = "restore it or move it away"


def read_config(workdir: Path) -> dict[str, Any]:
    """Return the whole config of a run; raise UserError if there is none."""
    config = read_json(workdir / "config.json", dict)
    if config is None:
        raise UserError(
            f"{workdir} is not the folder of a run: it has no config.json. Give another folder."
        )
    try:
        rename_keys(config)
        _merge_with_base(config)
        named = all(isinstance(config[part]["name"], str) for part in ("data", "model", "neuron"))
    except (AttributeError, KeyError, TypeError, ValueError):
        named = False
    if not named:
        raise UserError(
            f"{workdir / 'config.json'} is damaged, or the config of another program; restore it."
        )
    return config


def _merge_with_base(saved: Mapping[str, Any]) -> ConfigDict:
    """Return the base config, whose types `saved` must have, with the values of `saved`."""
    # The base config has the keys that were added after an older run was made.
    config: ConfigDict = load_shipped("base").base()
    config.update(saved)
    return config


def load_run_config(workdir: Path, data_dir: Path | str | None = None) -> ConfigDict:
    """Return the config of a run to use its checkpoints, with its data in `data_dir` if given.

    Raises UserError if there is no run.
    """
    config = _merge_with_base(read_config(workdir))
    # The checkpoint has the weights: the folder that the run started from may be gone.
    config.pretrained, config.reinitialize = "", ()
    if data_dir is not None:
        config.data.data_dir = str(data_dir)
    return config


def read_json(file: Path, kind: type) -> Any:
    """Return the content of a JSON file, None if it is missing; raise UserError if not a `kind`."""
    if (content := read_file(file)) is None:
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({error}); {RESTORE}.") from error
    if not isinstance(found, kind):
        raise UserError(f"{file} is not a JSON {kind.__name__}; {RESTORE}.")
    return found


def read_json_or_copy(file: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file of a run that never changes; None if it is missing.

    If the newest checkpoint has another content of the file, return that, with a message.
    """
    found: dict[str, Any] | None = read_json(file, dict)
    saved, copy = read_copy(file.parent, file.name)
    known: dict[str, Any] | None = json.loads(copy) if copy else found
    if found != known:
        why = "is missing" if found is None else "was changed after it was saved"
        print_text(f"{file} {why}: it is read from {saved}.", sys.stderr)
    return known


def read_starts(workdir: Path) -> list[dict[str, Any]]:
    """Return the entries of environment.json, one for each start; [] if there is no file.

    Entries that the file has lost are read from the newest checkpoint.
    """
    return _read_with_copy(workdir / "environment.json", parse_starts)


def parse_starts(content: bytes) -> list[dict[str, Any]]:
    """Return the entries of an environment.json; raise ValueError if they are damaged."""
    starts = json.loads(content)
    if not isinstance(starts, list) or not all(isinstance(each, dict) for each in starts):
        raise ValueError("it is not a JSON list of objects, one for each start")
    return starts


def read_summary(workdir: Path) -> dict[str, Any]:
    """Return summary.json; {} if there is no file."""
    found = read_json(workdir / "summary.json", dict) or {}
    if found and not all(isinstance(found.get(key), Real) for key in OF_SUMMARY):
        raise UserError(
            f"{workdir / 'summary.json'} is damaged; repeat the training command, which writes it "
            "again."
        )
    return found


def read_evaluation(file: Path) -> dict[str, Any]:
    """Return what train.evaluate wrote to `file`; raise UserError if it is something else."""
    found: dict[str, Any] = read_json(file, dict) or {}
    calibration = found.get("calibration", {})
    if not isinstance(calibration, dict) or not isinstance(found.get("accuracy"), Real):
        raise UserError(f"{file} is not a result of train.evaluate; {RESTORE}.")
    return found


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the complete lines of metrics.jsonl; an empty list if there is no file."""
    return _read_entries(file, parse_records)


def read_run_records(workdir: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; those that it has lost are read from a checkpoint."""
    file = workdir / "metrics.jsonl"
    records: list[dict[str, Any]] = _read_with_copy(file, parse_records)
    steps = [record["step"] for record in records]
    if steps != sorted(set(steps)):
        raise UserError(
            f"{file} is damaged (its lines are not in the order of the steps). "
            f"{RESTORE.capitalize()}."
        )
    return records


def parse_records(content: bytes) -> list[dict[str, Any]]:
    """Return the complete lines of a metrics.jsonl; raise ValueError if they are damaged."""
    # The last line may be incomplete: the run still trains, or was killed while it wrote.
    lines = content.decode().split("\n")[:-1]
    records = [json.loads(line) for line in lines]
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict) or not _is_record(record):
            raise ValueError(f"line {number} is not of a step or an epoch")
    return records


def _is_record(record: Mapping[str, Any]) -> bool:
    if not isinstance(record.get("step"), int):
        return False
    if not _is_epoch(record):
        return True
    split = find_split([record])
    evaluated = () if record.keys().isdisjoint(LOSSES) else (f"{split}_loss", f"{split}_accuracy")
    keys = ("epoch", *OF_EPOCH, *evaluated)
    return all(isinstance(record.get(key), Real) for key in keys)


def _is_epoch(record: Mapping[str, Any]) -> bool:
    """Return whether a record is of an epoch; records of steps may have some of its keys."""
    return record.keys() >= set(OF_EPOCH) or not record.keys().isdisjoint(LOSSES)


def _read_entries(file: Path, parse: Callable[[bytes], list[Any]]) -> list[Any]:
    """Return the entries of a file; raise UserError if it is damaged, [] if it is missing."""
    if (content := read_file(file)) is None:
        return []
    try:
        return parse(content)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file} is damaged ({error}). {RESTORE.capitalize()}, or repeat the training command, "
            "which restores it from the newest checkpoint."
        ) from error


def _read_with_copy(file: Path, parse: Callable[[bytes], list[Any]]) -> list[Any]:
    """Return the entries of a file that only grows, or of its copy if that has more.

    The copy is the one in the newest checkpoint (saved.py).
    """
    # Read first: a run that trains meanwhile adds entries to the file before it saves.
    saved, copy = read_copy(file.parent, file.name)
    known = parse(copy.encode()) if copy else []
    found = _read_entries(file, parse)
    if found[: len(known)] == known:
        return found
    why = "is older than the checkpoint" if found else "is missing"
    print_text(f"{file} {why}: its entries are read from {saved}.", sys.stderr)
    return known


def select_epochs(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of epochs, without those of single steps."""
    return [record for record in records if _is_epoch(record)]


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
