"""metrics.jsonl, the record of a run: one JSON object a line, in the order of the steps."""

import json
import os
from pathlib import Path
from typing import Any

from train.workdir import write_whole


class Records:
    """Appends to `file`; what a killed run wrote beyond `step` is dropped, to come anew."""

    def __init__(self, file: Path, step: int) -> None:
        kept = [record for record in _read(file) if record["step"] <= step]
        write_whole(file, "".join(f"{json.dumps(record)}\n" for record in kept))
        self.all: list[dict[str, Any]] = kept
        self._file = file

    def write(self, **record: Any) -> None:
        """One line, on disk when this returns."""
        self.all.append(record)
        with self._file.open("a") as file:
            file.write(f"{json.dumps(record)}\n")
            file.flush()
            os.fsync(file.fileno())


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    lines = file.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
