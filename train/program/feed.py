"""How the samples of training reach the compiled step: from the devices' memory, or from disk."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from ..config.bounds import at_least, set_bounds
from ..data import Split, Streamed
from ..data.feeding import resident, streamed
from . import sharding
from .step import Batch


class Feed(NamedTuple):
    """`pick(columns, fed, step)` is the batch of a step, inside jit.

    `columns` lie on the devices from the start, `batches(first)` gives what each step from `first`
    on is fed, `first()` what the very first is, and `like` is one of these without values.
    """

    columns: Batch
    like: Any
    first: Callable[[], Any]
    batches: Callable[[int], Generator[Any, None, None]]
    pick: Callable[[Batch, Any, Array | int], Batch]


@set_bounds(seed=at_least(0), batch_size=at_least(1), epochs=at_least(1), repeats=at_least(1))
def make_feed(
    split: Split | Streamed, *, seed: int, batch_size: int, epochs: int, repeats: int, mesh: Mesh
) -> Feed:
    """The feed of a run; a last incomplete batch of an epoch is left out."""
    if isinstance(split, Streamed):
        rows = sharding.rows_here(mesh, batch_size)
        by_step = streamed.training(split, seed, batch_size, epochs, repeats, rows)
        return _streamed(split, by_step, batch_size, mesh)
    order = partial(
        resident.epoch_order, seed, size=len(split), batch_size=batch_size, repeats=repeats
    )
    return _resident(split, order, batch_size, epochs, mesh)


def _resident(
    split: Split, epoch_order: Callable[[int], np.ndarray], batch_size: int, epochs: int, mesh: Mesh
) -> Feed:
    """Each step is fed the order of its epoch and takes its own part of the resident split."""
    everywhere, steps = sharding.replicated(mesh), len(split) // batch_size
    take = partial(resident.take, sharding=sharding.over_batch(mesh))

    def order(epoch: int) -> Array:
        return sharding.place(epoch_order(epoch), everywhere)

    def batches(first: int) -> Generator[Array, None, None]:
        begun, done = divmod(first, steps)
        for epoch in range(begun, epochs):
            yield from repeat(order(epoch), steps - done)
            done = 0

    return Feed(
        columns=sharding.place(resident.arrays(split), everywhere),
        like=jax.ShapeDtypeStruct((steps, batch_size), jnp.int32, sharding=everywhere),
        first=lambda: order(0),
        batches=batches,
        pick=lambda columns, order, step: take(columns, order[step % steps]),
    )


def _streamed(split: Streamed, by_step: Any, batch_size: int, mesh: Mesh) -> Feed:
    """Each step is fed its own batch, which is on the devices before the one before it begins.

    A process reads the rows of its own devices.
    """
    divided = sharding.over_batch(mesh)
    image = ((batch_size, *split.shape), split.dtype)

    def batches(first: int) -> Generator[Batch, None, None]:
        with closing(streamed.read_ahead(by_step, first, split.workers)) as ahead:
            yield from one_ahead(sharding.place(batch, divided) for batch in ahead)

    return Feed(
        columns={},
        like={
            "image": jax.ShapeDtypeStruct(*image, sharding=divided),
            "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=divided),
        },
        first=lambda: sharding.place(by_step[0], divided),
        batches=batches,
        pick=lambda columns, batch, step: batch,
    )


def one_ahead(items: Iterator[Batch]) -> Iterator[Batch]:
    """The same items, each asked for before the one before it is given."""
    if (item := next(items, None)) is None:
        return
    for following in items:
        yield item
        item = following
    yield item
