"""The story of a run, top to bottom: data, program, resume, epochs, summary."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import jax
from ml_collections import ConfigDict

from pit_jax.init import warn_of_floored_scales
from train import data, figures
from train.checkpoint import Checkpoints, Progress
from train.display import Display, print_summary
from train.environment import note_start
from train.errors import UserError
from train.program import Program, make_program
from train.records import Records
from train.state import TrainState, no_totals
from train.summary import Summary, count_parameters
from train.workdir import claim, write_whole


def train(
    config: ConfigDict, workdir: Path, stop: Callable[[], bool] = lambda: False
) -> Summary | None:
    """Trains as `config` says, going on where `workdir` left off; None if `stop()` became true.

    Raises UserError for missing data, a bad config or a workdir of another run, before anything
    compiles, and for a loss that is no longer finite.
    """
    dataset = data.load(**config.data)
    program = make_program(config, dataset)
    claim(workdir, config.to_dict())
    checkpoints = Checkpoints(workdir)
    try:
        return _run(config, workdir, program, checkpoints, stop)
    finally:
        checkpoints.close()


def _run(
    config: ConfigDict,
    workdir: Path,
    program: Program,
    checkpoints: Checkpoints,
    stop: Callable[[], bool],
) -> Summary | None:
    started = time.monotonic()
    restored = checkpoints.restore_last(program.abstract_state)
    state, progress = restored or (program.first_state(), Progress())
    earlier = progress.seconds
    if not restored:
        warn_of_floored_scales(state.params)
    records = Records(workdir / "metrics.jsonl", int(state.step))
    total_steps = config.epochs * program.steps_per_epoch
    if state.step < total_steps:
        note_start(workdir, int(state.step))
        step = program.compile_step()

    with Display(int(state.step), total_steps, config.batch_size) as display:
        if restored:
            display.note(f"going on from step {state.step} of {total_steps} in {workdir}")
        for epoch in range(int(state.step) // program.steps_per_epoch + 1, config.epochs + 1):
            order = program.epoch_order(epoch - 1)
            first, since = int(state.step), time.monotonic()
            for number in range(first + 1, epoch * program.steps_per_epoch + 1):
                if stop():
                    seconds = earlier + time.monotonic() - started
                    checkpoints.save_last(state, progress._replace(seconds=seconds))
                    return None
                state, metrics = step(state, order)
                if display.is_due():
                    display.show(epoch, number, **jax.device_get(metrics))

            trained = _means(state, epoch)
            speed = (number - first) * config.batch_size / (time.monotonic() - since)
            test = program.evaluate(state)
            records.write(
                step=number,
                epoch=epoch,
                **trained,
                test_loss=test.loss,
                test_accuracy=test.accuracy,
                images_per_second=speed,
            )
            display.epoch(records.all[-1])
            state = state.replace(totals=jax.device_put(no_totals(), state.step.sharding))
            progress = progress._replace(seconds=earlier + time.monotonic() - started)
            if test.accuracy > progress.best_accuracy:
                progress = progress._replace(best_accuracy=test.accuracy, best_epoch=epoch)
                checkpoints.save_best(state, progress)
            checkpoints.save_last(state, progress)

    summary = _summary(config, workdir, program, state, progress)
    write_whole(workdir / "summary.json", json.dumps(summary._asdict(), indent=2))
    figures.curves(summary.title, records.all).savefig(workdir / "curves.png", dpi=150)
    if summary.rates:
        figures.firing_rates(summary.title, summary.rates).savefig(workdir / "rates.png", dpi=150)
    print_summary(summary)
    return summary


def _means(state: TrainState, epoch: int) -> dict[str, float]:
    """The epoch's training loss and accuracy; raises UserError when the loss is NaN or infinite."""
    totals = jax.device_get(state.totals)
    loss, accuracy = totals["loss"] / totals["seen"], totals["correct"] / totals["seen"]
    if not math.isfinite(loss):
        raise UserError(
            f"the training loss became {loss} in epoch {epoch}, which is not saved. A lower "
            "config.learning_rate or some config.warmup_epochs usually help."
        )
    return {"train_loss": float(loss), "train_accuracy": float(accuracy)}


def _summary(
    config: ConfigDict, workdir: Path, program: Program, state: TrainState, progress: Progress
) -> Summary:
    test = program.evaluate(state)
    levels = config.neuron.get("levels", 1)
    parameters, scales = count_parameters(state.params)
    return Summary(
        title=f"{config.data.name}, {config.model.name}, {config.neuron.name} "
        f"T×D = {config.num_steps}×{levels}",
        workdir=str(workdir),
        last_accuracy=test.accuracy,
        best_accuracy=progress.best_accuracy,
        best_epoch=progress.best_epoch,
        parameters=parameters,
        scales=scales,
        seconds=progress.seconds,
        rates={layer: test.rates[layer] for layer in program.neuron_layers},
    )
