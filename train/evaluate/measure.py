"""Measures a checkpoint on a split of its data, or on a user's images.

A run with `config.averaging` is measured with its averaged weights (`TrainState.variables`). The
last incomplete batch is padded with samples of weight 0 (data/feeding/order.py).
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from pit_jax.neurons.probe import neuron_layers

from .. import data
from ..config.own import shorten_name
from ..data import Dataset, Split
from ..data.dataset import check_memory
from ..errors import UserError
from ..monitor.nonfinite import find_nonfinite
from ..program import sharding
from ..program.evaluation import make_sums, select_group
from ..program.metrics import check_metrics
from ..program.pure import abstract_images, abstract_state, make_pure_program
from ..program.state import Metrics, TrainState
from ..program.step import Batch, make_eval_step
from ..run import restore
from ..run.environment import describe_environment
from ..run.saved import Checkpoint
from ..run.subset import check_data, read_layout
from ..run.summary import format_title, make_json_numbers
from ..terminal import Terminal, track
from . import metrics
from .folder import read_own_images


def evaluate(
    config: ConfigDict, workdir: Path, checkpoint: str, split: str, folder: Path | None = None
) -> dict[str, Any]:
    """Return the measures of a checkpoint on a split of its data, or on the images in `folder`.

    Raises UserError if the data or the checkpoint are missing or damaged, or the subfolders do not
    fit the classes.
    """
    # Loading the data may take minutes: a missing checkpoint is reported first.
    restore.find_checkpoint(workdir, checkpoint)
    # Other images need the classes, shape and normalization of the data, which the run recorded.
    dataset = read_layout(workdir) if folder is not None else None
    if dataset is None:
        dataset = data.load(**config.data)
        check_data(workdir, dataset)
    if folder is None:
        samples, note = _select(dataset, split), ""
    else:
        samples, note = read_own_images(folder, dataset)
    # A batch is padded to its size, as floats, however few samples there are.
    size = 4 * config.batch_size * math.prod(samples.shape)
    check_memory(size, f"batches of {config.batch_size:,} samples")
    mesh = sharding.make_data_mesh(config.batch_size)
    abstract = abstract_state(config, dataset, sharding.make_replicated(mesh))
    # Searched again, because a run that still trains may have deleted the first one.
    saved = restore.identify_checkpoint(workdir, checkpoint)
    state = restore.read_state(saved, abstract)
    pure = make_pure_program(config, dataset)
    check_metrics(pure.metrics, pure.model, abstract_images(dataset))
    step = make_eval_step(
        pure.model, pure.loss, pure.normalize, metrics.count_answers, pure.metrics
    )
    totals = _sum_metrics(step, samples, config.batch_size, mesh, state)
    size = np.float64(len(samples))
    loss = float(totals["loss"] / size)
    if not math.isfinite(loss):
        raise UserError(_explain_nonfinite(loss, saved, state))
    layers = neuron_layers(pure.model, state.variables, abstract_images(dataset))
    return {
        "title": format_title(config),
        "workdir": str(workdir),
        "checkpoint": checkpoint,
        "step": saved.step,
        "checkpoint_sha256": saved.digest,
        "data": dataset.name,
        "split": str(folder.resolve()) if folder is not None else split,
        "note": note,
        "images": len(samples),
        "accuracy": float(totals["correct"] / size),
        "loss": loss,
        "loss_name": shorten_name(config.loss.name),
        **metrics.summarize(totals),
        "metrics": make_json_numbers(
            {name: float(total / size) for name, total in select_group(totals, "metric").items()}
        ),
        "classes": list(dataset.classes) or [str(k) for k in range(dataset.num_classes)],
        "spikes": float(totals["spikes"] / size),
        "rates": {layer: (totals[f"rate/{layer}"] / size).tolist() for layer in layers},
        "environment": describe_environment(),
    }


def _explain_nonfinite(loss: float, saved: Checkpoint, state: TrainState) -> str:
    """Return why an evaluation has no results: because of the weights, or the samples."""
    if name := find_nonfinite(state.variables):
        return (
            f"the loss is {loss}, because {name} of the checkpoint {saved.folder} is not finite. "
            "Try the other --checkpoint, last or best."
        )
    return (
        f"the loss is {loss}, though the checkpoint {saved.folder} is finite: look for samples "
        "that are not finite, or much larger than those of training."
    )


def _select(dataset: Dataset, split: str) -> Split:
    """Return a split of a data set; raise UserError if it has no `validation` split."""
    found: Split | None = getattr(dataset, split)
    if found is None:
        raise UserError(
            "this run has no validation images: its config.data.validation is not set; "
            "use --split test or train."
        )
    return found


def _sum_metrics(
    step: Callable[[TrainState, Batch], Metrics],
    split: Split,
    batch_size: int,
    mesh: Mesh,
    state: TrainState,
) -> dict[str, np.ndarray]:
    """Return the sums of `step` over a split; show a progress bar or a line meanwhile."""
    message = f"evaluating {len(split):,} images"
    # A split in memory is evaluated by one call, without progress to show.
    line = nullcontext() if split.arrays is None else Terminal().status(message)
    watch = partial(track, description=message)
    with line:
        sums = make_sums(step, split, batch_size, mesh, lambda batches, n: watch(batches, total=n))
        return cast(dict[str, np.ndarray], jax.device_get(sums(state)))
