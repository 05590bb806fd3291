"""How often counts change in the last training step of an epoch, and between time steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pit_jax.analysis.oscillation import average_later_half, measure_changes
from pit_jax.analysis.plots import oscillation as plots
from pit_jax.neurons.probe import neuron_layers

from ..config.own import shorten_name
from ..figures import select_points
from .subject import Analysis, Plot, Subject, Table, explain_missing

SAMPLES = 256
TITLE = "Oscillation"
MEASURES = ("flips", "oscillating")
CAPTION = (
    "On the fixed training samples of config.health: the share of counts that the last training "
    "step of an epoch changed (flips), and the share that it changed back, after the step before "
    "had changed them (oscillating)."
)


def analyze(subject: Subject) -> Analysis:
    """Return the changes of each layer by epoch, and between time steps if there are several."""
    records, remarks, tables, figures = _read_records(subject), [CAPTION], {}, {}
    if records:
        layers = list(records[-1]["health"])
        rows = [
            [record["epoch"], layer, *(record["health"][layer].get(name) for name in MEASURES)]
            for record in records
            for layer in layers
        ]
        tables["epochs"] = Table(("epoch", "layer", *MEASURES), rows)
        flips, back = (
            {layer: _average(records, layer, name) for layer in layers} for name in MEASURES
        )
        figures["epochs"] = Plot(
            lambda: plots.plot_over_epochs(flips, back, _count_images(subject)), CAPTION
        )
    else:
        remarks = [_explain_no_records(subject)]
    if subject.config.num_steps > 1:
        shares = measure_changes(subject.model, subject.variables, subject.batches("test", SAMPLES))
        n = sum(len(x) for x in subject.batches("test", SAMPLES))
        rows = [
            [layer, t, share] for layer, each in shares.items() for t, share in enumerate(each, 2)
        ]
        if rows:
            tables["time"] = Table(("layer", "step", "changed"), rows)
            figures["time"] = Plot(
                lambda: plots.plot_over_time(shares, n),
                "The share of neurons whose count differs from the time step before.",
            )
    return Analysis(TITLE, remarks, tables, figures)


def compare(runs: Sequence[Subject]) -> Analysis:
    """Return means over layers by epoch; runs with the same lambda of Eq. 13 share a color."""
    found = {run.name: (run, records) for run in runs if (records := _read_records(run))}
    if not found:
        return Analysis(TITLE, [_explain_no_records(*runs)])
    lines = [
        {name: _average(records, None, measure) for name, (_, records) in found.items()}
        for measure in MEASURES
    ]
    groups = [_name_group(run) for run, _ in found.values()]
    # The figure shows one number for all runs, so the smallest.
    n = min(_count_images(run) for run, _ in found.values())
    rows: list[list[Any]] = [
        [name, _name_group(run), run.config.neuron.get("strength"), run.config.seed]
        + [average_later_half(line[name][1]) if line[name][1] else None for line in lines]
        for name, (run, _) in found.items()
    ]
    header = ("run", "group", "lambda", "seed", *MEASURES)
    return Analysis(
        TITLE,
        [CAPTION, "Means over layers; those in the table are over the later half of the epochs."],
        {
            "runs": Table(header, rows),
            "epochs": Table(
                ("run", "measure", "epoch", "share"),
                [
                    [name, measure, *point]
                    for measure, by_run in zip(MEASURES, lines, strict=True)
                    for name, line in by_run.items()
                    for point in zip(*line, strict=True)
                ],
            ),
        },
        {"epochs": Plot(lambda: plots.plot_over_epochs(lines[0], lines[1], n, groups), CAPTION)},
    )


def _explain_no_records(*runs: Subject) -> str:
    inputs = [run.samples("test", run.over_batch.mesh.size)[0] for run in runs]
    if not any(
        neuron_layers(run.model, run.variables, x) for run, x in zip(runs, inputs, strict=True)
    ):
        return explain_missing("fires integers", *runs)
    who = "The run" if len(runs) == 1 else "The runs"
    return f"{who} recorded no health (config.health.every_epochs)."


def _count_images(run: Subject) -> int:
    """Return the number of training samples that `config.health` measures."""
    return min(run.config.health.images, len(run.dataset.train))


def _name_group(run: Subject) -> str:
    neuron = run.config.neuron
    strength = f", lambda {neuron.strength:g}" if "strength" in neuron else ""
    return f"{run.dataset.name}, {shorten_name(neuron.name)} T={run.config.num_steps}{strength}"


def _read_records(run: Subject) -> list[dict[str, Any]]:
    return [dict(record) for record in run.records if record.get("health")]


def _average(
    records: list[dict[str, Any]], layer: str | None, measure: str
) -> tuple[list[float], list[float]]:
    """Return epochs and values of a layer, or of the mean over layers that have the measure."""
    made = []
    for record in records:
        layers = record["health"].values() if layer is None else [record["health"][layer]]
        values = [each[measure] for each in layers if each.get(measure) is not None]
        made.append({**record, measure: float(np.mean(values)) if values else None})
    return select_points(made, measure)
