"""The story of a run, top to bottom: data, program, resume, epochs, summary."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from pit_jax.initializers import warn_of_floored_scales

from . import data, figures
from .distributed import hosts
from .errors import UserError
from .files import write_atomically
from .monitor.health import Health
from .monitor.nonfinite import Watch
from .monitor.profile import Profile
from .parts import check_parts
from .program import sharding
from .program.evaluation import Evaluation
from .program.program import Program, make_program
from .program.state import TrainState, no_totals
from .records.jsonl import epochs
from .records.loggers import Journal, open_journal
from .records.progress import Display, print_summary
from .records.wandb import check_installed
from .run.checkpoint import Checkpoints, Progress, newest_step
from .run.compile_cache import kept_in
from .run.environment import note_start
from .run.reading import read_records
from .run.summary import Summary, count_parameters, title
from .run.workdir import alike, claim, no_room


def train(
    config: ConfigDict, workdir: Path, stop: Callable[[], bool] = lambda: False
) -> Summary | None:
    """Trains as `config` says, going on where `workdir` left off; None if `stop()` became true.

    Raises UserError for missing data, a bad config or a workdir of another run, before anything
    compiles, for a loss that is no longer finite, which is not saved, and for a full disk.
    """
    check_parts(config)
    with hosts.losses_told():
        return _run(config, workdir, stop, time.monotonic())


def _run(
    config: ConfigDict, workdir: Path, stop: Callable[[], bool], started: float
) -> Summary | None:
    hosts.check_alike("config", json.dumps(alike(config.to_dict())))
    with hosts.together(), hosts.first_ahead():  # It may have to fetch them to where all look.
        dataset = data.load(**config.data)
    begun = hosts.number_of_first(newest_step(workdir) if hosts.is_first() else None)
    with hosts.together():
        if hosts.is_first():
            check_installed(config)
        program = make_program(config, dataset, fresh=begun is None)
    with ExitStack() as stack:
        with hosts.together():
            if hosts.is_first():
                stack.enter_context(claim(workdir, config.to_dict()))
                stack.enter_context(room_on(workdir))
                stack.enter_context(kept_in(workdir / "compiled"))
            checkpoints = Checkpoints(workdir, **config.checkpoints)
        with closing(checkpoints), hosts.losses_told(lambda: f"{kept(checkpoints)}. "):
            trained = _train(config, workdir, program, checkpoints, stop, started)
        if trained is None:
            return None
        state, progress = trained
        return _finish(config, workdir, program, state, progress)


def _train(
    config: ConfigDict,
    workdir: Path,
    program: Program,
    checkpoints: Checkpoints,
    stop: Callable[[], bool],
    started: float,
) -> tuple[TrainState, Progress] | None:
    total_steps = config.epochs * program.steps_per_epoch
    quiet = not hosts.is_first()
    with Display(total_steps, config.batch_size, quiet) as display, ExitStack() as stack:
        restored = checkpoints.restore(program.abstract_state)
        state, progress = restored or (program.first_state(), Progress())
        earlier, begun = progress.seconds, int(state.step)
        if begun == total_steps:
            display.begin(begun)
            return state, progress
        if begun:
            display.note(f"going on from step {begun} of {total_steps} in {workdir}")
        else:
            warn_of_floored_scales(state.params)
            checkpoints.save_first(state, progress)
        journal = Journal()
        with hosts.together():
            if hosts.is_first():
                journal = stack.enter_context(closing(open_journal(config, workdir, begun)))
                note_start(workdir, begun)
        step = program.compile_step()
        batches = stack.enter_context(closing(program.batches(begun)))
        watch = Watch(
            program,
            workdir,
            skip=config.skip,
            skipped=int(state.skipped),
            note=display.note,
            kept=partial(kept, checkpoints),
        )
        health = Health(
            program,
            workdir,
            every_epochs=config.health.every_epochs,
            begun=begun,
            note=display.note,
        )
        profile = Profile(workdir, config.profile_steps if hosts.is_first() else ())
        stack.callback(profile.close)
        display.note(str(step))
        display.begin(begun)

        length = program.steps_per_epoch
        for epoch in range(begun // length + 1, config.epochs + 1):
            first, since = max(begun, (epoch - 1) * length), time.monotonic()
            for number in range(first + 1, epoch * length + 1):
                if (stopped := stop()) or checkpoints.is_due(number - 1):
                    journal.step(epoch, watch.settle(state))
                    health.keep(number - 1)
                    seconds = earlier + time.monotonic() - started
                    checkpoints.save_last(state, progress._replace(seconds=seconds))
                if stopped:
                    return None
                profile.before(number)
                health.before(state, number)
                state, metrics = step(state, next(batches))
                profile.after(number, state)
                done = watch.look(state, number, metrics)
                journal.step(epoch, done)
                if done and display.is_due():
                    checkpoints.raise_failure()
                    display.show(epoch, *done)

            watch.settle(state)
            trained = means(state, epoch, checkpoints)
            speed = (number - first) * config.batch_size / (time.monotonic() - since)
            test = program.evaluate(state)
            check_finite("test loss", test.loss, epoch, checkpoints)
            record = {
                "step": number,
                "epoch": epoch,
                **trained,
                "test_loss": test.loss,
                "test_accuracy": test.accuracy,
                "images_per_second": speed,
                **health.end(state, epoch),
            }
            journal.epoch(record)
            display.epoch(record)
            state = state.replace(totals=sharding.placed(no_totals(), state.step.sharding))
            progress = progress._replace(seconds=earlier + time.monotonic() - started)
            if test.accuracy > progress.best_accuracy:
                progress = progress._replace(best_accuracy=test.accuracy, best_epoch=epoch)
            checkpoints.save_epoch(state, progress, epoch, hold=not checkpoints.is_time())
    return state, progress


@contextmanager
def room_on(workdir: Path) -> Iterator[None]:
    """Says what is kept when the disk takes no more."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not (reason := no_room(error)):
            raise
        saved = newest_step(workdir)
        said = (
            "nothing was saved yet" if saved is None else f"the checkpoint of step {saved} is kept"
        )
        raise UserError(
            f"cannot write to {workdir}: {reason}; {said}. Mend that, and the same command goes on."
        ) from error


def means(state: TrainState, epoch: int, checkpoints: Checkpoints) -> dict[str, float]:
    """Loss and accuracy in training; raises UserError where there is no finite loss."""
    totals = jax.device_get(state.totals)
    if not totals["seen"]:
        raise UserError(
            f"every step of epoch {epoch} was left out: none has a finite loss and gradient. "
            f"{kept(checkpoints)}. A lower config.learning_rate usually helps, in another "
            "--workdir."
        )
    loss = float(totals["loss"] / totals["seen"])
    check_finite("training loss", loss, epoch, checkpoints)
    return {"train_loss": loss, "train_accuracy": float(totals["correct"] / totals["seen"])}


def check_finite(what: str, value: float, epoch: int, checkpoints: Checkpoints) -> None:
    """Raises UserError for a value that is not finite."""
    if not math.isfinite(value):
        raise UserError(
            f"the {what} became {value} in epoch {epoch}. {kept(checkpoints)}. A lower "
            "config.learning_rate or some config.warmup_epochs usually help, in another --workdir."
        )


def kept(checkpoints: Checkpoints) -> str:
    """Which checkpoint there is, in words."""
    if not hosts.is_first():
        return "The first process has the newest checkpoint"
    saved = checkpoints.last_step()
    return "Nothing was saved yet" if saved is None else f"The checkpoint of step {saved} is kept"


def _finish(
    config: ConfigDict, workdir: Path, program: Program, state: TrainState, progress: Progress
) -> Summary:
    summary = summarized(config, workdir, program, program.evaluate(state), state, progress)
    if hosts.is_first():
        write_end(workdir, summary)
        print_summary(summary)
    return summary


def write_end(workdir: Path, summary: Summary) -> None:
    """Writes the files that a finished run has."""
    records = epochs(read_records(workdir / "metrics.jsonl"))
    write_atomically(workdir / "summary.json", json.dumps(summary._asdict(), indent=2))
    figures.curves(summary.title, records).savefig(workdir / "curves.png", dpi=150)
    if summary.rates:
        figures.firing_rates(summary.title, summary.rates).savefig(workdir / "rates.png", dpi=150)


def summarized(
    config: ConfigDict,
    workdir: Path,
    program: Program,
    test: Evaluation,
    state: TrainState,
    progress: Progress,
) -> Summary:
    """The end of a run that reached `state`, and `test` with it."""
    parameters, scales = count_parameters(state.params)
    return Summary(
        title=title(config),
        workdir=str(workdir),
        last_accuracy=test.accuracy,
        best_accuracy=progress.best_accuracy,
        best_epoch=progress.best_epoch,
        parameters=parameters,
        scales=scales,
        seconds=progress.seconds,
        rates={layer: test.rates[layer] for layer in program.neuron_layers},
    )
