"""Batches of a split that stays on disk, made by worker processes; each a function of its step."""

import functools
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import flags

from ..dataset import Streamed
from ..storage.workers import serve_parent
from . import resident

Samples = dict[str, Any]  # Columns by name: of a batch, or one sample's values.


def training(
    split: Streamed,
    seed: int,
    batch_size: int,
    epochs: int,
    repeats: int = 1,
    rows: np.ndarray | None = None,
) -> Any:
    """The batches of a run by step: a Grain dataset of `image` and `label`.

    Of each batch only `rows` are read, if some are given: those of one of several processes.

    The order is that of data on the device. A crop depends on the seed, the epoch, the sample and
    which of its `repeats` it is only, so neither workers nor a resumed run change it.
    """
    import grain

    rows = np.arange(batch_size) if rows is None else rows
    samples = _Training(split, seed, batch_size, epochs, repeats, rows)
    return grain.MapDataset.source(samples).batch(len(rows))


def testing(split: Streamed, batch_size: int, rows: np.ndarray | None = None) -> Any:
    """The batches of one pass over all samples: `image`, `label` and `weight`, 0 for padding.

    Of each batch only `rows`, as in `training`.
    """
    import grain

    rows = np.arange(batch_size) if rows is None else rows
    return grain.MapDataset.source(_Testing(split, batch_size, rows)).batch(len(rows))


def read_ahead(
    batches: Any, first: int, workers: int
) -> Generator[dict[str, np.ndarray], None, None]:
    """The batches from `first` on, made in worker processes, a batch in each; they end with it."""
    import grain

    # No threads beside: what lies ready takes memory, a batch of ImageNet 38 MB.
    one_at_a_time = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    ahead = batches[first:].to_iter_dataset(one_at_a_time)
    if workers:
        # Grain 0.2.18 asks for its flags' values, which only absl's own main function parses.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers)
        ahead = ahead.mp_prefetch(options, worker_init_fn=_begin_worker)
    with closing(iter(ahead)) as iterator:
        yield from iterator


def _begin_worker(number: int, count: int) -> None:
    del number, count
    serve_parent()


@dataclass(frozen=True)
class _Training:
    split: Streamed
    seed: int
    batch_size: int
    epochs: int
    repeats: int
    rows: np.ndarray

    @property
    def _steps(self) -> int:
        return len(self.split) // self.batch_size

    def __len__(self) -> int:
        return self.epochs * self._steps * len(self.rows)

    def __getitem__(self, position: int) -> Samples:
        step, row = divmod(int(position), len(self.rows))
        epoch, step = divmod(step, self._steps)
        place = step * self.batch_size + self.rows[row]
        sizes = len(self.split), self.batch_size, self.repeats
        index = int(_order(self.seed, epoch, *sizes)[place])
        copy = int(_copies(*sizes)[place]) % self.repeats
        # One more than the index: trailing zeros would give the generator of the order.
        rng = np.random.default_rng((self.seed, epoch, index + 1, copy))
        image, label = self.split.read(index, rng)
        return {"image": image, "label": np.int32(label)}


@dataclass(frozen=True)
class _Testing:
    split: Streamed
    batch_size: int
    rows: np.ndarray

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size) * len(self.rows)

    def __getitem__(self, position: int) -> Samples:
        step, row = divmod(int(position), len(self.rows))
        place = step * self.batch_size + int(self.rows[row])
        index = place % len(self.split)
        image, label = self.split.read(index, np.random.default_rng(index))
        weight = np.float32(place < len(self.split))
        return {"image": image, "label": np.int32(label), "weight": weight}


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int, batch_size: int, repeats: int) -> np.ndarray:
    return resident.epoch_order(seed, epoch, size, batch_size, repeats).ravel()


@functools.lru_cache(maxsize=1)
def _copies(size: int, batch_size: int, repeats: int) -> np.ndarray:
    return resident.copies(size, batch_size, repeats).ravel()
