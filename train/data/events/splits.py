"""Which recordings are for testing, by the rules written down in train/data/splits."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .recordings import Recording

FOLDER = Path(__file__).parents[1] / "splits"


def select_test(name: str, rule: str, recordings: Sequence[Recording]) -> np.ndarray:
    """Return whether each recording is for testing, by `rule` of `splits/NAME.json`.

    A rule tests on a half-open range of the numbers in the file names, or of the ranks of these
    names in their class, or on the numbers that are listed for each class. Raises `UserError` for
    an unknown rule, and for one that leaves the training or the test set empty.
    """
    rules = read_manifest(name)
    if rule not in list(rules):
        raise UserError(f"config.data.split is {rule!r}; it can be {', '.join(rules)}.")
    by, chosen = rules[rule]["by"], rules[rule]["test"]
    if by == "list":
        what = "listed numbers"
        test = np.array([r.number in chosen[r.label] for r in recordings])
    else:
        first, end = chosen
        what = f"{by} {first} to {end - 1}"
        place = PLACES[by](recordings)
        test = (place >= first) & (place < end)
    if test.all() or not test.any():
        raise UserError(
            f"the split {rule!r} tests on {what}, which is {test.sum()} of the {len(test)} "
            "recordings found: files are missing, or choose another split: "
            f"{', '.join(rules)}."
        )
    return test


def read_manifest(name: str) -> dict[str, Any]:
    """Return the content of `splits/NAME.json`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def _list_numbers(recordings: Sequence[Recording]) -> np.ndarray:
    return np.array([recording.number for recording in recordings])


def _rank_names(recordings: Sequence[Recording]) -> np.ndarray:
    """Return each file's place among those of its class, in lexicographic order."""
    classes: dict[int, list[str]] = defaultdict(list)
    for recording in recordings:
        classes[recording.label].append(recording.name)
    places = {
        label: {n: i for i, n in enumerate(sorted(names))} for label, names in classes.items()
    }
    return np.array([places[recording.label][recording.name] for recording in recordings])


PLACES = {"number": _list_numbers, "rank": _rank_names}
