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

from pit_jax.analysis.recorder import LayerRecording, recorder

from ..config.own import is_own, shorten_name
from ..data import Dataset
from ..errors import UserError
from ..program.inputs import make_normalize
from ..program.probe import take_evenly
from ..program.sharding import place

# Samples whose membranes of all layers lie in memory together.
BATCH = 64


@dataclass(frozen=True)
class Subject:
    """A run at one checkpoint; nothing in its folder is changed.

    `variables` are what it tests with, whole on each device. `out` is the folder of the results,
    where an analysis may keep what it has so far. `wanted` is how many samples every analysis takes
    in place of its own number. `neurons` are the classes of the neurons that the config names.
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
    neurons: tuple[type[nn.Module], ...] = ()

    @property
    def record(self) -> Callable[[Mapping[str, Any], Array], dict[str, LayerRecording]]:
        """A function of variables and inputs that returns what every neuron layer records."""
        return recorder(self.model, self.neurons)

    def samples(self, split: str, count: int) -> tuple[Array, Array]:
        """Return inputs and labels of `count` samples of `train` or `test`, at equal distances.

        They are divided among the devices: all of them, or the most that the devices divide.
        """
        images, labels = self._take(split, count)
        x = make_normalize(self.dataset)(place(images, self.over_batch))
        return x, place(labels, self.over_batch)

    def batches(self, split: str, count: int) -> Iterator[Array]:
        """Yield the inputs of `samples` in parts, for what needs much memory for each."""
        images, _ = self._take(split, count)
        devices = self.over_batch.mesh.size
        size, normalize = max(BATCH // devices, 1) * devices, make_normalize(self.dataset)
        for start in range(0, len(images), size):
            yield normalize(place(images[start : start + size], self.over_batch))

    def _take(self, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        taken, devices = getattr(self.dataset, split), self.over_batch.mesh.size
        count = min(self.wanted or count, len(taken))
        if count < devices:
            raise UserError(
                f"{count} samples do not divide among {devices} devices; take more --samples."
            )
        return take_evenly(taken, count // devices * devices)


@dataclass(frozen=True)
class Table:
    """What a CSV file holds."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Plot:
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
    figures: Mapping[str, Plot] = field(default_factory=dict)


def explain_missing(what: str, *runs: Subject) -> str:
    """Return why no neuron layer of some runs shows `what`, such as "fires integers"."""
    whose = "this network" if len(runs) == 1 else "these networks"
    neurons = [
        (section or {}).get("name", "")
        for run in runs
        for key, section in (*run.config.items(), *run.config.get("model", {}).items())
        if key.endswith("neuron")
    ]
    if not (own := dict.fromkeys(shorten_name(name) for name in neurons if is_own(name))):
        return f"No layer of {whose} {what}."
    return (
        f"No layer of {whose} shows that it {what}: {', '.join(own)} does not call "
        "pit_jax.neurons.probe.record; docs/guide/own_parts.md has an example."
    )
