"""A contact sheet of some samples, how levels fit at the start, and the speed of training."""

import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from pit_jax.display import escape_math

from ..config.own import shorten_name
from ..data import Dataset, Split
from ..data.dataset import Batch
from ..data.feeding.order import TrainingOrder
from ..monitor.levels import explain_rounding
from ..program import sharding
from ..program.feed import make_feed
from ..program.inputs import make_prepare
from ..program.program import check_batch, make_program
from ..run.pretrained import load_pretrained
from . import contact_sheet

MOST_SAMPLES = {"images": 10, "frames": 4}
SECONDS = 2.0  # The length of each measurement of speed.


def draw_sheet(config: ConfigDict, dataset: Dataset) -> Figure:
    """Return the contact sheet: one sample of some classes, and three augmentations of each."""
    images = len(dataset.train.shape) == 3
    most = MOST_SAMPLES["images" if images else "frames"]
    prepare = jax.jit(make_prepare(config, dataset))
    batches = [take_samples(dataset.train, most, seed) for seed in range(3)]
    draws = [
        np.asarray(prepare(jax.random.key(seed), batch)[0]) for seed, batch in enumerate(batches)
    ]
    name = escape_math(shorten_name(config.data.name))
    augment = escape_math(config.augment.to_dict())
    title = f"{name}, as config.augment = {augment} changes it"
    raw, labels = batches[0]["image"], batches[0]["label"].tolist()
    if not images:
        return contact_sheet.draw_frames(title, contact_sheet.Samples(raw, draws, labels))
    if dataset.mean:
        pixels = [draw * np.array(dataset.std) + np.array(dataset.mean) for draw in draws]
        return contact_sheet.draw_images(title, contact_sheet.Samples(raw / 255, pixels, labels))
    # Float images have any range: the smallest value is drawn black, the largest white.
    least, span = raw.min(), np.ptp(raw) or 1
    scaled = [(images - least) / span for images in (raw, *draws)]
    return contact_sheet.draw_images(title, contact_sheet.Samples(scaled[0], scaled[1:], labels))


def measure_speed(config: ConfigDict, dataset: Dataset, note: Callable[[str], None]) -> str:
    """Return a line with the images/s of loading, of augmentation, and of the training step.

    `note` prints a warning if the levels of the neurons do not fit the first batch.
    """
    check_batch(config, dataset)
    augmented = config.batch_size * _measure_rate(_make_augmentation(config, dataset))
    trained = config.batch_size * _measure_rate(_make_training(config, dataset, note))
    parts = [f"{augmented:,.0f} images/s are selected and augmented", f"{trained:,.0f} trained"]
    share = f"augmentation takes {min(trained / augmented, 1):.1%} of a step"
    if dataset.train.arrays is None:
        workers = config.data.get("workers", 0)
        read = _measure_reading(config, dataset.train, workers)
        parts.insert(0, f"{read:,.0f} images/s are read by {workers} workers")
        if read < trained:
            share += "; reading is slower than training: increase config.data.workers"
    return (
        f"speed: {', '.join(parts)}; {share}. These are rough numbers: one measurement of "
        f"{SECONDS:.0f} s each, slowed by whatever else runs."
    )


def take_samples(split: Split, most: int, seed: int) -> Batch:
    """Return one sample of some classes; `seed` changes only the crops of images on disk."""
    if split.arrays is None:
        places = np.linspace(0, len(split) - 1, min(most, len(split))).astype(int)
    else:
        places = np.unique(split.arrays["label"], return_index=True)[1][:most]
    return split.take(places, [seed] * len(places))


def _make_augmentation(config: ConfigDict, dataset: Dataset) -> Callable[[], Any]:
    """Return a function that does the part of a step before the network: select and augment."""
    prepare = make_prepare(config, dataset)
    feed = make_feed(
        dataset.train,
        seed=config.seed,
        batch_size=config.batch_size,
        epochs=1,
        repeats=config.augment.get("repeats", 1),
        mesh=sharding.make_data_mesh(config.batch_size, config.accumulate),
    )
    batch = feed.batch_at(0)
    augment = jax.jit(lambda batch: prepare(jax.random.key(0), feed.select(batch, 0)))
    return lambda: augment(batch)


def _make_training(
    config: ConfigDict, dataset: Dataset, note: Callable[[str], None]
) -> Callable[[], Any]:
    """Return a function that does one training step, always with the same batch."""
    program = make_program(config, dataset, given=load_pretrained(config, dataset))
    state, step = program.first_state(), program.compile_step()
    for warning in explain_rounding(program.first_rounding(), config):
        note(warning)
    with closing(program.batches(0)) as batches:
        batch = next(batches)

    def train() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return train


def _measure_reading(config: ConfigDict, split: Split, workers: int) -> float:
    """Return the images/s that the workers read, after all have started."""
    # Many epochs, because a small data set is read several times within SECONDS.
    order = TrainingOrder(config.seed, len(split), config.batch_size, epochs=10**6)
    with closing(split.batches(order)) as ahead:
        # These batches may have been read before the measurement begins.
        for _ in islice(ahead, 2 * workers + 1):
            pass
        return config.batch_size * _measure_rate(lambda: next(ahead))


def _measure_rate(call: Callable[[], Any]) -> float:
    jax.block_until_ready(call())  # Compiles.
    began, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < SECONDS or not calls:
        jax.block_until_ready(call())
        calls += 1
    return calls / passed
