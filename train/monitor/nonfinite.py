"""Looks at each step while the next one runs: what it reached, and whether it was finite."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from ..distributed import hosts
from ..errors import UserError
from ..files import write_atomically
from ..program.program import Program
from ..program.state import Metrics, TrainState

FILE = "nonfinite.json"
MOST_SAMPLES = 5  # Named in a message; the file has all.


class Done(NamedTuple):
    """A step that is over."""

    step: int
    loss: float
    accuracy: float


class Watch:
    """Reads the metrics of a run one step late, so that the device never waits for the host.

    `skipped` steps were left out before; more than `skip` end the run, fewer are told by `note`.
    `kept()` says which checkpoint there is.
    """

    def __init__(
        self,
        program: Program,
        workdir: Path,
        *,
        skip: int,
        skipped: int,
        note: Callable[[str], None],
        kept: Callable[[], str],
    ) -> None:
        self._program, self._workdir = program, workdir
        self._skip, self._skipped = skip, skipped
        self._note, self._kept = note, kept
        self._latest: tuple[int, Metrics] | None = None

    def look(self, state: TrainState, step: int, metrics: Metrics) -> Done | None:
        """The step before `step`, whose metrics are these; None for the first.

        Raises UserError, which says where it began, for one step too many that is not finite.
        """
        done = self.settle(state)
        self._latest = step, metrics
        return done

    def settle(self, state: TrainState) -> Done | None:
        """The latest step, waiting for its end."""
        if self._latest is None:
            return None
        (step, metrics), self._latest = self._latest, None
        values = jax.device_get(metrics)
        if (skipped := int(values["skipped"])) > self._skipped:
            if skipped > self._skip:
                raise UserError(self._report(state, step))
            self._note(
                f"step {step} was left out: its loss or gradient is not finite "
                f"({skipped} of at most {self._skip} in this run)"
            )
            self._skipped = skipped
        return Done(step, float(values["loss"]), float(values["accuracy"]))

    def _report(self, state: TrainState, step: int) -> str:
        where = self._program.diagnose(state)
        samples = self._program.samples(step - 1)
        epoch = (step - 1) // self._program.steps_per_epoch + 1
        told = {"step": step, "epoch": epoch, "first": where, "samples": samples.tolist()}
        if hosts.is_first():
            write_atomically(self._workdir / FILE, json.dumps(told, indent=2))
        few = ", ".join(map(str, samples[:MOST_SAMPLES]))
        return (
            f"step {step}, in epoch {epoch}, is not finite; the first that is not is {where}, on "
            f"the training samples {few}, ... ({self._workdir / FILE} has all). {self._kept()}. A "
            "lower config.learning_rate or some config.warmup_epochs usually help, in another "
            "--workdir; with config.skip=N there, up to N such steps are left out."
        )
