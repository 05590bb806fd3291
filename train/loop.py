"""One run, top to bottom: data, program, session, epochs, summary.

main.py makes `stop` from the signals; the loop calls it before every step. Initialization,
compilation and evaluation end at once (`interruptible`).
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from pit_jax.signals import Stopped, interruptible, saving

from .distributed import hosts
from .extension import resolve_extensions
from .loading import load_program
from .program.program import CompiledStep, Program, note_if_slow
from .program.state import TrainState, is_unevaluated, reset_totals
from .records.progress import Display, print_summary
from .run.compile_cache import use_compile_cache
from .run.environment import describe_common
from .run.saved import find_newest_step
from .run.summary import Summary
from .run.workdir import select_shared_keys
from .session import Session, check_parts


@use_compile_cache()
@hosts.explain_lost_peers()
def train(
    config: ConfigDict,
    workdir: Path,
    stop: Callable[[], bool] = lambda: False,
    *,
    devices: Sequence[jax.Device] | None = None,
    program: Program | None = None,
) -> Summary | None:
    """Train a network, or resume the run in `workdir`; return None if `stop()` became true.

    The run uses all devices, or `devices`. `program` replaces the one made from the config.

    Raises UserError for missing data, a bad config or a workdir of another run, before anything
    compiles; for a loss that is not finite, which is not saved; and for a full disk.
    """
    started = time.monotonic()
    check_parts(config)
    config = resolve_extensions(config, workdir)
    hosts.check_equal_values("libraries and JAX options", describe_common())
    with hosts.agree(select_shared_keys(config.to_dict()), find_newest_step(workdir)) as begun:
        program = program or load_program(config, devices, fresh=begun is None)
    # The mean and the deviation in "input" may differ in the last digit between hosts.
    found = {**program.data, "input": None, "pretrained": program.pretrained}
    hosts.check_equal_values("data and pretrained weights", found)
    summary = train_with(program, config, workdir, stop, started=started)
    if summary is not None and hosts.is_first():
        print_summary(summary)
    return summary


def train_with(
    program: Program,
    config: ConfigDict,
    workdir: Path,
    stop: Callable[[], bool],
    *,
    started: float,
    label: str = "",
    draw: bool = True,
) -> Summary | None:
    """Train or resume the run in `workdir` with its `program`; return None if `stop()` became true.

    Printed lines begin with `label`. Without `draw` the run has no figures.
    """
    with saving(), Session(config, workdir, program, started=started, label=label) as session:
        state = train_session(session, stop)
        return None if state is None else session.finish(state, draw=draw)


def train_session(session: Session, stop: Callable[[], bool]) -> TrainState | None:
    """Resume or begin the run of `session`; return its last state, None if `stop()` became true."""
    program, total, size = session.program, session.total_steps, session.config.batch_size
    with Display(total, size, not session.is_first, label=session.label) as display:
        restored = session.restore()
        with note_if_slow(display.note, session.config):
            state = interruptible(program.first_state) if restored is None else restored
        begun = int(state.step)
        if begun == total and not is_unevaluated(state, program.steps_per_epoch):
            display.begin(begun)
            return state
        if begun:
            display.note(f"resuming from step {begun} of {total} in {session.workdir}")
        session.begin(state, display.note)
        with note_if_slow(display.note, session.config):
            step = interruptible(program.compile_step)
        with closing(program.batches(begun)) as batches:
            display.note(str(step))
            display.begin(begun)
            return train_epochs(session, state, step, batches, display, stop)


def train_epochs(
    session: Session,
    state: TrainState,
    step: CompiledStep,
    batches: Generator[Any, None, None],
    display: Display,
    stop: Callable[[], bool],
) -> TrainState | None:
    """Train the remaining epochs; return the last state, None if `stop()` became true."""
    for epoch in session.epochs:
        for number in session.begin_epoch(epoch):
            # With several processes `stop` is a collective: it must be called in every step.
            if (stopped := stop()) or session.is_due(number - 1):
                session.save(state, number - 1)
            if stopped:
                return None
            session.before_step(state, number)
            state, metrics = step(state, next(batches))
            # Returns the metrics of the step before: this one still runs on the device.
            done = session.after_step(state, number, metrics)
            if done and display.is_due():
                session.checkpoints.raise_failure()
                display.show_step(epoch, *done)
        session.end_steps(state)
        found = None
        if session.is_evaluated(epoch):
            try:
                found = interruptible(session.program.evaluate, state)
            except Stopped:  # The run resumes with this evaluation.
                session.save(state, session.last_step)
                return None
        display.show_epoch(session.end_epoch(state, found))
        # Reset before saving: a run that resumes here starts the next epoch at zero.
        state = reset_totals(state)
        session.save_epoch(state)
    return state
