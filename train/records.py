"""metrics.jsonl, the record of a run: one JSON object a line, in the order of the steps.

The line of an epoch has what it was tested with; those of single steps have not.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from train.reading import read_records
from train.workdir import write_whole


class Records:
    """Appends to `file`; what a killed run wrote beyond `step` is dropped, to come anew."""

    def __init__(self, file: Path, step: int) -> None:
        kept = [record for record in read_records(file) if record["step"] <= step]
        write_whole(file, "".join(f"{json.dumps(record)}\n" for record in kept))
        self._all: list[dict[str, Any]] = kept
        self._file = file

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The lines of epochs."""
        return epochs(self._all)

    def write(self, **record: Any) -> None:
        """One line, on disk when this returns."""
        self._all.append(record)
        with self._file.open("a") as file:
            file.write(f"{json.dumps(record)}\n")
            file.flush()
            os.fsync(file.fileno())


def epochs(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of some lines that are of epochs."""
    return [record for record in records if "test_loss" in record]
