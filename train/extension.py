"""Extends a finished run by more epochs: `config.extend`.

A command names where the run shall end, as N epochs after `config.epochs`. The config of the run
has the ends of all its extensions, because each is a cosine of its own (program/optim.py): so the
same config gives the same learning rates, whenever the run was killed.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pit_jax.display import print_text
from pit_jax.old_names import rename_keys

from .config.limits import count_epochs, list_extensions
from .distributed import hosts
from .errors import UserError
from .files import read_file
from .program.optim import RESTART
from .run.reading import read_summary
from .run.workdir import compare_configs

MOST_EXTENSIONS = 100


def resolve_extensions(config: ConfigDict, workdir: Path) -> ConfigDict:
    """Return the config with all extensions of the run in `workdir`, and those that it asks for.

    The first process reads the folder, and prints a line if an extension begins or has ended.
    Raises UserError, in all processes, if there is no finished run to extend.
    """
    ends = np.zeros(MOST_EXTENSIONS, np.int32)
    with hosts.raise_on_all_hosts():
        if hosts.is_first():
            found = find_extensions(config, workdir)
            if len(found) > MOST_EXTENSIONS:
                raise UserError(f"a run can be extended at most {MOST_EXTENSIONS} times.")
            ends[: len(found)] = found
    extensions = tuple(int(end) for end in hosts.broadcast(ends) if end)
    if extensions == list_extensions(config):
        return config
    extended: ConfigDict = config.copy_and_resolve_references()
    with extended.unlocked(), extended.ignore_type():
        extended.extend = extensions[0] if len(extensions) == 1 else extensions
    return extended


def find_extensions(config: ConfigDict, workdir: Path) -> tuple[int, ...]:
    """Return the ends of all extensions of a run, in epochs after `config.epochs`.

    Raises UserError if a new extension is asked for before the run, or its latest extension, has
    finished. If the run has another config, its saved extensions are returned.
    """
    given, saved = list_extensions(config), _read_config(workdir)
    before = list_extensions(saved)
    if not given and not before:
        return ()
    if not saved:
        raise UserError(
            f"config.extend trains a finished run for more epochs, and {workdir} has no run. "
            "Train it first, without config.extend."
        )
    if compare_configs(_without_extensions(saved), _without_extensions(config.to_dict())):
        return before  # `claim` refuses the config later, and names the keys.
    given, total = _complete(given, before), count_epochs(saved)
    is_new = given[:-1] == before and given != before
    if not is_new and given != before[: len(given)]:
        raise UserError(
            f"{workdir} was already extended to {before[-1]} epochs after config.epochs. Repeat "
            f"that with --config.extend={before[-1]}, or give a larger number."
        )
    summary = read_summary(workdir)
    if not summary or summary.get("epochs", saved["epochs"]) != total:
        if given == before:
            return before
        how = f"with --config.extend={before[-1]}" if before else "without config.extend"
        raise UserError(
            f"{workdir} has not finished its {total} epochs. Repeat the command {how} first."
        )
    if is_new:
        text = f"extending {workdir} from epoch {total} to {config.epochs + given[-1]}"
        text += f"; the learning rate restarts at {RESTART * config.learning_rate:.4g}."
    else:
        text = f"{workdir} has finished its {total} epochs; to extend it further, give "
        text += f"--config.extend with more than {before[-1]}."
    print_text(f"note: {text}", sys.stderr)
    return given if is_new else before


def _complete(given: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    """Return what a command asks for, with all extensions up to there; it may give the last one."""
    if len(given) != 1:
        return given
    if given[0] in before:
        return before[: before.index(given[0]) + 1]
    return (*before, *given) if given[0] > max(before, default=0) else given


def _without_extensions(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "extend"}


def _read_config(workdir: Path) -> Mapping[str, Any]:
    """Return the saved config of a run; {} if it is missing or damaged, which `claim` reports."""
    try:
        found = json.loads(read_file(workdir / "config.json") or b"")
        rename_keys(found)
        return found if count_epochs(found) else {}
    except (AttributeError, KeyError, RecursionError, TypeError, UserError, ValueError):
        return {}
