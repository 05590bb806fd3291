"""Loss, accuracy and firing rates over a whole split."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from ..data.dataset import Split, Streamed
from ..data.feeding import resident, streamed
from . import sharding
from .state import Metrics, TrainState
from .step import Batch


class Evaluation(NamedTuple):
    """Means over a split; `rates` are mean firing rates by neuron layer, one for each step."""

    loss: float
    accuracy: float
    rates: dict[str, list[float]]


Sums = Callable[[TrainState], Metrics]
# Gives the batches of a split on disk as they come, and how many: for who shows a bar of them.
Watch = Callable[[Iterable[dict[str, np.ndarray]], int], Iterable[dict[str, np.ndarray]]]


def make_evaluate(
    eval_step: Callable[[TrainState, Batch], Metrics],
    split: Split | Streamed,
    batch_size: int,
    mesh: Mesh,
) -> Callable[[TrainState], Evaluation]:
    """A function that gives the means of what `eval_step` sums over all of `split`."""
    sums = make_sums(eval_step, split, batch_size, mesh)

    def evaluate(state: TrainState) -> Evaluation:
        return means(jax.device_get(sums(state)), len(split))

    return evaluate


def means(totals: Mapping[str, np.ndarray], count: int) -> Evaluation:
    """The sums over so many samples as means."""
    size = np.float64(count)
    found = {name: total / size for name, total in totals.items()}
    rates = {name: mean for name, mean in found.items() if name.startswith("rate/")}
    return Evaluation(
        float(found["loss"]),
        float(found["correct"]),
        {name.removeprefix("rate/"): mean.tolist() for name, mean in rates.items()},
    )


def make_sums(
    eval_step: Callable[[TrainState, Batch], Metrics],
    split: Split | Streamed,
    batch_size: int,
    mesh: Mesh,
    watch: Watch = lambda batches, count: batches,
) -> Sums:
    """A function that runs `eval_step` over all of `split`: on the devices, or read from disk."""
    if isinstance(split, Streamed):
        return _streamed_sums(eval_step, split, batch_size, mesh, watch)
    return _resident_sums(eval_step, split, batch_size, mesh)


def _resident_sums(
    eval_step: Callable[[TrainState, Batch], Metrics], split: Split, batch_size: int, mesh: Mesh
) -> Sums:
    everywhere = sharding.replicated(mesh)
    take = partial(resident.take, sharding=sharding.over_batch(mesh))
    columns = sharding.place(resident.arrays(split), everywhere)
    batches = sharding.place(resident.whole_order(len(split), batch_size), everywhere)

    # One program for the whole split: independent ones would run at once, and the collectives of
    # virtual CPU devices can then wait for one another for ever.
    sums = jax.jit(whole_sums(eval_step, take), out_shardings=everywhere)
    return lambda state: sums(state, columns, batches)


def whole_sums(
    eval_step: Callable[[TrainState, Batch], Metrics], take: Callable[[Batch, Array], Batch]
) -> Callable[[TrainState, Batch, tuple[Array, Array]], Metrics]:
    """`(state, columns, resident.whole_order(...)) -> sums` over the samples that it takes."""

    def sums(state: TrainState, columns: Batch, batches: tuple[Array, Array]) -> Metrics:
        def one(batch: tuple[Array, Array]) -> Metrics:
            index, weight = batch
            return eval_step(state, take(columns, index) | {"weight": weight})

        return jax.tree.map(lambda x: x.sum(axis=0), jax.lax.map(one, batches))

    return sums


def _streamed_sums(
    eval_step: Callable[[TrainState, Batch], Metrics],
    split: Streamed,
    batch_size: int,
    mesh: Mesh,
    watch: Watch,
) -> Sums:
    everywhere, divided = sharding.replicated(mesh), sharding.over_batch(mesh)
    by_step = streamed.testing(split, batch_size, sharding.rows_here(mesh, batch_size))
    like = {
        "image": jax.ShapeDtypeStruct((batch_size, *split.shape), split.dtype),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
    }

    # Each batch adds to the sums of the one before, so that no two programs run at once.
    @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
    def add(totals: Metrics, state: TrainState, batch: Batch) -> Metrics:
        return jax.tree.map(jnp.add, totals, eval_step(state, batch))

    def sums(state: TrainState) -> Metrics:
        totals = sharding.place(
            optax.tree.zeros_like(jax.eval_shape(eval_step, state, like)), everywhere
        )
        with closing(streamed.read_ahead(by_step, 0, split.workers)) as batches:
            for batch in watch(batches, len(by_step)):
                totals = add(totals, state, sharding.place(batch, divided))
        return totals

    return sums
