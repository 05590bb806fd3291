"""Selects the test recordings by the rules in train/data/splits."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .recordings import Recording

FOLDER = Path(__file__).parents[1] / "splits"


def check_rule(name: str, rule: str) -> None:
    """Raise `UserError` for a rule that `splits/NAME.json` does not have."""
    rules = list(read_manifest(name))
    if rule not in rules:
        raise UserError(f"config.data.split is {rule!r}; it can be {', '.join(rules)}.")


def select_test(name: str, rule: str, recordings: Sequence[Recording]) -> np.ndarray:
    """Return a mask of the test recordings, by `rule` of `splits/NAME.json`.

    A rule selects a half-open range of the numbers in the file names, a half-open range of the
    ranks of these names in their class, or the numbers in a list for each class. Raises `UserError`
    for a rule that leaves the training or the test set empty.
    """
    rules = read_manifest(name)
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
            "recordings found. Add the missing files, or choose another split: "
            f"{', '.join(rules)}."
        )
    return test


def read_manifest(name: str) -> dict[str, Any]:
    """Return the content of `splits/NAME.json`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def _list_numbers(recordings: Sequence[Recording]) -> np.ndarray:
    return np.array([recording.number for recording in recordings])


def _rank_names(recordings: Sequence[Recording]) -> np.ndarray:
    """Return the rank of each file in the lexicographic order of its class."""
    # Lexicographic: 10 comes before 2, so ranks 900 to 999 are other files than these numbers.
    classes: dict[int, list[str]] = defaultdict(list)
    for recording in recordings:
        classes[recording.label].append(recording.name)
    places = {
        label: {n: i for i, n in enumerate(sorted(names))} for label, names in classes.items()
    }
    return np.array([places[recording.label][recording.name] for recording in recordings])


PLACES = {"number": _list_numbers, "rank": _rank_names}
