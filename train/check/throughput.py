"""Some samples and some steps tried out: a contact sheet, and loading against training."""

import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from ..data import Dataset
from ..data.dataset import Split, Streamed
from ..data.feeding import streamed
from ..data.feeding.resident import epoch_order
from ..errors import UserError
from ..program.inputs import preparation
from ..program.program import make_program
from ..run.pretrained import load_pretrained
from . import contact_sheet

MOST_SAMPLES = {"images": 10, "frames": 4}
SECONDS = 2.0  # Of each measurement of speed.

Columns = dict[str, Any]  # `image` and `label` of a batch.


def draw(config: ConfigDict, dataset: Dataset) -> Figure:
    """The contact sheet: a training sample of some classes, and three ways it is trained on."""
    images = bool(dataset.mean)
    most = MOST_SAMPLES["images" if images else "frames"]
    prepare = jax.jit(preparation(config, dataset))
    batches = [_chosen(dataset.train, most, seed) for seed in range(3)]
    draws = [
        np.asarray(prepare(jax.random.key(seed), batch)[0]) for seed, batch in enumerate(batches)
    ]
    title = f"{config.data.name}, as config.augment = {config.augment.to_dict()} changes it"
    raw, named = batches[0]["image"], batches[0]["label"].tolist()
    if not images:
        return contact_sheet.frames_sheet(title, contact_sheet.Samples(raw, draws, named))
    undone = [draw * np.array(dataset.std) + np.array(dataset.mean) for draw in draws]
    return contact_sheet.images_sheet(title, contact_sheet.Samples(raw / 255, undone, named))


def speed(config: ConfigDict, dataset: Dataset) -> str:
    """Images a second through loading and augmentation alone, and through the training step."""
    prepared = config.batch_size * _per_second(_preparation(config, dataset))
    program = make_program(config, dataset, given=load_pretrained(config, dataset))
    state, step = program.first_state(), program.compile_step()
    with closing(program.batches(0)) as batches:
        batch = next(batches)

    def train() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    trained = config.batch_size * _per_second(train)
    told = [f"{prepared:,.0f} images/s are picked and augmented", f"{trained:,.0f} trained"]
    share = f"augmentation takes {min(trained / prepared, 1):.1%} of a step"
    if isinstance(dataset.train, Streamed):
        read = _read_per_second(config, dataset.train)
        told.insert(0, f"{read:,.0f} images/s are read by {dataset.train.workers} workers")
        if read < trained:
            share += "; reading is slower than training: give config.data.workers more"
    return (
        f"speed: {', '.join(told)}; {share}. These are rough numbers: one measurement of "
        f"{SECONDS:.0f} s each, slowed by whatever else runs."
    )


def _chosen(split: Split | Streamed, most: int, seed: int) -> Columns:
    """A sample of some classes, the same for every seed; what is read from disk is cropped anew."""
    if isinstance(split, Split):
        index = np.unique(split.labels, return_index=True)[1][:most]
        return {"image": split.images[index], "label": split.labels[index]}
    places = np.linspace(0, len(split) - 1, min(most, len(split))).astype(int).tolist()
    read = [split.read(place, np.random.default_rng(seed)) for place in places]
    images, labels = zip(*read, strict=True)
    return {"image": np.stack(images), "label": np.array(labels, np.int32)}


def _preparation(config: ConfigDict, dataset: Dataset) -> Callable[[], Any]:
    """What a step does before the network: its batch is picked and augmented."""
    prepare = preparation(config, dataset)
    if isinstance(dataset.train, Streamed):
        batch = jax.device_put(_repeated(dataset.train, config.batch_size))
        alone = jax.jit(lambda batch: prepare(jax.random.key(0), batch))
        return lambda: alone(batch)
    columns = jax.device_put({"image": dataset.train.images, "label": dataset.train.labels})
    order = epoch_order(config.seed, 0, len(dataset.train), config.batch_size)
    if not len(order):
        raise UserError(
            f"config.batch_size must be at most {len(dataset.train)}, the training images."
        )

    @jax.jit
    def pick(columns: Columns, index: jax.Array) -> Any:
        return prepare(jax.random.key(0), jax.tree.map(lambda column: column[index], columns))

    return lambda: pick(columns, order[0])


def _repeated(split: Streamed, batch_size: int) -> Columns:
    few = _chosen(split, 8, 0)
    return {
        name: np.resize(column, (batch_size, *column.shape[1:])) for name, column in few.items()
    }


def _read_per_second(config: ConfigDict, split: Streamed) -> float:
    """Images a second that the workers give, once all have begun."""
    begun = 2 * split.workers + 1
    # A small set may have fewer batches than are read in these seconds.
    by_step = streamed.training(split, config.seed, config.batch_size, epochs=10**6)
    with closing(streamed.read_ahead(by_step, 0, split.workers)) as ahead:
        for _ in islice(ahead, begun):
            pass
        return config.batch_size * _per_second(lambda: next(ahead))


def _per_second(call: Callable[[], Any]) -> float:
    jax.block_until_ready(call())  # Compiled and warm.
    began, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < SECONDS or not calls:
        jax.block_until_ready(call())
        calls += 1
    return calls / passed
