"""Batches of a data set that lies whole on the device, picked there by index."""

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array

from ..dataset import Split


def arrays(split: Split) -> dict[str, np.ndarray]:
    """A split as the columns `image` and `label` of a batch."""
    return {"image": split.images, "label": split.labels}


def epoch_order(seed: int, epoch: int, size: int, batch_size: int, repeats: int = 1) -> np.ndarray:
    """Which samples each step of `epoch` sees, `[steps, batch]`; an incomplete batch is left out.

    A function of its arguments alone, so a resumed run needs no position in the data. With
    `repeats` a step sees each of its samples so many times, and the epoch fewer samples (repeated
    augmentation, Hoffer et al. 2020).
    """
    order = np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
    return order[copies(size, batch_size, repeats) // repeats]


def copies(size: int, batch_size: int, repeats: int) -> np.ndarray:
    """Places `[steps, batch]` in the list that has each sample of the order `repeats` times.

    Those of one sample are consecutive there and far apart in their batch, so that a mix with a
    neighbor meets another sample.
    """
    steps = size // batch_size
    apart = np.argsort(np.arange(batch_size) % repeats, kind="stable")
    return np.arange(steps * batch_size).reshape(steps, batch_size)[:, apart]


def whole_order(size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every sample once, as `[steps, batch]` indices and weights; padding has weight 0."""
    padded = -(-size // batch_size) * batch_size
    index = np.arange(padded, dtype=np.int32).reshape(-1, batch_size)
    return index % size, (index < size).astype(np.float32)


def take(
    columns: dict[str, Array], index: Array, sharding: NamedSharding | None = None
) -> dict[str, Array]:
    """The samples `index` of every column; with `sharding` each device takes its own part only."""
    taken = {name: column[index] for name, column in columns.items()}
    if sharding is None:
        return taken
    # Without the constraint directly behind the gather every device takes the whole batch.
    return jax.lax.with_sharding_constraint(taken, sharding)
