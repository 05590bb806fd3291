"""Which samples each batch has, in training and in a pass over a whole split."""

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Seed = int | tuple[int, ...]


class Order(Protocol):
    """Which samples each batch has, and the seeds of their random crops.

    An order is a function of its arguments alone, so a resumed run needs no position in the data.
    """

    def __len__(self) -> int:
        """Return the number of batches."""

    def indices(self, step: int) -> np.ndarray:
        """Return the samples of batch `step`, `[batch]`."""

    def crop_seed(self, step: int, row: int) -> Seed:
        """Return the seed of the random crop of row `row` of batch `step`."""


@dataclass(frozen=True)
class TrainingOrder:
    """The order of training: each epoch is a permutation, without its last incomplete batch.

    With `repeats` a step sees each of its samples n times, and the epoch fewer samples (repeated
    augmentation, Hoffer et al. 2020).
    """

    seed: int
    size: int
    batch_size: int
    epochs: int
    repeats: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """The number of complete batches of an epoch."""
        return self.size // self.batch_size

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch

    def epoch(self, number: int) -> np.ndarray:
        """Return the samples of all steps of an epoch, `[steps, batch]`."""
        return epoch_order(self.seed, number, self.size, self.batch_size, self.repeats)

    def indices(self, step: int) -> np.ndarray:
        """Return the samples of training step `step`, from 0 on, `[batch]`."""
        epoch, step = divmod(step, self.steps_per_epoch)
        return _permute(self, epoch)[step]

    def crop_seed(self, step: int, row: int) -> tuple[int, ...]:
        """Return seed, epoch, sample and which of its `repeats` it is.

        A crop depends on nothing else, so neither workers nor a resumed run change it.
        """
        index = int(self.indices(step)[row])
        epoch, step = divmod(step, self.steps_per_epoch)
        copy = int(_count_copies(self)[step, row]) % self.repeats
        # One more than the index: trailing zeros would give the generator of the order.
        return self.seed, epoch, index + 1, copy


@functools.lru_cache(maxsize=2)
def _permute(order: TrainingOrder, epoch: int) -> np.ndarray:
    return order.epoch(epoch)


@functools.lru_cache(maxsize=1)
def _count_copies(order: TrainingOrder) -> np.ndarray:
    return copies(order.size, order.batch_size, order.repeats)


class SequentialOrder:
    """Every sample once; the last batch is padded with samples of weight 0.

    `index` and `weight` are `[batches, batch]`.
    """

    def __init__(self, size: int, batch_size: int) -> None:
        padded = -(-size // batch_size) * batch_size
        place = np.arange(padded, dtype=np.int32).reshape(-1, batch_size)
        self.index, self.weight = place % size, (place < size).astype(np.float32)

    def __len__(self) -> int:
        return len(self.index)

    def indices(self, step: int) -> np.ndarray:
        """Return the samples of batch `step`, `[batch]`."""
        return self.index[step]

    def crop_seed(self, step: int, row: int) -> int:
        """Return the sample itself."""
        return int(self.index[step, row])


def epoch_order(seed: int, epoch: int, size: int, batch_size: int, repeats: int = 1) -> np.ndarray:
    """Return which samples each step of `epoch` sees, `[steps, batch]`."""
    order = np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
    return order[copies(size, batch_size, repeats) // repeats]


def copies(size: int, batch_size: int, repeats: int) -> np.ndarray:
    """Return places `[steps, batch]` in the list that has each sample of the order `repeats` times.

    Those of one sample are consecutive there and far apart in their batch, so that a mix with a
    neighbor meets another sample.
    """
    steps = size // batch_size
    apart = np.argsort(np.arange(batch_size) % repeats, kind="stable")
    return np.arange(steps * batch_size).reshape(steps, batch_size)[:, apart]
