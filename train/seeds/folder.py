"""The folder of several seeds: one folder of a run for each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..config.limits import count_epochs
from ..errors import UserError
from ..run.reading import read_json, read_summary
from ..run.summary import Summary
from ..run.workdir import check_outside, compare_configs, list_changes, select_shared_keys

NAME = "seed_"


def name_folder(workdir: Path, seed: int) -> Path:
    """Return the folder of the run with `seed`."""
    return workdir / f"{NAME}{seed}"


def list_seeds(workdir: Path) -> list[int]:
    """Return the seeds that have a folder, in order."""
    names = [path.name.removeprefix(NAME) for path in workdir.glob(f"{NAME}*") if path.is_dir()]
    # Seed 1 has the folder seed_1: a folder seed_01 is not ours.
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def copy_with_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """Return a copy of the config with another seed."""
    config = config.copy_and_resolve_references()
    config.seed = seed
    return config


def check_folder(config: ConfigDict, workdir: Path) -> None:
    """Raise UserError if `workdir` belongs to something else, or to seeds of another config."""
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} is the folder of a run; choose another --workdir.")
    check_outside(workdir)
    # A user may add reports to the folder.
    there = list(workdir.iterdir()) if workdir.is_dir() else []
    if there and not any(path.is_dir() and path.name.startswith(NAME) for path in there):
        raise UserError(
            f"{workdir} is not empty and has no folders of seeds; choose another --workdir."
        )
    for seed in list_seeds(workdir):
        folder = name_folder(workdir, seed)
        saved = read_json(folder / "config.json", dict) or {}
        own = copy_with_seed(config, seed).to_dict()
        # A seed may have been extended alone.
        changes = compare_configs(saved | {"extend": 0}, own | {"extend": 0}) if saved else []
        if changes:
            raise UserError(
                f"{folder} has another config:\n  {list_changes(changes)}\nChoose another "
                "--workdir: this one is for seeds of one config."
            )


def read_finished(config: Mapping[str, Any], workdir: Path, *, draw: bool) -> Summary | None:
    """Return the summary of the finished run with `config` in `workdir`, None if there is none.

    With `draw` it must have figures. Returns None also

    - if a key that is not a path differs, even one that may change when a run resumes, such as
      `metrics`: the resumed run measures what is missing;
    - if a file is damaged: the resumed run reports or replaces it.
    """
    try:
        saved, found = read_json(workdir / "config.json", dict), read_summary(workdir)
    except UserError:
        return None
    now: dict[str, Any] = json.loads(json.dumps(config))
    epochs = count_epochs(config)
    if saved is None or select_shared_keys(saved) != select_shared_keys(now):
        return None
    if not found or found.get("epochs", epochs) != epochs:
        return None
    if draw and not (workdir / "curves.png").is_file():
        return None
    try:
        return Summary(**found | {"workdir": str(workdir)})
    except TypeError:  # An older version wrote other keys.
        return None
