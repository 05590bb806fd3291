"""Feeds training samples to the compiled step, from the devices' memory or from disk."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, Sharding
from jaxtyping import Array

from pit_jax.checks.bounds import SEED, set_bounds, whole

from ..data import Split
from ..data.feeding import resident
from ..data.feeding.order import TrainingOrder
from . import sharding
from .step import Batch

T = TypeVar("T")


class Feed(NamedTuple):
    """The batches that the compiled step takes, and `select`, which it calls on them.

    `batches(first)` yields the batches from step `first` on, `batch_at(step)` returns a single one,
    and `abstract_batch` has its shapes and types. Inside jit, `select(batch, step)` returns the
    samples `image` and `label` of the step. `with_seed(seed)` returns the feed of another run, for
    the same compiled step; both share the samples in the devices' memory.
    """

    abstract_batch: Any
    batch_at: Callable[[int], Any]
    batches: Callable[[int], Generator[Any, None, None]]
    select: Callable[[Any, Array | int], Batch]
    with_seed: Callable[[int], "Feed"]


class ResidentBatch(NamedTuple):
    """All samples, in the devices' memory, and the order of an epoch.

    `samples` are the arrays `image` and `label`; `order` has the indices `[steps, batch]`.
    """

    samples: Any
    order: Any


@set_bounds(seed=SEED, batch_size=whole(1), epochs=whole(1), repeats=whole(1))
def make_feed(
    split: Split, *, seed: int, batch_size: int, epochs: int, repeats: int, mesh: Mesh
) -> Feed:
    """Return the feed of a run; the incomplete last batch of an epoch is skipped."""
    order = TrainingOrder(seed, len(split), batch_size, epochs, repeats)
    if split.arrays is None:
        return _feed_from_disk(split, order, mesh)
    samples = sharding.place(split.arrays, sharding.make_replicated(mesh))
    return _feed_from_memory(samples, order, mesh)


def abstract_batch(
    split: Split, batch_size: int, sharding: Sharding | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes and types of a batch of `split`."""
    image = (batch_size, *split.shape)
    return {
        "image": jax.ShapeDtypeStruct(image, split.dtype, sharding=sharding),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=sharding),
    }


def _feed_from_memory(samples: Any, order: TrainingOrder, mesh: Mesh) -> Feed:
    """Return a feed whose batches hold all samples, already on the devices, and an epoch's order.

    Every device has all samples and selects its own part of a step: nothing is copied to the
    devices within an epoch.
    """
    everywhere, steps = sharding.make_replicated(mesh), order.steps_per_epoch
    take = partial(resident.take, sharding=sharding.make_batch_sharding(mesh))

    def epoch_batch(epoch: int) -> ResidentBatch:
        return ResidentBatch(samples, sharding.place(order.epoch(epoch), everywhere))

    return Feed(
        abstract_batch=ResidentBatch(
            samples, jax.ShapeDtypeStruct((steps, order.batch_size), jnp.int32, sharding=everywhere)
        ),
        batch_at=lambda step: epoch_batch(step // steps),
        batches=lambda first: repeat_batches(epoch_batch, first, steps, order.epochs),
        select=lambda batch, step: take(batch.samples, batch.order[step % steps]),
        with_seed=lambda seed: _feed_from_memory(samples, replace(order, seed=seed), mesh),
    )


def repeat_batches(
    epoch_batch: Callable[[int], ResidentBatch], first: int, steps: int, epochs: int
) -> Generator[ResidentBatch, None, None]:
    """Yield for each step, from `first` on, the batch of its epoch of `steps` steps."""
    # A resumed run starts within an epoch: `done` of its steps were made before.
    begun, done = divmod(first, steps)
    for epoch in range(begun, epochs):
        yield from repeat(epoch_batch(epoch), steps - done)
        done = 0


def _feed_from_disk(split: Split, order: TrainingOrder, mesh: Mesh) -> Feed:
    """Return a feed that copies a batch to the devices before the preceding step begins.

    Each process reads only the rows of its own devices.
    """
    divided = sharding.make_batch_sharding(mesh)
    rows = sharding.get_local_rows(mesh, order.batch_size)

    def batch_at(step: int) -> Batch:
        # Crops depend on the seed, the step and the row of the whole batch, and so neither on the
        # number of processes nor on a restart.
        seeds = [order.crop_seed(step, row) for row in rows.tolist()]
        batch: Batch = sharding.place(split.take(order.indices(step)[rows], seeds), divided)
        return batch

    def batches(first: int) -> Generator[Batch, None, None]:
        with closing(split.batches(order, rows, first)) as ahead:
            yield from prefetch_to_device(sharding.place(batch, divided) for batch in ahead)

    return Feed(
        abstract_batch=abstract_batch(split, order.batch_size, divided),
        batch_at=batch_at,
        batches=batches,
        select=lambda batch, step: batch,
        with_seed=lambda seed: _feed_from_disk(split, replace(order, seed=seed), mesh),
    )


def prefetch_to_device(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, and request each one before its predecessor is used.

    Copies to devices are asynchronous: the next batch travels while the device computes.
    """
    try:
        item = next(items)
    except StopIteration:
        return
    for following in items:
        yield item
        item = following
    yield item
