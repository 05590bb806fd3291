"""A trained network as a spiking program, proved on the whole test split of its data."""

from collections.abc import Iterator
from contextlib import closing
from itertools import tee
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from rich.progress import track

from pit_jax.inference import NotFoldable, Report, SpikingProgram, compile

from ..data import Dataset, Split, Streamed
from ..data.feeding.streamed import read_ahead, testing
from ..errors import UserError
from ..program import build
from ..program.inputs import normalization
from ..run import restore


def compiled(
    config: ConfigDict, workdir: Path, checkpoint: str, dataset: Dataset, **options: Any
) -> SpikingProgram:
    """The program of a run at a checkpoint; `options` are `weights` and `code` of `compile`.

    Raises UserError for a checkpoint that is missing or damaged, and for a network that no spiking
    program says exactly.
    """
    variables = jax.tree.map(jnp.asarray, restore.load_variables(workdir, checkpoint))
    network = build.network(config, dataset)
    sample = _sample(dataset, batch_size(config, dataset))
    try:
        return compile(
            network,
            variables,
            sample,
            largest_input=largest_input(dataset),
            verify=False,
            **options,
        )
    except NotFoldable as error:
        raise UserError(f"{config.model.name} is no spiking program: {error}") from error


def proved(program: SpikingProgram, config: ConfigDict, dataset: Dataset) -> Report:
    """The proof on all test samples, with their labels; a bar shows how far it is."""
    size = batch_size(config, dataset)
    count = -(-len(dataset.test) // size)
    watched = track(_batches(dataset.test, size), f"verifying {len(dataset.test):,} samples", count)
    first, second = tee(watched)
    return program.verify((seen(dataset, x) for x, _ in first), (y for _, y in second))


def batch_size(config: ConfigDict, dataset: Dataset) -> int:
    """That of training, or less: a last batch of another size would be compiled by itself."""
    most, samples = config.batch_size, len(dataset.test)
    return next((n for n in range(most, most // 2, -1) if samples % n == 0), most)


def pixels(dataset: Dataset) -> np.ndarray | None:
    """What the network sees of each of the 256 values of a pixel, `[256, C]`; None of frames."""
    if not dataset.mean:
        return None
    values = jnp.arange(256, dtype=jnp.uint8)[:, None, None, None]
    shown = jnp.broadcast_to(values, (256, 1, 1, len(dataset.mean)))
    return np.asarray(normalization(dataset)(shown)).reshape(256, -1)


def seen(dataset: Dataset, images: np.ndarray) -> np.ndarray:
    """What the network sees of `images`: values of `pixels`, to the bit, or counts as floats."""
    table = pixels(dataset)
    return images.astype(np.float32) if table is None else table[images, np.arange(table.shape[1])]


def largest_input(dataset: Dataset) -> float | None:
    """The largest size of a number that enters the network; None where only the files know it."""
    if (table := pixels(dataset)) is not None:
        return float(abs(table).max())
    if isinstance(dataset.test, Streamed):
        return None
    return max(float(split.images.max()) for split in (dataset.train, dataset.test)) or 1.0


def _sample(dataset: Dataset, size: int) -> np.ndarray:
    """Some training samples, as the network sees them."""
    split = dataset.train
    if isinstance(split, Streamed):
        rng = np.random.default_rng(0)
        images = np.stack([split.read(i, rng)[0] for i in range(min(size, len(split)))])
    else:
        images = split.images[:size]
    return seen(dataset, images)


def _batches(split: Split | Streamed, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if isinstance(split, Split):
        for start in range(0, len(split), size):
            rows = slice(start, start + size)
            yield split.images[rows], split.labels[rows]
        return
    with closing(read_ahead(testing(split, size), 0, split.workers)) as batches:
        for batch in batches:
            real = batch["weight"] > 0
            yield batch["image"][real], batch["label"][real]
