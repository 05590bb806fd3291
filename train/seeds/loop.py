"""The story of several seeds that train at once."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from .. import data
from ..errors import UserError
from ..loop import summarized, write_end
from ..monitor.nonfinite import Done
from ..parts import check_parts
from ..program.state import Metrics, TrainState
from ..records.progress import Display
from ..run.checkpoint import whole_steps
from ..run.compile_cache import kept_in
from ..run.summary import Summary
from .program import SeedsProgram, apart, make_seeds_program
from .seed_run import SeedRun


def train_seeds(
    config: ConfigDict,
    seeds: Sequence[int],
    workdir: Path,
    stop: Callable[[], bool] = lambda: False,
) -> list[Summary] | None:
    """Trains one network for each seed, all at once; None if `stop()` became true.

    Each has the folder `workdir/seed_SEED` of an ordinary run, and ends with its bits. What was
    begun goes on from the newest step that all have. Raises UserError as `train` does, and for a
    config with what only a run of its own can do.
    """
    started = time.monotonic()
    _check(config, workdir)
    configs = {workdir / f"seed_{seed}": _with_seed(config, seed) for seed in seeds}
    begun = common_step(list(configs))
    dataset = data.load(**config.data)
    of_first = _with_seed(config, seeds[0])
    program = make_seeds_program(of_first, seeds, dataset, fresh=begun is None)
    with ExitStack() as stack:
        runs = [stack.enter_context(SeedRun(own, folder, begun)) for folder, own in configs.items()]
        stack.enter_context(kept_in(workdir / "compiled"))
        states = _train(config, runs, program, stop, started)
        if states is None:
            return None
        ends = zip(runs, program.evaluate(states), apart(states), strict=True)
        summaries = [
            summarized(run.config, run.workdir, program.one, test, state, run.progress)
            for run, test, state in ends
        ]
        for run, summary in zip(runs, summaries, strict=True):
            write_end(run.workdir, summary)
    return summaries


def common_step(folders: Sequence[Path]) -> int | None:
    """The newest step from which all runs can go on; None if they have to begin.

    Raises UserError if they have come so far apart that there is none.
    """
    found = {folder: list(whole_steps(folder)) for folder in folders}
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


def _train(
    config: ConfigDict,
    runs: Sequence[SeedRun],
    program: SeedsProgram,
    stop: Callable[[], bool],
    started: float,
) -> TrainState | None:
    steps = program.one.steps_per_epoch
    total_steps = config.epochs * steps
    with Display(total_steps, config.batch_size * len(runs)) as display, ExitStack() as stack:
        restored = [state for run in runs if (state := run.restore(program.one)) is not None]
        states = program.join(restored) if restored else program.first_states()
        alone = apart(states)
        earlier, begun = runs[0].progress.seconds, int(alone[0].step)
        if begun == total_steps:
            display.begin(begun)
            return states
        if begun:
            display.note(f"going on from step {begun} of {total_steps}")
        for run, state in zip(runs, alone, strict=True):
            run.begin(state, program.one, display.note)
        step = program.compile_step()
        batches = stack.enter_context(closing(program.batches(begun)))
        late = _Late(runs)
        display.note(str(step))
        display.begin(begun)

        for epoch in range(begun // steps + 1, config.epochs + 1):
            first, since = int(alone[0].step), time.monotonic()
            for number in range(first + 1, epoch * steps + 1):
                if (stopped := stop()) or runs[0].checkpoints.is_due(number - 1):
                    _tell(runs, epoch, late.settle(epoch))
                    seconds = earlier + time.monotonic() - started
                    _wait(runs)
                    for run, state in zip(runs, apart(states), strict=True):
                        run.save(state, seconds)
                if stopped:
                    return None
                if number > epoch * steps - 2:  # Health looks at these.
                    for run, state in zip(runs, apart(states), strict=True):
                        run.look(state, number)
                states, metrics = step(states, next(batches))
                done = late.look(number, metrics, epoch)
                _tell(runs, epoch, done)
                if done and display.is_due():
                    for run in runs:
                        run.checkpoints.raise_failure()
                    loss, accuracy = (float(np.mean([d[i] for d in done])) for i in (1, 2))
                    display.show(epoch, done[0].step, loss, accuracy)

            late.settle(epoch)
            alone = apart(states)
            speed = (number - first) * config.batch_size / (time.monotonic() - since)
            tests = program.evaluate(states)
            seconds = earlier + time.monotonic() - started
            records = [
                run.end(state, epoch, test, speed, seconds)
                for run, state, test in zip(runs, alone, tests, strict=True)
            ]
            # All or none, and after all have an end: where one goes on, so must the others.
            hold = not runs[0].checkpoints.is_time()
            if not hold:
                _wait(runs)
            for run, state in zip(runs, alone, strict=True):
                run.save_epoch(state, epoch, hold)
            display.epoch(_mean(records))
            states = states.replace(totals=jax.tree.map(_zeros, states.totals))
    return states


class _Late:
    """Reads the metrics of all seeds one step late, so that the devices never wait for the host."""

    def __init__(self, runs: Sequence[SeedRun]) -> None:
        self._runs = runs
        self._latest: tuple[int, Metrics] | None = None

    def look(self, step: int, metrics: Metrics, epoch: int) -> list[Done]:
        """The step before `step`, whose metrics are these, of each seed; none before the first."""
        done = self.settle(epoch)
        self._latest = step, metrics
        return done

    def settle(self, epoch: int) -> list[Done]:
        """The latest step, waiting for its end."""
        if self._latest is None:
            return []
        (step, metrics), self._latest = self._latest, None
        values, done = jax.device_get(metrics), []
        for i, run in enumerate(self._runs):
            done.append(Done(step, float(values["loss"][i]), float(values["accuracy"][i])))
            run.check(step, epoch, int(values["skipped"][i]))
        return done


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


def _with_seed(config: ConfigDict, seed: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.seed = seed
    return config


def _tell(runs: Sequence[SeedRun], epoch: int, done: Sequence[Done]) -> None:
    for run, each in zip(runs, done, strict=False):  # Before the first step there are none.
        run.tell(epoch, each)


def _wait(runs: Sequence[SeedRun]) -> None:
    """Until all saves have ended: so no seed is ahead of another by more than one."""
    for run in runs:
        run.checkpoints.wait()


def _zeros(like: jax.Array) -> jax.Array:
    return jax.device_put(np.zeros(like.shape, like.dtype), like.sharding)


def _mean(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The line of an epoch for all seeds: means, and the sum of their speeds."""
    keys = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    found = {key: float(np.mean([record[key] for record in records])) for key in keys}
    speed = sum(record["images_per_second"] for record in records)
    return records[0] | found | {"images_per_second": speed}
