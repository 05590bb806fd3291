"""A run as the analyses see it, and what they give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from ..data import Dataset
from ..errors import UserError
from ..program.inputs import normalization
from ..program.probe import spread
from ..program.sharding import place

# Samples whose membranes of all layers lie in memory together.
BATCH = 64


@dataclass(frozen=True)
class Trained:
    """A run at one checkpoint; nothing in its folder is changed.

    `variables` are what it tests with, whole on each device. `out` is the folder of the results,
    where an analysis may keep what it has so far. `wanted` is how many samples every analysis takes
    in place of its own number.
    """

    name: str
    workdir: Path
    checkpoint: str
    config: ConfigDict
    dataset: Dataset
    model: nn.Module
    variables: Mapping[str, Any]
    over_batch: NamedSharding
    out: Path
    wanted: int | None = None

    def samples(self, split: str, count: int) -> tuple[Array, Array]:
        """Inputs and labels of `count` samples at equal distances of `train` or `test`, divided
        among the devices: of all, or of as many fewer as they divide."""
        images, labels = self._some(split, count)
        x = normalization(self.dataset)(place(images, self.over_batch))
        return x, place(labels, self.over_batch)

    def batches(self, split: str, count: int) -> Iterator[Array]:
        """The inputs that `samples` gives, a part after another, for what is large of each."""
        images, _ = self._some(split, count)
        devices = self.over_batch.mesh.size
        size, normalize = max(BATCH // devices, 1) * devices, normalization(self.dataset)
        for start in range(0, len(images), size):
            yield normalize(place(images[start : start + size], self.over_batch))

    def _some(self, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        taken, devices = getattr(self.dataset, split), self.over_batch.mesh.size
        count = min(self.wanted or count, len(taken))
        if count < devices:
            raise UserError(
                f"{count} samples do not divide among {devices} devices; take more --samples."
            )
        return spread(taken, count // devices * devices)


@dataclass(frozen=True)
class Table:
    """What a CSV file holds."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Drawn:
    """A figure, made when it is wanted, and what to read in it."""

    draw: Callable[[], Figure]
    caption: str


@dataclass(frozen=True)
class Analysis:
    """What an analysis found: remarks, tables and figures, each by its name as a file.

    One without tables and figures says in its remarks why it has none to give of this run.
    """

    title: str
    remarks: Sequence[str] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Drawn] = field(default_factory=dict)
