"""One run in its folder: claim the folder, resume, log, save, end an epoch, finish.

A run resumes with the same bits whenever it was killed, because only three orders matter:

- `config.json` is written under the lock, before anything else is;
- the line of an epoch is written before the checkpoint of that epoch. If the run is killed in
  between, the lines after the newest checkpoint are dropped when it resumes (records/jsonl.py);
- the summary is written after all checkpoints and logs are closed.
"""

import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import jax
from ml_collections import ConfigDict

from pit_jax.display import print_text
from pit_jax.initializers import warn_of_floored_scales
from pit_jax.signals import interruptible

from .config.choose import check_bounds
from .config.limits import count_epochs
from .distributed import hosts
from .errors import UserError
from .monitor.health import Health
from .monitor.levels import explain_rounding
from .monitor.nonfinite import (
    StepMetrics,
    Watch,
    advise,
    advise_on_loss,
    check_start,
    check_weights,
    report_step,
)
from .monitor.profile import Profile
from .program import build
from .program.evaluation import Evaluation, is_evaluated
from .program.metrics import make_metrics
from .program.program import Program
from .program.state import Metrics, TrainState, is_unevaluated
from .records.loggers import Journal, open_journal
from .records.wandb import check_installed
from .run.checkpoint import Checkpoints
from .run.copies import METRICS, encode_health, read_files, restore_files
from .run.environment import compare_environments, describe_environment, note_start
from .run.reading import read_starts
from .run.restore import load_best
from .run.saved import Progress
from .run.subset import save_data, save_subset
from .run.summary import Summary, make_json_numbers, summarize, write_summary
from .run.workdir import check_kinds, claim, explain_full_disk


class Session:
    """A run in its folder, from the claim of the folder to its summary; a context manager.

    Call `restore` and `begin` first; then `begin_epoch`, `before_step` and `after_step` for each
    step, `end_steps`, `end_epoch` and `save_epoch` for each epoch; finally `finish`. With several
    processes, only the first reads and writes; the others call the same methods in the same order.

    The run's seconds are counted from `started`. Printed lines begin with `label`.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        program: Program,
        *,
        started: float | None = None,
        label: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config, self.workdir, self.program = config, workdir, program
        self.progress, self.label = Progress(), label
        self.is_first = hosts.is_first()
        self._clock, self._started = clock, clock() if started is None else started
        self._begun, self._earlier, self._is_unevaluated = 0, 0.0, False
        self._journal = Journal()
        self._files: dict[str, str] = {}
        self._tested: Evaluation | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            with hosts.raise_on_all_hosts():
                self._open(stack)
            # Without an error `__exit__` closes everything; otherwise the `with` block has done so.
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        # Closed in reverse order: the checkpoints first, and the lock last, when nothing writes to
        # the folder any more. A full disk is explained when the checkpoints are closed too.
        if self.is_first:
            # Before the folder is created, or anything is written to it.
            check_installed(self.config)
            check_kinds(self.workdir)
            starts = read_starts(self.workdir)
            changes = compare_environments(self.workdir, starts, describe_environment())
            stack.enter_context(claim(self.workdir, self.config.to_dict()))
            if changes:
                print_text(f"{self.label}{changes}", sys.stderr)
            stack.enter_context(explain_full_disk(self.workdir))
            save_data(self.workdir, self.program.data)
            save_subset(self.workdir, self.program.subset)
        # Closed by `finish` before the summary is written, or by the end of the session.
        self._training = stack.enter_context(ExitStack())
        self.checkpoints = Checkpoints(self.workdir, **self.config.checkpoints, clock=self._clock)
        self._training.enter_context(closing(self.checkpoints))
        self._training.enter_context(hosts.explain_lost_peers(lambda: f"{self.describe_saved()}. "))

    def __exit__(self, *exception: Any) -> bool | None:
        return self._stack.__exit__(*exception)

    def restore(self) -> TrainState | None:
        """Return the newest saved state; None for a new run."""
        restored = self.checkpoints.restore(self.program.abstract_state)
        if restored is None:
            return None
        state, self.progress = restored
        with hosts.raise_on_all_hosts():
            if self.is_first:
                restore_files(
                    self.workdir, int(state.step), self.program.steps_per_epoch, self.progress
                )
        return state

    def begin(self, state: TrainState, note: Callable[[str], None]) -> None:
        """Start to log after the step of `state`; `note` prints a line."""
        self._begun, self._earlier = int(state.step), self.progress.seconds
        self._is_unevaluated = is_unevaluated(state, self.program.steps_per_epoch)
        if not self._begun:
            check_start(state, self.program.diagnose, self.program.samples(0))
            warn_of_floored_scales(state.params)
        with hosts.raise_on_all_hosts():
            if self.is_first:
                # Drops the lines that the run is about to compute again.
                end = self._begun - self._is_unevaluated
                journal = open_journal(self.config, self.workdir, end)
                self._journal = self._training.enter_context(closing(journal))
                note_start(self.workdir, self._begun, self.program.pretrained)
                # These files do not change from now on.
                self._files = read_files(self.workdir)
        if not self._begun:
            # Saved before the first step, so that a run whose first step is not finite has a
            # checkpoint, and so that its starting scales can be compared with the learned ones.
            self.checkpoints.save_first(state, self._make_progress())
            for warning in explain_rounding(self.program.first_rounding(), self.config):
                note(warning)
        self._watch = Watch(
            self.explain_nonfinite,
            skip=self.config.skip,
            skipped=int(state.skipped),
            note=note,
        )
        self._health = Health(
            self.program,
            self.workdir if self.is_first else None,
            every_epochs=self.config.health.every_epochs,
            begun=self._begun,
            note=note,
        )
        steps = self.config.profile_steps if self.is_first else ()
        self._profile = self._training.enter_context(closing(Profile(self.workdir, steps)))

    @property
    def is_validated(self) -> bool:
        """True if the best epoch is chosen on validation images, not on the test images."""
        return self.program.split == "validation"

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole run."""
        return count_epochs(self.config) * self.program.steps_per_epoch

    @property
    def epochs(self) -> range:
        """The remaining epochs, counted from 1."""
        # A run that stopped within an epoch resumes in it; `begin_epoch` skips its finished steps.
        first = self.get_epoch(self._begun + 1 - self._is_unevaluated)
        return range(first, count_epochs(self.config) + 1)

    @property
    def last_step(self) -> int:
        """The last step of the current epoch."""
        return self._steps.stop - 1

    def begin_epoch(self, epoch: int) -> range:
        """Start the clock of an epoch; return its remaining steps, counted from 1."""
        length = self.program.steps_per_epoch
        self._steps = range(max(self._begun, (epoch - 1) * length) + 1, epoch * length + 1)
        self._since = self._clock()
        return self._steps

    def is_due(self, step: int) -> bool:
        """Return whether to save after this step within an epoch."""
        return self.checkpoints.is_due(step)

    def save(self, state: TrainState, step: int) -> None:
        """Save a checkpoint within an epoch, from which the run can resume."""
        # The latest step is logged before the checkpoint is saved: after a resume its line would
        # be missing. Health first, too: its file is ignored unless it is of the restored step.
        self.settle(state)
        check_weights(state, step, self.describe_saved)
        health = self._health.save(step)
        self.checkpoints.save_last(state, self._make_progress(health))

    def before_step(self, state: TrainState, step: int) -> None:
        """Look at the state before `step`, without waiting for the device."""
        self._profile.before(step)
        self._health.before(state, step)

    def after_step(self, state: TrainState, step: int, metrics: Metrics) -> StepMetrics | None:
        """Log the step before `step` and return its metrics; None for the first of an epoch.

        Raises UserError when more than `config.skip` steps were not finite.
        """
        self._profile.after(step, state)
        # One step late: to read the metrics of `step` itself, the host would wait for the device.
        done = self._watch.look(state, step, metrics)
        self._log(done)
        return done

    def settle(self, state: TrainState) -> None:
        """Wait for the end of the latest step, and log it."""
        self._log(self._watch.settle(state))

    def end_steps(self, state: TrainState) -> None:
        """Wait for the end of an epoch's steps; raise UserError without a finite training loss."""
        self.settle(state)
        epoch, totals = self.get_epoch(self.last_step), jax.device_get(state.totals)
        if not totals["seen"]:
            where = self.program.diagnose(state)
            raise UserError(
                f"every step of epoch {epoch} was skipped: none has a finite loss and gradient. "
                f"{self.describe_saved()}. In the last one, the first that is not finite is "
                f"{where}. {self._advise(where)}"
            )
        loss = float(totals["loss"] / totals["seen"])
        self._check_finite("training", loss, epoch, state)
        self._record = {
            "train_loss": loss,
            "train_accuracy": float(totals["correct"] / totals["seen"]),
        }
        # After `settle`, so that all steps have ended, and before the evaluation.
        seconds = self._clock() - self._since
        self._speed = len(self._steps) * self.config.batch_size / seconds

    def is_evaluated(self, epoch: int) -> bool:
        """Return whether an epoch ends with an evaluation."""
        return is_evaluated(epoch, count_epochs(self.config), self.config.evaluate_every)

    def end_epoch(self, state: TrainState, found: Evaluation | None) -> dict[str, Any]:
        """Log an epoch after its evaluation, if it has one, and return its line."""
        step, split = self.last_step, self.program.split
        epoch, evaluated = self.get_epoch(step), {}
        if found is not None:
            self._check_finite(split, found.loss, epoch, state)
            metrics = make_json_numbers(found.metrics)
            values = {"loss": found.loss, "accuracy": found.accuracy, **metrics}
            evaluated = {f"{split}_{name}": value for name, value in values.items()}
        record = {
            "step": step,
            "epoch": epoch,
            **self._record,
            **evaluated,
            "images_per_second": self._speed,
            **self._health.end(state, epoch),
        }
        self._journal.log_epoch(record)
        self.progress = self._make_progress()
        # Strictly more: of equal epochs the first is the best, and its checkpoint stays.
        if found is not None and found.accuracy > self.progress.best_accuracy:
            self.progress = self.progress._replace(best_accuracy=found.accuracy, best_epoch=epoch)
        self._tested = None if self.is_validated else found
        return record

    def save_epoch(self, state: TrainState) -> None:
        """Save the end of an epoch.

        It is held in memory if the latest checkpoint was written less than
        `config.checkpoints.seconds_apart` seconds ago.
        """
        check_weights(state, self.last_step, self.describe_saved)
        epoch, hold = self.get_epoch(self.last_step), not self.checkpoints.is_time()
        self.checkpoints.save_epoch(state, self.progress, epoch, hold=hold)

    def _restore_best(self, state: TrainState) -> TrainState:
        """Return the state of the best epoch: `state`, the last one, if the last epoch is the best.

        Raises UserError if the checkpoint of the best epoch is missing or damaged.
        """
        # After a resume, only the first process has read the progress.
        epoch = hosts.broadcast_number(self.progress.best_epoch)
        assert epoch is not None
        if epoch == count_epochs(self.config):
            return state
        step = epoch * self.program.steps_per_epoch
        return load_best(self.workdir, step, self.program.abstract_state)

    def finish(self, state: TrainState, *, draw: bool = True) -> Summary:
        """Close logs and checkpoints, write and return the summary; with `draw` also its figures.

        The last state is evaluated on the test images, unless its epoch ended with an evaluation.
        """
        self._training.close()  # Waits until best/ is on disk.
        test, best = self._tested or interruptible(self.program.test, state), None
        if self.is_validated:
            best_state = self._restore_best(state)
            # `_restore_best` returns this very state if the last epoch is the best.
            best = test if best_state is state else interruptible(self.program.test, best_state)
        layers = self.program.neuron_layers
        summary = summarize(self.config, self.workdir, layers, test, state, self.progress, best)
        if self.is_first:
            write_summary(self.workdir, summary, draw=draw)
        return summary

    def explain_nonfinite(self, state: TrainState, step: int) -> str:
        """Return the error message for a step that is not finite and ends the run."""
        where, text = report_step(self.program, self.workdir, state, step, write=self.is_first)
        return f"{text}. {self.describe_saved()}. {self._advise(where)}"

    def _advise(self, where: str) -> str:
        return advise(where, self.config.model.get("dtype"))

    def describe_saved(self) -> str:
        """Return a sentence that names the newest checkpoint."""
        if not self.is_first:
            return "The first process has the newest checkpoint"
        saved = self.checkpoints.find_last_step()
        return (
            "Nothing was saved yet" if saved is None else f"The checkpoint of step {saved} is kept"
        )

    def _log(self, done: StepMetrics | None) -> None:
        # The last step of an epoch has no line of its own: the line of the epoch replaces it.
        if done and done.step % self.program.steps_per_epoch:
            self._journal.log_step(self.get_epoch(done.step), done)

    def get_epoch(self, step: int) -> int:
        """Return the epoch of a step, both from 1 on."""
        return (step - 1) // self.program.steps_per_epoch + 1

    def _make_progress(self, health: bytes | None = None) -> Progress:
        """Return the progress after the latest step, with copies of the files of the run."""
        files = self._files | {METRICS: self._journal.content}
        if health is not None:
            files |= encode_health(health)
        return self.progress._replace(seconds=self._seconds(), files=files)

    def _seconds(self) -> float:
        return self._earlier + self._clock() - self._started

    def _check_finite(self, split: str, value: float, epoch: int, state: TrainState) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"the {split} loss became {value} in epoch {epoch}. "
                f"{self.describe_saved()}. {advise_on_loss(split, state)}"
            )


def check_parts(config: ConfigDict) -> None:
    """Raise UserError for a bad name or value in the config, without loading any data."""
    build.check(config)
    make_metrics(config)
    check_bounds(Journal, config, every="log_every")
    check_bounds(is_evaluated, config, every="evaluate_every")
    check_bounds(Health, config, every_epochs="health.every_epochs")
    check_bounds(Profile, config, steps="profile_steps")
    check_bounds(
        Checkpoints,
        config,
        last="checkpoints.last",
        every_epochs="checkpoints.every_epochs",
        every_steps="checkpoints.every_steps",
        seconds_apart="checkpoints.seconds_apart",
    )
