"""PIT's scales at a checkpoint of a run and at its start (Fig. 7)."""

from dataclasses import astuple, fields
from typing import Any

from pit_jax.analysis.plots import scales as plots
from pit_jax.analysis.scales import Spread, measure_spread, measure_spread_by_step
from pit_jax.neurons.probe import neuron_layers

from ..config.own import shorten_name
from ..report.figures import order_layers
from ..run.restore import load_scales, select_scales
from .subject import Analysis, Plot, Subject, Table

TITLE = "Scales a"


def analyze(subject: Subject) -> Analysis:
    """Return the spread of every layer's scales over channels and steps, at the start and now."""
    # Not from the folder: a run that still trains has newer checkpoints by now.
    found = select_scales(subject.variables["params"])
    if not found:
        name = shorten_name(subject.config.neuron.name)
        return Analysis(TITLE, [f"{name} has no scale per channel."])
    x, _ = subject.samples("test", subject.over_batch.mesh.size)
    order = neuron_layers(subject.model, subject.variables, x)
    last = order_layers(found, order)
    first = order_layers(load_scales(subject.workdir, "first"), order)
    now = f"{subject.checkpoint} checkpoint"
    tables: dict[str, list[list[Any]]] = {"layers": [], "steps": []}
    for when, layers in (("start", first), (subject.checkpoint, last)):
        for layer, a in layers.items():
            tables["layers"].append([layer, when, *astuple(measure_spread(a))])
            tables["steps"] += [
                [layer, t, when, *astuple(each)]
                for t, each in enumerate(measure_spread_by_step(a), 1)
            ]
    numbers = [each.name for each in fields(Spread)]
    figures = {
        "layers": Plot(
            lambda: plots.scales(last, first, now),
            "The scales of every neuron layer, of all channels and steps (Fig. 7).",
        )
    }
    if subject.config.num_steps > 1:
        figures["steps"] = Plot(
            lambda: plots.plot_over_steps(last, first, now),
            "The scales of every neuron layer step by step.",
        )
    return Analysis(
        TITLE,
        [] if first else ["The folder of the run does not have the scales at the start."],
        {
            "layers": Table(("layer", "when", *numbers), tables["layers"]),
            "steps": Table(("layer", "step", "when", *numbers), tables["steps"]),
        },
        figures,
    )
