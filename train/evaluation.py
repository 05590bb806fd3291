"""Loss, accuracy and firing rates over a whole split."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

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
    take = resident.taker(sharding.over_batch(mesh))
    columns = jax.device_put(resident.arrays(split), everywhere)
    batches = jax.device_put(
        list(zip(*resident.whole_order(len(split.images), batch_size), strict=True)), everywhere
    )
    run = jax.jit(
        lambda state, columns, index, weight: eval_step(
            state, take(columns, index) | {"weight": weight}
        ),
        out_shardings=everywhere,
    )

    def evaluate(state: TrainState) -> Evaluation:
        sums = jax.device_get([run(state, columns, *batch) for batch in batches])
        means = {
            name: np.sum([batch[name] for batch in sums], axis=0) / len(split.images)
            for name in sums[0]
        }
        rates = {name: mean for name, mean in means.items() if name.startswith("rate/")}
        return Evaluation(
            float(means["loss"]),
            float(means["correct"]),
            {name.removeprefix("rate/"): mean.tolist() for name, mean in rates.items()},
        )

    return evaluate
