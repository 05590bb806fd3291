"""The data of a run: data.json describes them, subset.json has the indices of training images."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pit_jax.display import print_text, show_value

from ..data.dataset import ArraySplit, Dataset, describe_data
from ..errors import UserError
from ..files import write_atomically
from .reading import read_json, read_json_or_copy
from .saved import find_newest_step

FILE, DATA = "subset.json", "data.json"
# The key of data.json for the inputs of the network; older versions did not write it.
INPUT = "input"
# Of networks: with other values, an output means another class.
LABELS = ("classes", "num_classes")


def save_subset(workdir: Path, subset: Mapping[str, np.ndarray]) -> None:
    """Write the image indices of a new run; write nothing if it uses all images.

    Raises UserError if a run that resumes began with other images.
    """
    file = workdir / FILE
    now = {name: np.asarray(indices).tolist() for name, indices in subset.items()}
    was = read_json_or_copy(file)
    if (record := was or now) and read_json(file, dict) != record:
        write_atomically(file, json.dumps(record))
    if was is not None and was != now:
        raise UserError(
            f"{file} lists different training images from those selected now: the data set has "
            "changed since the run began. Restore the data, or choose another --workdir."
        )


def save_data(workdir: Path, described: Mapping[str, Any]) -> None:
    """Write the description of the data of a new run, as loaded.

    Raises UserError if a run that resumes began with other data. Older versions wrote none.
    """
    file = workdir / DATA
    was = read_json_or_copy(file)
    if was is None:
        _check_order(workdir, described)
    if read_json(file, dict) != (record := was or described):
        write_atomically(file, json.dumps(record, indent=1))
    if was and (changes := compare_data(was, described)):
        raise UserError(
            f"the data are not those with which {workdir} began: {'; '.join(changes.values())}.\n"
            "Restore them (files that are decoded also depend on the version of Pillow), or choose "
            "another --workdir."
        )


def check_data(workdir: Path, dataset: Dataset) -> None:
    """Compare the data that a program has loaded with those of the run whose network it uses.

    Raises UserError if the classes have another order or number. Other differences are printed.
    """
    was = read_json_or_copy(workdir / DATA)
    now = describe_data(dataset)
    if was is None:
        _check_order(workdir, now)
    changes = compare_data(was, now) if was else {}
    if labels := [changes[key] for key in LABELS if key in changes]:
        raise UserError(
            f"the data are not those of {workdir}: {'; '.join(labels)}.\n"
            "Give its own data by --data-dir, or name the folders of the classes as they were."
        )
    if changes:
        text = "; ".join(changes.values())
        print_text(f"note: the data are not those of {workdir}: {text}.", sys.stderr)


def read_layout(workdir: Path) -> Dataset | None:
    """Return the data set of a run without its samples: classes, normalization, shape and dtype.

    None for a run of an older version. Raises UserError if data.json is damaged.
    """
    found = read_json_or_copy(workdir / DATA) or {}
    if INPUT not in found:
        return None
    try:
        given = found[INPUT]
        shape, dtype = tuple(map(int, given["shape"])), np.dtype(given["dtype"])
        nothing = ArraySplit(np.empty((0, *shape), dtype), np.empty(0, np.int32))
        return Dataset(
            name=str(found["name"]),
            train=nothing,
            test=nothing,
            num_classes=int(found["num_classes"]),
            mean=tuple(map(float, given["mean"])),
            std=tuple(map(float, given["std"])),
            classes=tuple(map(str, found["classes"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{workdir / DATA} is damaged ({error}); restore it, or move it away to load the data."
        ) from error


def _check_order(workdir: Path, described: Mapping[str, Any]) -> None:
    """Raise UserError for a run of an older version, which read the classes in another order.

    It had no data.json, and sorted the names of folders as texts: 0, 1, 10, 11, 2.
    """
    names = described["classes"]
    numbered = names and all(name.isdecimal() for name in names)
    if numbered and names != sorted(names) and find_newest_step(workdir) is not None:
        raise UserError(
            f"{workdir} was begun by an older version, for which the folder {sorted(names)[2]!r} "
            "was class 2: now the names of the folders are the labels.\nUse the version that began "
            "it, or train again in another --workdir."
        )


def compare_data(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return in words how two descriptions of data differ, by key."""
    changes = {}
    # A run with validation images selects its best epoch on them, and not on the test images.
    if (key := "validation") in was.keys() ^ now.keys():
        old, new = ("some" if key in each else "no" for each in (was, now))
        changes[key] = f"there were {old} validation images, and there are {new}"
    # `input` repeats `mean` and `std` with all digits, and the last ones may differ.
    for key in (was.keys() & now.keys()) - {INPUT}:
        if was[key] == now[key]:
            continue
        old, new = was[key], now[key]
        if key == "classes" and isinstance(old, list) and len(old) == len(new):
            place = next(
                i for i, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]
            )
            changes[key] = f"class {place} was {show_value(old[place])}, is {new[place]!r}"
        elif key == "classes":
            changes[key] = "the names of the classes differ"
        elif not isinstance(new, dict):
            changes[key] = f"{key} was {show_value(old)}, is {show_value(new)}"
        elif not isinstance(old, dict) or not isinstance(old.get("samples"), int):
            changes[key] = f"the record of {key} is {show_value(old)}, without a number of samples"
        elif old["samples"] == new["samples"]:
            changes[key] = f"the {new['samples']:,} samples of {key} have another content"
        else:
            changes[key] = f"{key} had {old['samples']} samples, has {new['samples']}"
    return dict(sorted(changes.items()))
