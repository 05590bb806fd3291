"""The samples of each batch, in training and in a pass over a whole split."""

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Seed = int | tuple[int, ...]


class Order(Protocol):
    """The samples of each batch, and the seeds of their random crops.

    An order is a function of its arguments alone. So a checkpoint stores no position in the data,
    and a resumed run still sees the batches of an uninterrupted one.
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

    With `repeats` = n, a training step sees each of its samples n times, and an epoch has n times
    fewer samples (repeated augmentation, Hoffer et al. 2020).
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
        """Return the samples of training step `step`, counted from 0, `[batch]`."""
        epoch, step = divmod(step, self.steps_per_epoch)
        return _permute(self, epoch)[step]

    def crop_seed(self, step: int, row: int) -> tuple[int, ...]:
        """Return seed, epoch, sample + 1, and the number of the repeat.

        A crop depends on nothing else, so neither workers nor a resumed run change it.
        """
        index = int(self.indices(step)[row])
        epoch, step = divmod(step, self.steps_per_epoch)
        copy = int(_count_copies(self)[step, row]) % self.repeats
        # Sample + 1: NumPy pads seeds with zeros, so (seed, epoch, 0, 0) would be the generator
        # (seed, epoch), which already permutes the epoch.
        return self.seed, epoch, index + 1, copy


# Two epochs: readers that are ahead already ask for the next epoch.
@functools.lru_cache(maxsize=2)
def _permute(order: TrainingOrder, epoch: int) -> np.ndarray:
    return order.epoch(epoch)


@functools.lru_cache(maxsize=1)
def _count_copies(order: TrainingOrder) -> np.ndarray:
    return place_copies(order.size, order.batch_size, order.repeats)


class SequentialOrder:
    """An order with every sample once; the last batch is padded with samples of weight 0.

    `index` and `weight` are `[batches, batch]`.
    """

    def __init__(self, size: int, batch_size: int) -> None:
        padded = -(-size // batch_size) * batch_size
        place = np.arange(padded, dtype=np.int32).reshape(-1, batch_size)
        # Padding repeats samples from the start: a last batch of another shape would be compiled
        # again.
        self.index, self.weight = place % size, (place < size).astype(np.float32)

    def __len__(self) -> int:
        return len(self.index)

    def indices(self, step: int) -> np.ndarray:
        """Return the samples of batch `step`, `[batch]`."""
        return self.index[step]

    def crop_seed(self, step: int, row: int) -> int:
        """Return the index of the sample, the same in every pass."""
        return int(self.index[step, row])


def describe_skipped(size: int, batch_size: int, repeats: int = 1, parts: int = 1) -> str:
    """Return a line on the samples that fill no batch of an epoch, "" if there are none.

    `size` is the number of training samples. With `repeats`, a batch has each of its samples
    several times, and an epoch has `size / repeats` samples. The line proposes another batch size
    if a similar one divides the samples and is itself divisible by `repeats` and `parts`.
    """
    used, total = size // batch_size * batch_size // repeats, size // repeats
    if used == total:
        return ""
    line = (
        f"each epoch trains on {used:,} of {total:,} samples and skips {total - used:,}, different "
        f"ones each time, which do not fill a batch of {batch_size:,}"
    )
    # At least half the size, because a much smaller batch would change the training.
    fitting = range(batch_size, batch_size // 2, -1)
    better = next((n for n in fitting if not (size % n or n % repeats or n % parts)), None)
    return f"{line}; with config.batch_size={better} none are skipped" if better else line


def epoch_order(seed: int, epoch: int, size: int, batch_size: int, repeats: int = 1) -> np.ndarray:
    """Return the samples of each training step of `epoch`, `[steps, batch]`."""
    # A generator for each epoch, so that epoch n can be drawn without drawing those before it.
    order = np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
    return order[place_copies(size, batch_size, repeats) // repeats]


def place_copies(size: int, batch_size: int, repeats: int) -> np.ndarray:
    """Return places `[steps, batch]` in a list with each sample of the order `repeats` times.

    The copies of a sample are consecutive in the list, so one batch has all of them. Within the
    batch they are far apart, because mixup and CutMix mix each image with its neighbor, which must
    be another sample.
    """
    steps = size // batch_size
    apart = np.argsort(np.arange(batch_size) % repeats, kind="stable")
    return np.arange(steps * batch_size).reshape(steps, batch_size)[:, apart]
