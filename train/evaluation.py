"""Loss, accuracy and firing rates over a whole split."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from train import sharding
from train.data import resident
from train.data.dataset import Split
from train.state import Metrics, TrainState
from train.step import Batch


class Evaluation(NamedTuple):
    """Means over a split; `rates` are mean firing rates by neuron layer, one for each step."""

    loss: float
    accuracy: float
    rates: dict[str, list[float]]


def make_evaluate(
    eval_step: Callable[[TrainState, Batch], Metrics], split: Split, batch_size: int, mesh: Mesh
) -> Callable[[TrainState], Evaluation]:
    """A function that runs `eval_step` over all of `split`, which it keeps on the device."""
    everywhere = sharding.replicated(mesh)
    take = partial(resident.take, sharding=sharding.over_batch(mesh))
    columns = jax.device_put(resident.arrays(split), everywhere)
    batches = jax.device_put(resident.whole_order(len(split.images), batch_size), everywhere)

    # One program for the whole split: independent ones would run at once, and the collectives of
    # virtual CPU devices can then wait for one another for ever.
    @partial(jax.jit, out_shardings=everywhere)
    def sums(state: TrainState, columns: Batch, batches: tuple[Array, Array]) -> Metrics:
        def one(batch: tuple[Array, Array]) -> Metrics:
            index, weight = batch
            return eval_step(state, take(columns, index) | {"weight": weight})

        return jax.tree.map(lambda x: x.sum(axis=0), jax.lax.map(one, batches))

    def evaluate(state: TrainState) -> Evaluation:
        totals = jax.device_get(sums(state, columns, batches))
        size = np.float64(len(split.images))
        means = {name: total / size for name, total in totals.items()}
        rates = {name: mean for name, mean in means.items() if name.startswith("rate/")}
        return Evaluation(
            float(means["loss"]),
            float(means["correct"]),
            {name.removeprefix("rate/"): mean.tolist() for name, mean in rates.items()},
        )

    return evaluate
