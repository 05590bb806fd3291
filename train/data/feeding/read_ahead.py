"""Batches of a split on disk, read by worker processes; each is a function of its step.

program/feed.py moves them from host to device.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from absl import flags

from pit_jax.signals import hold_signals

from ..storage.workers import serve_parent
from .order import Order

# (index, generator for random crops) -> (image, label).
Read = Callable[[int, np.random.Generator], tuple[np.ndarray, int]]


def read_ahead(
    read: Read, order: Order, rows: np.ndarray, first: int, workers: int
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield `image` and `label` of the rows `rows` of each batch of `order`, from `first` on.

    Each batch is read by one of `workers` processes, which end with this generator. With 0
    workers, this process reads.
    """
    import grain

    # No threads in the workers: batches in their buffers would take memory, 38 MB each for
    # ImageNet. mp_prefetch already keeps a batch or two of each worker ready.
    one_at_a_time = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    batches = grain.MapDataset.source(_Samples(read, order, rows)).batch(len(rows))
    ahead = batches[first:].to_iter_dataset(one_at_a_time)
    if workers:
        # Grain 0.2.18 reads its absl flags, which only absl's own main function parses.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers)
        ahead = ahead.mp_prefetch(options, worker_init_fn=_begin_worker)
    with closing(iter(ahead)) as iterator:
        with hold_signals():  # Workers start with the first batch.
            first_batch = list(islice(iterator, 1))
        yield from first_batch
        yield from iterator


def _begin_worker(number: int, count: int) -> None:
    del number, count
    serve_parent()


@dataclass(frozen=True)
class _Samples:
    """The samples of all batches in one sequence, which Grain reads by position.

    Position p is row p mod n of batch p div n, for n rows. So neither the number of workers nor
    the batch at which reading begins changes a sample.
    """

    read: Read
    order: Order
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.order) * len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        step, row = divmod(int(position), len(self.rows))
        row = int(self.rows[row])
        rng = np.random.default_rng(self.order.crop_seed(step, row))
        image, label = self.read(int(self.order.indices(step)[row]), rng)
        return {"image": image, "label": np.int32(label)}
