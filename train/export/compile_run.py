"""A trained network as a spiking program, verified on the whole test split of its data."""

from collections.abc import Iterator
from contextlib import closing
from itertools import tee
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pit_jax.inference import NotFoldable, Report, SpikingProgram, compile
from pit_jax.inference.runtime.pixels import Normalization

from ..data import Dataset, Split
from ..data.dataset import Batch
from ..data.feeding.order import SequentialOrder
from ..errors import UserError
from ..run.network import load_network
from ..run.saved import Checkpoint
from ..terminal import track
from .refusal import explain_refusal


def compile_checkpoint(
    config: ConfigDict, checkpoint: Checkpoint, dataset: Dataset, **options: Any
) -> SpikingProgram:
    """Compile a checkpoint to a program; `options` are `weights` and `code` of `compile`.

    Raises UserError for a checkpoint that is damaged, and for a network that has no
    equal spiking program.
    """
    network, variables = load_network(config, checkpoint, dataset)
    size = min(choose_batch_size(config, dataset), len(dataset.train))
    sample = normalize_images(dataset, dataset.train.take(range(size))["image"])
    known = find_normalization(dataset)
    try:
        return compile(
            network,
            jax.tree.map(jnp.asarray, variables),
            sample,
            mean=known and known.mean,
            std=known and known.std,
            largest_input=find_largest_input(dataset),
            # `verify_program` compares all test samples instead of this one batch.
            verify=False,
            **options,
        )
    except NotFoldable as error:
        raise UserError(explain_refusal(config, network, sample, error)) from error


def verify_program(program: SpikingProgram, config: ConfigDict, dataset: Dataset) -> Report:
    """Verify the program on all test samples and return the report; show a progress bar."""
    order = SequentialOrder(len(dataset.test), choose_batch_size(config, dataset))
    batches = _read_batches(dataset.test, order)
    # `verify` takes images and labels separately; `tee` lets both read each batch only once.
    first, second = tee(track(batches, f"verifying {len(dataset.test):,} samples", len(order)))
    return program.verify(
        (normalize_images(dataset, batch["image"]) for batch in first),
        (batch["label"] for batch in second),
    )


def choose_batch_size(config: ConfigDict, dataset: Dataset) -> int:
    """Return the batch size of training, or a smaller divisor of the number of test samples.

    A last batch of another size would have to be compiled separately. Sizes below half the batch
    size of training are not tried.
    """
    samples = len(dataset.test)
    most = min(config.batch_size, samples)
    return next((n for n in range(most, most // 2, -1) if samples % n == 0), most)


def find_normalization(dataset: Dataset) -> Normalization | None:
    """Return the normalization of uint8 values; None for floats, which enter unchanged."""
    if dataset.mean:
        return Normalization(dataset.mean, dataset.std)
    # Counts of events enter the network unchanged.
    return Normalization() if dataset.test.dtype.kind in "iu" else None


def normalize_images(dataset: Dataset, images: np.ndarray) -> np.ndarray:
    """Return inputs of the network: normalized pixels, and other values as float32.

    The program normalizes by the same table, so both have the same floats.
    """
    if not dataset.mean:
        return images.astype(np.float32)
    return np.asarray(Normalization(dataset.mean, dataset.std).normalize(images))


def find_largest_input(dataset: Dataset) -> float | None:
    """Return the largest absolute input of the network; None for data on disk."""
    if dataset.mean:
        values = Normalization(dataset.mean, dataset.std).compute_values(len(dataset.mean))
        return float(abs(values).max())
    train, test = dataset.train.arrays, dataset.test.arrays
    if train is None or test is None:
        return None
    # Float images may be negative.
    ends = [(split["image"].min(), split["image"].max()) for split in (train, test)]
    return max(max(-float(least), float(most)) for least, most in ends) or 1.0


def _read_batches(split: Split, order: SequentialOrder) -> Iterator[Batch]:
    """Yield the batches of a split without padding."""
    with closing(split.batches(order)) as batches:
        for batch, weight in zip(batches, order.weight, strict=True):
            yield {name: array[weight > 0] for name, array in batch.items()}
