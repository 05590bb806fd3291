"""The run that an analysis reads (`Subject`), and the result that it returns (`Analysis`)."""

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

# Samples in a batch: the membranes of all layers are in memory at once.
BATCH = 64


@dataclass(frozen=True)
class Subject:
    """A run at one checkpoint; analyses do not change its folder.

    `variables` are those of its evaluation, replicated on all devices. `step`, `digest` and
    `records`, the lines of metrics.jsonl, were read together with them: a run that still trains
    has others by now. `out` is the folder of the
    results, where an analysis may save intermediate ones. `wanted` replaces every analysis's own
    number of samples. `neurons` are the classes of neurons that the config names.
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
    step: int = 0
    digest: str = ""
    records: Sequence[dict[str, Any]] = ()

    @property
    def record(self) -> Callable[[Mapping[str, Any], Array], dict[str, LayerRecording]]:
        """A function of variables and inputs that returns what every neuron layer records."""
        return recorder(self.model, self.neurons)

    def samples(self, split: str, count: int) -> tuple[Array, Array]:
        """Return inputs and labels of `count` evenly spaced samples of `train` or `test`.

        They are divided among the devices, so `count` is rounded down to a multiple of these.
        Raises UserError for fewer samples than devices.
        """
        images, labels = self._take(split, count)
        x = make_normalize(self.dataset)(place(images, self.over_batch))
        return x, place(labels, self.over_batch)

    def batches(self, split: str, count: int) -> Iterator[Array]:
        """Yield the inputs of `samples` in batches, for analyses that need much memory."""
        images, _ = self._take(split, count)
        devices = self.over_batch.mesh.size
        # Every batch must divide among the devices.
        size, normalize = max(BATCH // devices, 1) * devices, make_normalize(self.dataset)
        for start in range(0, len(images), size):
            yield normalize(place(images[start : start + size], self.over_batch))

    def _take(self, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        taken, devices = getattr(self.dataset, split), self.over_batch.mesh.size
        count = min(self.wanted or count, len(taken))
        if count < devices:
            raise UserError(
                f"{count} samples cannot be divided among {devices} devices; increase --samples."
            )
        return take_evenly(taken, count // devices * devices)


@dataclass(frozen=True)
class Table:
    """The content of a CSV file."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Plot:
    """A figure, drawn on demand, and its caption."""

    draw: Callable[[], Figure]
    caption: str


@dataclass(frozen=True)
class Analysis:
    """The result of an analysis: remarks, and tables and figures by the names of their files.

    Without tables and figures, the remarks explain why the analysis does not apply to the run.
    `printed` are lines for the terminal.
    """

    title: str
    remarks: Sequence[str] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Plot] = field(default_factory=dict)
    printed: Sequence[str] = ()


def explain_missing(what: str, *runs: Subject) -> str:
    """Return a sentence that no neuron layer of some runs does `what`, such as "fires integers"."""
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
        f"No layer of {whose} records that it {what}: {', '.join(own)} does not call "
        "pit_jax.neurons.probe.record; docs/guide/own_parts.md has an example."
    )
