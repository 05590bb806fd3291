"""The pictures of figures, from the measures in the records of their cases."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from configs.scales import Experiment

# The measures of each run in the order of seeds, by the label of its case: {} if it is missing or
# failed. There are no cases without any measure.
Measured = Mapping[str, list[dict[str, Any]]]


def write_figure(
    experiment: "Experiment",
    records: Mapping[str, Mapping[str, Any]],
    out: Path,
    seeds: int | None = None,
) -> list[Path]:
    """Write the picture that an experiment draws from further measures; return the files.

    `records` are the records of the cases by label; `seeds` replaces the number of seeds that the
    cases name. A picture is skipped if no run has its measure, and a case is not drawn as a mean if
    one of its runs is missing. A table gets a picture of the use of levels if its runs measured it.
    """
    from .pages.figure import save_png

    measured = read_measured(experiment, records, seeds)
    files = []
    # A run that another experiment shares may have measures that only that experiment draws.
    asked = {measure.split(":")[0] for case in experiment.cases for measure in case.measures}
    for name in DRAWINGS:
        end = "" if name == experiment.analysis else f"_{name}"
        if name in asked and (figure := DRAWINGS[name](measured)) is not None:
            file = out / f"{experiment.name}{end}.png"
            write_atomically(file, save_png(figure))
            files.append(file)
    return files


def read_measured(
    experiment: "Experiment", records: Mapping[str, Mapping[str, Any]], seeds: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return the measures of each run of the cases that have any, in the order of their seeds."""
    found = {}
    for case in experiment.cases:
        runs = records.get(case.label, {}).get("runs", {})
        wanted = range(seeds or case.seeds)
        measures = [runs.get(str(seed), {}).get("measures", {}) for seed in wanted]
        if any(measures):
            found[case.label] = measures
    return found


def draw_learning(measured: Measured) -> "Figure | None":
    """Draw mean curves over the seeds of training loss, training and test accuracy (Fig. 3)."""
    from pit_jax.analysis.plots.learning import curves

    drawn = {}
    for label, runs in _select_complete(measured, "test_accuracy_curve").items():
        epochs = np.array(runs[0]["epochs"], float)
        panels = []
        for key, scale in (("train_loss", 1), ("train_accuracy", 100), ("test_accuracy", 100)):
            # None is an epoch without an evaluation.
            values = np.array([run[f"{key}_curve"] for run in runs], float)
            mean = scale * values.mean(axis=0)
            shown = np.isfinite(mean)
            panels.append((epochs[shown].tolist(), mean[shown].tolist()))
        drawn[f"{label}, mean of {_count(runs, 'seed')}"] = panels
    return curves(drawn) if drawn else None


def draw_membranes(measured: Measured) -> "Figure | None":
    """Draw the density of the last layer's membranes at every step (Fig. 4)."""
    from pit_jax.analysis.membrane import Density
    from pit_jax.analysis.plots.membrane import plot_from_above

    drawn = {}
    for label, runs in _select(measured, "membranes").items():
        found = runs[0]["membranes"]
        arrays = {key: np.array(found[key], float) for key in ("at", "density", "mean", "sd")}
        drawn[f"{label}, seed 0"] = Density(
            bandwidth=found["bandwidth"],
            samples=found["samples"],
            apart=np.zeros(len(found["mean"])),
            **arrays,
        )
    return plot_from_above(drawn) if drawn else None


def draw_landscape(measured: Measured) -> "Figure | None":
    """Draw contours of the loss around the weights (Fig. 5)."""
    from pit_jax.analysis.plots.landscape import contour

    found = _select(measured, "landscape")
    if not found:
        return None
    axis = np.array(next(iter(found.values()))[0]["landscape_axis"])
    return contour(
        {
            f"{label}\nseed 0": np.array(runs[0]["landscape"], float)
            for label, runs in found.items()
        },
        axis,
    )


def draw_rates(measured: Measured) -> "Figure | None":
    """Draw mean firing rates over the seeds, by layer and by step (Fig. 6)."""
    from pit_jax.analysis.plots.rates import compare

    found = _select_complete(measured, "rates")
    drawn = {
        f"{label}, mean of {_count(runs, 'seed')}": {
            layer: np.mean([run["rates"][layer] for run in runs], axis=0)
            for layer in runs[0]["rates"]
        }
        for label, runs in found.items()
    }
    samples = min((run["rate_samples"] for runs in found.values() for run in runs), default=0)
    return compare(drawn, samples) if drawn else None


def draw_scales(measured: Measured) -> "Figure | None":
    """Draw median and range of the scales of every layer, before and after training (Fig. 7)."""
    from pit_jax.display import escape_math
    from pit_jax.plots import style

    found = _select(measured, "scales")
    if not found:
        return None
    figure = style.figure(3.8)
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (label, runs) in zip(panels, found.items(), strict=True):
        for key, shift, color, name in (
            ("scale_starts", -0.15, style.GRAY, "before training"),
            ("scales", 0.15, style.COLORS[0], "after training"),
        ):
            layers = list(runs[0].get(key, {}).values())
            if not layers:
                continue
            at = np.arange(1, len(layers) + 1) + shift
            medians = np.array([np.median(a) for a in layers])
            reach = np.abs([[np.min(a), np.max(a)] for a in layers] - medians[:, None])
            axes.errorbar(at, medians, reach.T, fmt="o", ms=4, capsize=2, color=color, label=name)
        axes.set_title(f"{escape_math(label)}, seed 0", fontsize=8, loc="left")
        style.finish(axes, xlabel="neuron layer")
        style.use_integer_ticks(axes.xaxis)
    panels[0].set_ylabel("scale a: median and range of the channels")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def draw_levels(measured: Measured) -> "Figure | None":
    """Draw the share of each integer except 0 that neurons send, a stacked bar for each case."""
    from pit_jax.display import escape_math
    from pit_jax.plots import style

    found = {label: runs[0]["levels"] for label, runs in _select(measured, "levels").items()}
    if not found:
        return None
    figure = style.figure(1.4 + 0.3 * len(found))
    axes = figure.subplots()
    integers = sorted({k for use in found.values() for k in use["integers"]} - {0})
    lefts = np.zeros(len(found))
    for integer, color in zip(integers, style.shades(len(integers)), strict=True):
        shares = [dict(zip(use["integers"], use["shares"], strict=True)) for use in found.values()]
        widths = 100 * np.array([each.get(integer, 0.0) for each in shares])
        axes.barh(np.arange(len(found)), widths, left=lefts, color=color, label=str(integer))
        lefts += widths
    for row, (use, end) in enumerate(zip(found.values(), lefts, strict=True)):
        error = "" if use["rounding_error"] is None else f", {use['rounding_error']:.2f}"
        axes.text(end, row, f" {use['effective']:.2f}{error}", va="center", fontsize=8)
    axes.set_yticks(range(len(found)), list(map(escape_math, found)))
    axes.invert_yaxis()
    axes.margins(x=0.2)
    samples = min(use["samples"] for use in found.values())
    style.finish(
        axes,
        xlabel=f"share of neurons and steps, %: mean of layers, {samples} test samples, seed 0\n"
        "numbers: effective levels, and the rounding error relative to the best single step",
    )
    axes.grid(axis="y", visible=False)
    style.place_legend(axes, title="integer sent")
    return figure


DRAWINGS: Mapping[str, Callable[[Measured], "Figure | None"]] = {
    "learning": draw_learning,
    "membranes": draw_membranes,
    "landscape": draw_landscape,
    "rates": draw_rates,
    "scales": draw_scales,
    "levels": draw_levels,
}


def _select(measured: Measured, key: str) -> dict[str, list[dict[str, Any]]]:
    """Return the runs that have a measure, without cases that have no such run."""
    found = {label: [run for run in runs if key in run] for label, runs in measured.items()}
    return {label: runs for label, runs in found.items() if runs}


def _select_complete(measured: Measured, key: str) -> dict[str, list[dict[str, Any]]]:
    """Return the runs of the cases whose runs all have a measure: no mean hides a missing run."""
    return {
        label: list(runs) for label, runs in measured.items() if all(key in run for run in runs)
    }


def _count(runs: list[dict[str, Any]], what: str) -> str:
    return f"{len(runs)} {what}{'' if len(runs) == 1 else 's'}"
