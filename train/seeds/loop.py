"""Several seeds that train at once, top to bottom: a loop over their sessions.

Every seed is an ordinary run in a folder of its own, but all take the same step at the same time.
So they must also resume from the same step. Each saves at the same steps as the others and waits
for their previous saves first (`wait_for_saves`): a kill leaves the newest checkpoints of two seeds
at most one save apart, and since each keeps at least two, there is a step that all have.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pit_jax.signals import interruptible, saving

from .. import data
from ..config.limits import list_extensions
from ..errors import UserError
from ..loop import print_skipped
from ..monitor.nonfinite import StepMetrics
from ..program.evaluation import Evaluation
from ..program.program import CompiledStep, note_if_slow
from ..program.state import TrainState, make_zero_totals, reset_totals
from ..records.progress import Display
from ..run.checkpoint import find_whole_steps
from ..run.compile_cache import use_compile_cache
from ..run.pretrained import Pretrained, read_pretrained
from ..run.summary import Summary
from ..run.workdir import check_outside
from ..session import Session, check_parts
from .program import SeedsProgram, make_seeds_program, split_metrics, split_states


class SeedSession(Session):
    """The session of one of several seeds, whose states are on the host."""

    def __init__(self, config: ConfigDict, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self.label = f"seed {config.seed}: "

    def explain_nonfinite(self, state: TrainState, step: int) -> str:
        """Return the error message for a step that is not finite and ends the run."""
        return (
            f"{self.label}step {step}, in epoch {self.get_epoch(step)}, is not finite. "
            f"{self.describe_saved()}. {self.explain_cause(None)}"
        )

    def diagnose(self, state: TrainState) -> str | None:
        """Return None: the program of all seeds has no step of one seed to repeat."""
        return None

    def explain_cause(self, where: str | None) -> str:
        """Return how to find the cause."""
        return (
            "To find the layer, resume this seed alone: train.main with "
            f"--workdir {self.workdir} and --config.seed={self.config.seed}."
        )


@use_compile_cache()
def train_seeds(
    config: ConfigDict,
    seeds: Sequence[int],
    workdir: Path,
    stop: Callable[[], bool] = lambda: False,
    *,
    program: SeedsProgram | None = None,
) -> list[Summary] | None:
    """Train one network for each seed, all at once; return None if `stop()` became true.

    Each seed is an ordinary run in `workdir/seed_SEED`, with the same bits as if it were trained
    alone. Existing runs resume from the newest step that all have. `program` replaces the program
    that is otherwise made from the config. Raises UserError as `train` does, and for config keys
    that only a single run supports.
    """
    started = time.monotonic()
    _check(config, workdir)
    configs = {workdir / f"seed_{seed}": _copy_with_seed(config, seed) for seed in seeds}
    begun = find_common_step(list(configs))
    if program is None:
        of_first = _copy_with_seed(config, seeds[0])
        dataset = data.load(**config.data)
        given, origin = read_pretrained(of_first, dataset) if begun is None else Pretrained()
        program = make_seeds_program(of_first, seeds, dataset, given=given)
        program = program._replace(one=program.one._replace(pretrained=origin))
        print_skipped(of_first, dataset, 1)
    with ExitStack() as stack:
        stack.enter_context(saving("the running step or evaluation ends and is saved"))
        sessions = [
            stack.enter_context(
                SeedSession(
                    own,
                    folder,
                    program.one,
                    started=started,
                    until=begun,
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
            best_states = [session.restore_best(state) for session, state in pairs]
            bests = program.test(program.join(best_states))
        ends = zip(sessions, alone, tests, bests, strict=True)
        return [session.finish(state, test, best) for session, state, test, best in ends]


def find_common_step(folders: Sequence[Path]) -> int | None:
    """Return the newest step from which all runs can resume; None if all have to start.

    Raises UserError if the runs have no step in common: for example because one of them was resumed
    alone.
    """
    found = {folder: list(find_whole_steps(folder)) for folder in folders}
    newest = {folder: max(steps, default=-1) for folder, steps in found.items()}
    # A common step cannot be newer than the newest step of the slowest seed. An older one is not
    # tried: it would throw away steps that this seed has saved.
    least = min(newest.values())
    # Some seeds may have saved step 0, and others nothing: all start again with the same bits.
    if least < 0 and max(newest.values()) <= 0:
        return None
    if not all(least in steps for steps in found.values()):
        at = ", ".join(f"{folder.name} at {step}" for folder, step in newest.items() if step >= 0)
        raise UserError(
            f"the seeds have no newest step in common ({at}). Resume each one alone, with "
            "train.main, its --workdir and --config.seed, or choose another --workdir."
        )
    return least


def train_sessions(
    sessions: Sequence[Session], program: SeedsProgram, stop: Callable[[], bool], *, fresh: bool
) -> TrainState | None:
    """Resume the runs or begin `fresh`; return their last states, None if `stop()` became true."""
    config, total = sessions[0].config, sessions[0].total_steps
    with Display(total, config.batch_size * len(sessions)) as display:
        if fresh:
            with note_if_slow(display.note, config):
                states = interruptible(program.first_states)
        else:
            restored = (session.restore() for session in sessions)
            states = program.join([state for state in restored if state is not None])
        alone = split_states(states)
        begun = int(alone[0].step)
        if begun == total:
            display.begin(begun)
            return states
        if begun:
            display.note(f"resuming from step {begun} of {total}")
        for session, state in zip(sessions, alone, strict=True):
            session.begin(state, display.note)
        step = interruptible(program.compile_step)
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
    """Train the remaining epochs; return the last states, None if `stop()` became true."""
    for epoch in sessions[0].epochs:
        # All seeds have the same steps.
        numbers = [session.begin_epoch(epoch) for session in sessions][0]
        for number in numbers:
            if (stopped := stop()) or sessions[0].is_due(number - 1):
                save_all(sessions, states, number - 1)
            if stopped:
                return None
            # Only before the last two steps of an epoch, which health measures: splitting the
            # states copies them to the host.
            if number > numbers[-1] - 2:
                for session, state in zip(sessions, split_states(states), strict=True):
                    session.before_step(state, number)
            states, metrics = step(states, next(batches))
            split = zip(sessions, split_metrics(metrics), strict=True)
            # The states of all seeds: a seed's session does not read them, and splitting copies
            # them.
            done = [session.after_step(states, number, own) for session, own in split]
            if done[0] and display.is_due():
                show(sessions, display, epoch, done)
        display.show_epoch(end_epoch(sessions, program, states))
        states = reset_totals(states)
    return states


def save_all(sessions: Sequence[Session], states: TrainState, step: int) -> None:
    """Save a checkpoint of each seed within an epoch, from which all can resume."""
    # May raise for a step that is not finite: then no seed has saved this step.
    for session in sessions:
        session.settle(states)
    wait_for_saves(sessions)
    for session, state in zip(sessions, split_states(states), strict=True):
        session.save(state, step)


def end_epoch(
    sessions: Sequence[Session], program: SeedsProgram, states: TrainState
) -> dict[str, Any]:
    """Log and save the end of an epoch; return a line with the means over the seeds."""
    alone = split_states(states)
    for session, state in zip(sessions, alone, strict=True):
        session.end_steps(state)
    ends = zip(sessions, alone, program.evaluate(states), strict=True)
    records = [session.end_epoch(state, test) for session, state, test in ends]
    # All seeds write or none does, and only after the previous saves of all have ended: the seeds
    # must have a step in common.
    hold = not sessions[0].checkpoints.is_time()
    if not hold:
        wait_for_saves(sessions)
    for session, state in zip(sessions, alone, strict=True):
        # As in a single run, which resets its totals before it saves the end of an epoch.
        session.save_epoch(state.replace(totals=make_zero_totals()), hold)
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
    """Show the loss and accuracy of the latest step, averaged over the seeds."""
    for session in sessions:
        session.checkpoints.raise_failure()
    steps, losses, accuracies = zip(*(each for each in done if each), strict=True)
    display.show_step(epoch, steps[0], float(np.mean(losses)), float(np.mean(accuracies)))


def wait_for_saves(sessions: Sequence[Session]) -> None:
    """Wait until all saves have ended, so that no seed is more than one save ahead of another."""
    for session in sessions:
        session.checkpoints.wait()


def _check(config: ConfigDict, workdir: Path) -> None:
    check_parts(config)
    if config.cpu_devices != 1:
        raise UserError("config.cpu_devices must be 1: each seed has its own device.")
    if config.profile_steps or config.wandb.project:
        raise UserError(
            "config.profile_steps and config.wandb.project need a single run: use train.main."
        )
    if list_extensions(config):
        raise UserError(
            "config.extend needs a single run: extend each seed with train.main, its --workdir and "
            "--config.seed."
        )
    if config.checkpoints.last < 2:
        raise UserError(
            "config.checkpoints.last must be at least 2: a kill may leave only some seeds with the "
            "newest checkpoint."
        )
    if (workdir / "config.json").exists():
        raise UserError(f"{workdir} is the folder of a run; choose another --workdir.")
    check_outside(workdir)
    # A user may add reports to the folder.
    there = list(workdir.iterdir()) if workdir.is_dir() else []
    if there and not any(path.is_dir() and path.name.startswith("seed_") for path in there):
        raise UserError(
            f"{workdir} is not empty and not the folder of seeds; choose another --workdir."
        )


def _copy_with_seed(config: ConfigDict, seed: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.seed = seed
    return config
