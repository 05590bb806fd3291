"""One of several seeds that train at once: its folder, what it tells and what it saves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

from ml_collections import ConfigDict

from pit_jax.initializers import warn_of_floored_scales

from ..errors import UserError
from ..loop import check_finite, kept, means, room_on
from ..monitor.health import Health
from ..monitor.nonfinite import Done
from ..program.evaluation import Evaluation
from ..program.program import Program
from ..program.state import TrainState, zero_totals
from ..records.loggers import Journal, open_journal
from ..run.checkpoint import Checkpoints, Progress
from ..run.environment import note_start
from ..run.workdir import claim


class SeedRun:
    """The run of one seed, in a folder as `train.main` would make it; its states are on the host.

    `until` is the step from which all seeds go on, None before the first.
    """

    def __init__(self, config: ConfigDict, workdir: Path, until: int | None) -> None:
        self.seed, self.config, self.workdir, self.until = config.seed, config, workdir, until
        self.progress, self._skipped = Progress(), 0
        self._journal = Journal()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(claim(self.workdir, self.config.to_dict()))
            stack.enter_context(room_on(self.workdir))
            checkpoints = Checkpoints(self.workdir, **self.config.checkpoints, until=self.until)
            self.checkpoints = stack.enter_context(closing(checkpoints))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def restore(self, program: Program) -> TrainState | None:
        """Where to go on; None for a run that begins."""
        if self.until is None:
            return None
        restored = self.checkpoints.restore(program.abstract_state)
        if restored is None:
            return None
        state, self.progress = restored
        return state

    def begin(self, state: TrainState, program: Program, note: Callable[[str], None]) -> None:
        """Notes the start behind `state`; `note` takes what is worth a line."""
        begun = int(state.step)
        if not begun:
            warn_of_floored_scales(state.params)
            self.checkpoints.save_first(state, self.progress)
        self._skipped = int(state.skipped)
        self._note = lambda text: note(f"seed {self.seed}: {text}")
        self._health = Health(
            program,
            self.workdir,
            every_epochs=self.config.health.every_epochs,
            begun=begun,
            note=self._note,
        )
        journal = open_journal(self.config, self.workdir, begun)
        self._journal = self._stack.enter_context(closing(journal))
        note_start(self.workdir, begun)

    def look(self, state: TrainState, number: int) -> None:
        """Looks at the state before step `number`."""
        self._health.before(state, number)

    def check(self, step: int, epoch: int, skipped: int) -> None:
        """Counts steps that were left out; raises UserError for one too many."""
        if skipped > self._skipped:
            if skipped > self.config.skip:
                raise UserError(
                    f"seed {self.seed}: step {step}, in epoch {epoch}, is not finite. "
                    f"{kept(self.checkpoints)}. Alone, by train.main with --workdir {self.workdir} "
                    f"and --config.seed={self.seed}, it goes on from there and says where it began."
                )
            self._note(
                f"step {step} was left out: its loss or gradient is not finite "
                f"({skipped} of at most {self.config.skip} in this run)"
            )
            self._skipped = skipped

    def tell(self, epoch: int, done: Done) -> None:
        """A step that is over."""
        self._journal.step(epoch, done)

    def save(self, state: TrainState, seconds: float) -> None:
        """Saves where to resume within an epoch."""
        self._health.keep(int(state.step))
        self.checkpoints.save_last(state, self.progress._replace(seconds=seconds))

    def end(
        self, state: TrainState, epoch: int, test: Evaluation, speed: float, seconds: float
    ) -> dict[str, Any]:
        """The line of an epoch that is over and tested, told."""
        with self._named():
            trained = means(state, epoch, self.checkpoints)
            check_finite("test loss", test.loss, epoch, self.checkpoints)
        record = {
            "step": int(state.step),
            "epoch": epoch,
            **trained,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "images_per_second": speed,
            **self._health.end(state, epoch),
        }
        self._journal.epoch(record)
        self.progress = self.progress._replace(seconds=seconds)
        if test.accuracy > self.progress.best_accuracy:
            self.progress = self.progress._replace(best_accuracy=test.accuracy, best_epoch=epoch)
        return record

    def save_epoch(self, state: TrainState, epoch: int, hold: bool) -> None:
        """Saves the end of an epoch, with `hold` in memory."""
        state = state.replace(totals=zero_totals())
        self.checkpoints.save_epoch(state, self.progress, epoch, hold=hold)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            raise UserError(f"seed {self.seed}: {error}") from error
