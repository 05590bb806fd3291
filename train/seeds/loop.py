"""The story of several seeds that train at once: a loop over their sessions."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from .. import data
from ..errors import UserError
from ..monitor.nonfinite import StepMetrics
from ..program.evaluation import Evaluation
from ..program.program import CompiledStep
from ..program.state import TrainState, reset_totals, zero_totals
from ..records.progress import Display
from ..run.checkpoint import find_whole_steps
from ..run.pretrained import load_pretrained
from ..run.summary import Summary
from ..session import Session, check_parts
from .program import SeedsProgram, make_seeds_program, split_metrics, split_states


class SeedSession(Session):
    """The session of one of several seeds; its states are on the host."""

    def __init__(self, config: ConfigDict, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.label = f"seed {config.seed}: "

    def explain_nonfinite(self, state: TrainState, step: int) -> str:
        """Return what to say of a step that is not finite and ends the run."""
        return (
            f"{self.label}step {step}, in epoch {self.get_epoch(step)}, is not finite. "
            f"{self.describe_saved()}. Alone, by train.main with --workdir {self.workdir} and "
            f"--config.seed={self.config.seed}, it goes on from there and says where it began."
        )


def train_seeds(
    config: ConfigDict,
    seeds: Sequence[int],
    workdir: Path,
    stop: Callable[[], bool] = lambda: False,
    *,
    program: SeedsProgram | None = None,
) -> list[Summary] | None:
    """Train one network for each seed, all at once; None if `stop()` became true.

    Each has the folder `workdir/seed_SEED` of an ordinary run, and ends with its bits. Runs that
    were begun resume from the newest step that all have. `program` replaces that of the config.
    Raises UserError as `train` does, and for a config with what only a run of its own can do.
    """
    started = time.monotonic()
    _check(config, workdir)
    configs = {workdir / f"seed_{seed}": _copy_with_seed(config, seed) for seed in seeds}
    begun = find_common_step(list(configs))
    if program is None:
        of_first = _copy_with_seed(config, seeds[0])
        dataset = data.load(**config.data)
        given = load_pretrained(of_first, dataset) if begun is None else {}
        program = make_seeds_program(of_first, seeds, dataset, given=given)
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(
                SeedSession(
                    own,
                    folder,
                    program.one,
                    started=started,
                    until=begun,
                    compiled=workdir / "compiled",
                )
            )
            for folder, own in configs.items()
        ]
        states = train_sessions(sessions, program, stop, fresh=begun is None)
        if states is None:
            return None
        alone, tests = split_states(states), program.test(states)
        bests: list[Evaluation] | list[None] = [None] * len(sessions)
        if sessions[0].is_validated:
            pairs = zip(sessions, alone, strict=True)
            chosen = [session.restore_best(state) for session, state in pairs]
            bests = program.test(program.join(chosen))
        ends = zip(sessions, alone, tests, bests, strict=True)
        return [session.finish(state, test, best) for session, state, test, best in ends]


def find_common_step(folders: Sequence[Path]) -> int | None:
    """Return the newest step from which all runs can resume; None if they have to begin.

    Raises UserError if they have come so far apart that there is none.
    """
    found = {folder: list(find_whole_steps(folder)) for folder in folders}
    newest = {folder: max(steps, default=-1) for folder, steps in found.items()}
    least = min(newest.values())
    if least < 0 and max(newest.values()) <= 0:
        return None
    if not all(least in steps for steps in found.values()):
        at = ", ".join(f"{folder.name} at {step}" for folder, step in newest.items() if step >= 0)
        raise UserError(
            f"the seeds have no newest step in common ({at}). Let each go on alone, by train.main "
            "with its --workdir and --config.seed, or choose another --workdir."
        )
    return least


def train_sessions(
    sessions: Sequence[Session], program: SeedsProgram, stop: Callable[[], bool], *, fresh: bool
) -> TrainState | None:
    """Resume the runs or begin `fresh`; return their last states, None if `stop()` became true."""
    config, total = sessions[0].config, sessions[0].total_steps
    with Display(total, config.batch_size * len(sessions)) as display:
        if fresh:
            states = program.first_states()
        else:
            restored = (session.restore() for session in sessions)
            states = program.join([state for state in restored if state is not None])
        alone = split_states(states)
        begun = int(alone[0].step)
        if begun == total:
            display.begin(begun)
            return states
        if begun:
            display.note(f"going on from step {begun} of {total}")
        for session, state in zip(sessions, alone, strict=True):
            session.begin(state, display.note)
        step = program.compile_step()
        with closing(program.batches(begun)) as batches:
            display.note(str(step))
            display.begin(begun)
            return train_epochs(sessions, program, states, step, batches, display, stop)


def train_epochs(
    sessions: Sequence[Session],
    program: SeedsProgram,
    states: TrainState,
    step: CompiledStep,
    batches: Generator[Any, None, None],
    display: Display,
    stop: Callable[[], bool],
) -> TrainState | None:
    """Train the epochs that are left; return the last states, None if `stop()` became true."""
    for epoch in sessions[0].epochs:
        numbers = [session.begin_epoch(epoch) for session in sessions][0]
        for number in numbers:
            if (stopped := stop()) or sessions[0].is_due(number - 1):
                save_all(sessions, states, number - 1)
            if stopped:
                return None
            if number > numbers[-1] - 2:  # Health looks at these.
                for session, state in zip(sessions, split_states(states), strict=True):
                    session.before_step(state, number)
            states, metrics = step(states, next(batches))
            split = zip(sessions, split_metrics(metrics), strict=True)
            done = [session.after_step(states, number, own) for session, own in split]
            if done[0] and display.is_due():
                show(sessions, display, epoch, done)
        display.epoch(end_epoch(sessions, program, states))
        states = reset_totals(states)
    return states


def save_all(sessions: Sequence[Session], states: TrainState, step: int) -> None:
    """Save where all resume within an epoch."""
    for session in sessions:
        session.settle(states)
    wait_for_saves(sessions)
    for session, state in zip(sessions, split_states(states), strict=True):
        session.save(state, step)


def end_epoch(
    sessions: Sequence[Session], program: SeedsProgram, states: TrainState
) -> dict[str, Any]:
    """Test, log and save the end of an epoch; return the line for all seeds."""
    alone = split_states(states)
    for session, state in zip(sessions, alone, strict=True):
        session.end_steps(state)
    ends = zip(sessions, alone, program.evaluate(states), strict=True)
    records = [session.end_epoch(state, test) for session, state, test in ends]
    # All or none, and after all have an end: they resume from the same step.
    hold = not sessions[0].checkpoints.is_time()
    if not hold:
        wait_for_saves(sessions)
    for session, state in zip(sessions, alone, strict=True):
        session.save_epoch(state.replace(totals=zero_totals()), hold)
    splits = ("train_", f"{program.one.split}_")
    values = {key: [record[key] for record in records] for key in records[0]}
    means = {
        key: None if None in found else float(np.mean(found))
        for key, found in values.items()
        if key.startswith(splits)
    }
    speed = sum(record["images_per_second"] for record in records)
    return records[0] | means | {"images_per_second": speed}


def show(
    sessions: Sequence[Session], display: Display, epoch: int, done: Iterable[StepMetrics | None]
) -> None:
    """Show the mean loss and accuracy of the latest step of all seeds."""
    for session in sessions:
        session.checkpoints.raise_failure()
    steps, losses, accuracies = zip(*(each for each in done if each), strict=True)
    display.show(epoch, steps[0], float(np.mean(losses)), float(np.mean(accuracies)))


def wait_for_saves(sessions: Sequence[Session]) -> None:
    """Wait until all saves have ended, so that no seed is ahead of another by more than one."""
    for session in sessions:
        session.checkpoints.wait()


def _check(config: ConfigDict, workdir: Path) -> None:
    check_parts(config)
    if config.cpu_devices != 1:
        raise UserError("config.cpu_devices must be 1: each seed has a device of its own.")
    if config.profile_steps or config.wandb.project:
        raise UserError(
            "config.profile_steps and config.wandb.project are for a run alone, by train.main."
        )
    if config.checkpoints.last < 2:
        raise UserError(
            "config.checkpoints.last must be at least 2: of the newest, not all seeds may have one."
        )
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} is the folder of a run; choose another --workdir.")


def _copy_with_seed(config: ConfigDict, seed: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.seed = seed
    return config
