"""Loss, accuracy, metrics and firing rates over a whole split.

A run with averaged weights is evaluated with these (`TrainState.variables`). The last incomplete
batch is padded with samples of weight 0 (data/feeding/order.py).
"""

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

from pit_jax.checks.bounds import set_bounds, whole
from pit_jax.tuning import compiler_options

from ..data import Split
from ..data.feeding import resident
from ..data.feeding.order import SequentialOrder
from . import sharding
from .feed import abstract_batch
from .state import Metrics, TrainState
from .step import Batch


class Evaluation(NamedTuple):
    """Means over a split.

    `rates` are the mean firing rates of each neuron layer, one for each step; `metrics` are the
    values of `config.metrics` by name. `spikes` is the mean over all neurons of the integers that a
    neuron fires for a sample, over all steps.
    """

    loss: float
    accuracy: float
    rates: dict[str, list[float]]
    metrics: dict[str, float]
    spikes: float


Sums = Callable[[TrainState], Metrics]
# Wraps the batches, given their number, for example to show a progress bar.
Watch = Callable[[Iterable[dict[str, np.ndarray]], int], Iterable[dict[str, np.ndarray]]]


@set_bounds(every=whole(0))
def is_evaluated(epoch: int, epochs: int, every: int) -> bool:
    """Return whether an epoch, counted from 1, of `epochs` ends with an evaluation.

    Every `every`-th does, and the last; with 0 only the last.
    """
    return epoch == epochs or (every > 0 and epoch % every == 0)


def make_evaluate(
    eval_step: Callable[[TrainState, Batch], Metrics], split: Split, batch_size: int, mesh: Mesh
) -> Callable[[TrainState], Evaluation]:
    """Return a function that evaluates a state on all of `split`."""
    sums = make_sums(eval_step, split, batch_size, mesh)

    def evaluate(state: TrainState) -> Evaluation:
        return compute_means(jax.device_get(sums(state)), len(split))

    return evaluate


def compute_means(totals: Mapping[str, np.ndarray], count: int) -> Evaluation:
    """Convert sums over `count` samples to means."""
    # Divide in float64: a quotient in float32 would be rounded again.
    size = np.float64(count)
    found = {name: total / size for name, total in totals.items()}
    return Evaluation(
        float(found["loss"]),
        float(found["correct"]),
        {name: mean.tolist() for name, mean in select_group(found, "rate").items()},
        {name: float(mean) for name, mean in select_group(found, "metric").items()},
        float(found["spikes"]),
    )


def select_group(found: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    """Return the values of `found` at the keys `GROUP/NAME`, by NAME."""
    start = f"{group}/"
    return {
        name.removeprefix(start): value for name, value in found.items() if name.startswith(start)
    }


def make_sums(
    eval_step: Callable[[TrainState, Batch], Metrics],
    split: Split,
    batch_size: int,
    mesh: Mesh,
    watch: Watch = lambda batches, count: batches,
) -> Sums:
    """Return a function that sums `eval_step` over all of `split`, in memory or read from disk.

    Batches from disk pass through `watch`.
    """
    order = SequentialOrder(len(split), batch_size)
    if split.arrays is None:
        return _make_sums_from_disk(eval_step, split, order, mesh, watch)
    return _make_sums_from_memory(eval_step, split.arrays, order, mesh)


def _make_sums_from_memory(
    eval_step: Callable[[TrainState, Batch], Metrics],
    arrays: dict[str, np.ndarray],
    order: SequentialOrder,
    mesh: Mesh,
) -> Sums:
    everywhere = sharding.make_replicated(mesh)
    take = partial(resident.take, sharding=sharding.make_batch_sharding(mesh))
    samples = sharding.place(arrays, everywhere)
    batches = sharding.place((order.index, order.weight), everywhere)

    # One program for the whole split: one per batch would run concurrently, and the collectives of
    # virtual CPU devices can then wait for each other forever.
    sums = jax.jit(
        make_whole_sums(eval_step, take),
        out_shardings=everywhere,
        compiler_options=compiler_options("evaluate"),
    )
    return lambda state: sums(state, samples, batches)


def make_whole_sums(
    eval_step: Callable[[TrainState, Batch], Metrics], take: Callable[[Batch, Array], Batch]
) -> Callable[[TrainState, Batch, tuple[Array, Array]], Metrics]:
    """Return `(state, samples, (index, weight) of a SequentialOrder) -> sums` over all samples."""

    def sums(state: TrainState, samples: Batch, batches: tuple[Array, Array]) -> Metrics:
        def one(batch: tuple[Array, Array]) -> Metrics:
            index, weight = batch
            return eval_step(state, take(samples, index) | {"weight": weight})

        # `map` runs one batch after the other, so memory is needed for one batch only.
        return jax.tree.map(lambda x: x.sum(axis=0), jax.lax.map(one, batches))

    return sums


def _make_sums_from_disk(
    eval_step: Callable[[TrainState, Batch], Metrics],
    split: Split,
    order: SequentialOrder,
    mesh: Mesh,
    watch: Watch,
) -> Sums:
    everywhere, divided = sharding.make_replicated(mesh), sharding.make_batch_sharding(mesh)
    batch_size = order.index.shape[1]
    rows = sharding.get_local_rows(mesh, batch_size)
    abstract = abstract_batch(split, batch_size) | {
        "weight": jax.ShapeDtypeStruct((batch_size,), np.float32)
    }

    # Each call needs the sums of the call before, so that no two programs run concurrently. The
    # donated sums are updated in place.
    @partial(
        jax.jit,
        donate_argnums=0,
        out_shardings=everywhere,
        compiler_options=compiler_options("evaluate"),
    )
    def add(totals: Metrics, state: TrainState, batch: Batch) -> Metrics:
        return jax.tree.map(jnp.add, totals, eval_step(state, batch))

    def sums(state: TrainState) -> Metrics:
        totals = sharding.place(
            optax.tree.zeros_like(jax.eval_shape(eval_step, state, abstract)), everywhere
        )
        with closing(split.batches(order, rows)) as batches:
            for batch, weight in zip(watch(batches, len(order)), order.weight, strict=True):
                batch = batch | {"weight": weight[rows]}
                totals = add(totals, state, sharding.place(batch, divided))
        return totals

    return sums
