"""Reads the metrics of each step while the next one runs, and explains a step that is not finite.

The compiled step does not apply an update that is not finite (program/step.py). So reading the
metrics one step late is safe: the weights are still those before the bad step.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from ..errors import UserError
from ..files import write_atomically
from ..program.program import Program
from ..program.state import Metrics, TrainState

FILE = "nonfinite.json"
MOST_SAMPLES = 5  # How many samples a message lists; the file lists all.


class StepMetrics(NamedTuple):
    """The loss and accuracy of a finished step."""

    step: int
    loss: float
    accuracy: float


class Watch:
    """A reader of the metrics of a run, one step late, so that the device never waits.

    `skipped` steps were skipped before. If there are more than `skip`, UserError is raised with the
    message `explain(state, step)`; otherwise `note` reports each.
    """

    def __init__(
        self,
        explain: Callable[[TrainState, int], str],
        *,
        skip: int,
        skipped: int,
        note: Callable[[str], None],
    ) -> None:
        self._explain, self._note = explain, note
        self._skip, self._skipped = skip, skipped
        self._latest: tuple[int, Metrics] | None = None

    def look(self, state: TrainState, step: int, metrics: Metrics) -> StepMetrics | None:
        """Store the `metrics` of `step`; return those of the step before, None for the first step.

        Raises UserError if the step before is one skipped step too many.
        """
        done = self.settle(state)
        self._latest = step, metrics
        return done

    def settle(self, state: TrainState) -> StepMetrics | None:
        """Return the latest step after waiting for it; None if it was returned before."""
        if self._latest is None:
            return None
        (step, metrics), self._latest = self._latest, None
        values = jax.device_get(metrics)
        if (skipped := values["skipped"].item()) > self._skipped:
            if skipped > self._skip:
                raise UserError(self._explain(state, step))
            self._note(
                f"step {step} was skipped: its loss or gradient is not finite "
                f"({skipped} of at most {self._skip} in this run)"
            )
            self._skipped = skipped
        return StepMetrics(step, values["loss"].item(), values["accuracy"].item())


def report_step(
    program: Program, workdir: Path, state: TrainState, step: int, *, write: bool = True
) -> str:
    """Return which layer of a step is not finite first; `write` all details to nonfinite.json."""
    where, samples = program.diagnose(state), program.samples(step - 1)
    epoch = (step - 1) // program.steps_per_epoch + 1
    found = {"step": step, "epoch": epoch, "first": where, "samples": samples.tolist()}
    if write:
        write_atomically(workdir / FILE, json.dumps(found, indent=2))
    few = ", ".join(map(str, samples[:MOST_SAMPLES]))
    return (
        f"step {step}, in epoch {epoch}, is not finite; the first that is not is {where}, on the "
        f"training samples {few}, ... ({workdir / FILE} has all)"
    )
