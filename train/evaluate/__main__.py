"""Measure a trained network: python -m train.evaluate RUN"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import track

from .. import data, figures
from ..config.arguments import run_program
from ..data import Split, Streamed
from ..errors import UserError
from ..files import write_atomically
from ..program import build, sharding
from ..program.evaluation import make_sums
from ..program.inputs import normalization
from ..program.program import make_program
from ..program.state import Metrics, TrainState
from ..program.step import Batch, make_eval_step
from ..records.progress import print_evaluation
from ..run import restore
from ..run.environment import describe
from ..run.reading import config_of
from ..run.summary import title
from . import metrics
from .folder import own_images


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("evaluate", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Measure what the arguments ask for, write it, and return 0."""
    if args.folder and args.split:
        raise UserError("--folder has no splits; leave --folder or --split out.")
    split = args.split or "test"
    config = _config(args)
    source = args.folder.resolve().name if args.folder else split
    out = args.out or args.workdir / "evaluation" / f"{args.checkpoint}_{source}.json"
    _check_free(out, args.overwrite)
    # Before anything asks for a device.
    jax.config.update("jax_num_cpu_devices", config.cpu_devices)
    result = evaluate(config, args.workdir, args.checkpoint, split, args.folder)
    _write(out, result)
    print_evaluation(result, out)
    return 0


def evaluate(
    config: ConfigDict, workdir: Path, checkpoint: str, split: str, folder: Path | None = None
) -> dict[str, Any]:
    """What the checkpoint of a run reaches on a split of its data, or on the images in `folder`.

    Raises UserError for data or a checkpoint that is missing or damaged, and for folders that are
    not those of the classes.
    """
    restore.find_checkpoint(workdir, checkpoint)  # Before what takes minutes.
    dataset = data.load(**config.data)
    measured, note = dataset.train if split == "train" else dataset.test, ""
    if folder is not None:
        measured, note = own_images(folder, dataset)
    # A program of one batch has the same state as that of the run and loads no data to speak of.
    small = config.copy_and_resolve_references()
    small.batch_size, small.accumulate = jax.device_count() * small.augment.get("repeats", 1), 1
    few = replace(
        dataset,
        train=_first(dataset.train, small.batch_size),
        test=_first(dataset.test, small.batch_size),
    )
    program = make_program(small, few)
    state = restore.load_state(workdir, checkpoint, program.abstract_state)
    step = make_eval_step(
        build.network(config, dataset),
        build.loss(config),
        normalization(dataset),
        metrics.count,
    )
    totals = _totals(step, measured, config.batch_size, state)
    size = np.float64(len(measured))
    loss, accuracy = float(totals["loss"] / size), float(totals["correct"] / size)
    if not math.isfinite(loss):
        raise UserError(f"the loss is {loss}: this checkpoint of {workdir} is not of use.")
    rates = {layer: totals[f"rate/{layer}"] / size for layer in program.neuron_layers}
    return {
        "title": title(config),
        "workdir": str(workdir),
        "checkpoint": checkpoint,
        "step": int(state.step),
        "data": dataset.name,
        "split": str(folder) if folder is not None else split,
        "note": note,
        "images": len(measured),
        "accuracy": accuracy,
        "loss": loss,
        "loss_name": config.loss.name,
        **metrics.summed_up(totals),
        "classes": list(dataset.classes) or [str(k) for k in range(dataset.num_classes)],
        "rates": {layer: rate.tolist() for layer, rate in rates.items()},
        "environment": describe(),
    }


def _totals(
    step: Callable[[TrainState, Batch], Metrics],
    split: Split | Streamed,
    batch_size: int,
    state: TrainState,
) -> dict[str, np.ndarray]:
    doing = f"evaluating {len(split):,} images"
    # What lies on the devices is one call, which tells nothing before its end.
    waiting = nullcontext() if isinstance(split, Streamed) else Console().status(doing)
    with waiting:
        mesh = sharding.data_mesh(batch_size)
        watch = partial(track, description=doing)
        sums = make_sums(step, split, batch_size, mesh, lambda batches, n: watch(batches, total=n))
        return cast(dict[str, np.ndarray], jax.device_get(sums(state)))


def _first(split: Split | Streamed, count: int) -> Split | Streamed:
    """A few samples of a split in memory; one on disk takes no memory as it is."""
    if isinstance(split, Streamed):
        return split
    return Split(split.images[:count], split.labels[:count])


def _write(out: Path, result: dict[str, Any]) -> None:
    figure = figures.evaluation(
        f"{result['title']}: {result['checkpoint']} checkpoint on {result['split']}",
        result["confusion"],
        result["classes"],
        result["calibration"]["bins"],
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out.with_suffix(".png"), dpi=150)
        write_atomically(out, json.dumps(result, indent=1))
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another --out.") from error


def _check_free(out: Path, overwrite: bool) -> None:
    if out.suffix != ".json":
        raise UserError(f"--out must end in .json, got {out}.")
    there = [file for file in (out, out.with_suffix(".png")) if file.exists()]
    if there and not overwrite:
        raise UserError(f"{there[0]} is there already; choose another --out or give --overwrite.")


def _config(args: argparse.Namespace) -> ConfigDict:
    config = config_of(args.workdir, args.data_dir)
    for key in ("batch_size", "cpu_devices"):
        if (value := getattr(args, key)) is not None:
            config[key] = value
        if config[key] < 1:
            raise UserError(f"--{key.replace('_', '-')} must be at least 1, got {config[key]}.")
    return config


if __name__ == "__main__":
    sys.exit(main(sys.argv))
