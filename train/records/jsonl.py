"""metrics.jsonl, the record of a run: one JSON object a line, in the order of the steps.

The line of an epoch has `step`, `epoch`, `train_loss`, `train_accuracy`, `test_loss`,
`test_accuracy`, a `test_NAME` for each of `config.metrics`, `images_per_second` and, where it was
measured, `health` by layer and measure. With validation images its keys have `validation_` instead
of `test_`. The line of a single step has `step`, `epoch`, `loss` and `accuracy`, null if they are
NaN.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pit_jax.display import print_text

from ..files import append_line, read_file, write_atomically
from ..run.reading import read_records

# The loss of a single step is noisier than the mean of an epoch, so it is a separate curve.
NAMES = {
    "loss": "step/loss",
    "accuracy": "step/accuracy",
    "images_per_second": "speed/images_per_second",
}
SPLITS = ("train", "validation", "test")


class MetricsFile:
    """The lines of metrics.jsonl of a run that begins or resumes after `step`.

    Lines of later steps, which a killed run wrote without a checkpoint, are dropped: the steps are
    trained and recorded again.
    """

    def __init__(self, file: Path, step: int) -> None:
        self.lines = [record for record in read_records(file) if record["step"] <= step]
        self._texts = [f"{json.dumps(record)}\n" for record in self.lines]
        # Rewritten as a whole, so that a line that a killed run left incomplete is dropped too.
        write_atomically(file, self.content)
        self._file = file

    @property
    def content(self) -> str:
        """The whole file."""
        return "".join(self._texts)

    def write_step(self, record: Mapping[str, Any]) -> None:
        """Append a line and wait until it is on disk."""
        text = json.dumps(record)
        self._texts.append(f"{text}\n")
        append_line(self._file, text)

    write_epoch = write_step

    def close(self) -> None:
        """Write the file again if it was deleted or changed meanwhile."""
        if read_file(self._file) != self.content.encode():
            print_text(f"{self._file} was changed during the run: written again.", sys.stderr)
            write_atomically(self._file, self.content)


def collect_scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line under names that dashboards group, as `test/loss`.

    Nested numbers by layer and measure, as of `health`, are named `health/MEASURE/LAYER`.
    """
    found = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            for layer, measures in value.items():
                for measure, number in measures.items():
                    found[f"{key}/{measure}/{layer}"] = number
        elif key not in ("step", "epoch"):
            found[_name_scalar(key)] = value
    return {name: number for name, number in found.items() if isinstance(number, (int, float))}


def _name_scalar(key: str) -> str:
    split, _, name = key.partition("_")
    return f"{split}/{name}" if split in SPLITS else NAMES.get(key, key)
