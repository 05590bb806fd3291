"""The results of a finished run: summary.json and its figures."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from .. import figures
from ..config.limits import count_epochs, list_extensions
from ..config.own import shorten_name
from ..files import write_atomically
from ..program.evaluation import Evaluation
from ..program.optim import read_name
from ..program.state import TrainState
from .reading import find_split, read_records, select_epochs
from .saved import Progress


class Summary(NamedTuple):
    """The results of a run; `rates` has mean firing rates by neuron layer, in order, and time step.

    Accuracies, `loss`, rates, `metrics` and `spikes` are measured on the test images, after the
    last epoch unless stated otherwise. `spikes` is the mean over all neurons of the integers
    that a neuron fires for an image, over all steps. `best_epoch` is the epoch with
    the best accuracy on the validation images, `validation_accuracy`, or on the test images for
    data without validation images. `epochs` is set for a run that was extended.
    """

    title: str
    workdir: str
    last_accuracy: float
    best_accuracy: float
    best_epoch: int
    parameters: int
    scales: int
    seconds: float
    loss: float | None
    spikes: float
    rates: dict[str, list[float]]
    validation_accuracy: float | None = None
    epochs: int | None = None
    metrics: Mapping[str, float | None] = MappingProxyType({})


def format_title(config: Mapping[str, Any]) -> str:
    """Return a title of one line: the data, network and neuron of a run."""
    what = (shorten_name(config[part]["name"]) for part in ("data", "model", "neuron"))
    return f"{', '.join(what)} {format_steps_and_levels(config)}"


def format_steps_and_levels(config: Mapping[str, Any]) -> str:
    """Return T and, for a neuron that fires counts, D: `T=1 D=4`."""
    levels = config["neuron"].get("levels")
    return f"T={config['num_steps']}" + (f" D={levels}" if levels else "")


def count_parameters(params: Any) -> tuple[int, int]:
    """Return the numbers of parameters without PIT's scales `a`, and of these scales."""
    leaves = jax.tree.leaves_with_path(params)
    # A user's own neuron may have a scalar named `a`, which is not a scale for each channel.
    scales = sum(leaf.size for path, leaf in leaves if read_name(path) == "a" and leaf.shape)
    return sum(leaf.size for _, leaf in leaves) - scales, scales


def summarize(
    config: ConfigDict,
    workdir: Path,
    neuron_layers: Sequence[str],
    test: Evaluation,
    state: TrainState,
    progress: Progress,
    best: Evaluation | None = None,
) -> Summary:
    """Return the summary of a run that ended with `state`, whose evaluation is `test`.

    `best` is the evaluation of the best epoch on the test images; only a run with validation images
    has one.
    """
    parameters, scales = count_parameters(state.params)
    return Summary(
        title=format_title(config),
        workdir=str(workdir),
        last_accuracy=test.accuracy,
        best_accuracy=progress.best_accuracy if best is None else best.accuracy,
        best_epoch=progress.best_epoch,
        parameters=parameters,
        scales=scales,
        seconds=progress.seconds,
        loss=test.loss if math.isfinite(test.loss) else None,
        spikes=test.spikes,
        rates={layer: test.rates[layer] for layer in neuron_layers},
        validation_accuracy=None if best is None else progress.best_accuracy,
        epochs=count_epochs(config) if list_extensions(config) else None,
        metrics=make_json_numbers(test.metrics),
    )


def make_json_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the values, with None for those that are not finite: JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def write_summary(workdir: Path, summary: Summary, *, draw: bool = True) -> None:
    """Write summary.json of a finished run, after its figures if `draw`."""
    # The summary comes last: a run that has one is finished.
    if draw:
        _draw(workdir, summary)
    # Without validation images, extensions or metrics in the config, their keys are not written.
    defaults = Summary._field_defaults
    found = {
        key: value
        for key, value in summary._asdict().items()
        if key not in defaults or value != defaults[key]
    }
    write_atomically(workdir / "summary.json", json.dumps(found, indent=2))


def _draw(workdir: Path, summary: Summary) -> None:
    records = select_epochs(read_records(workdir / "metrics.jsonl"))
    figure = figures.curves(summary.title, records, find_split(records))
    figure.savefig(workdir / "curves.png", dpi=150)
    if summary.rates:
        figures.firing_rates(summary.title, summary.rates).savefig(workdir / "rates.png", dpi=150)
