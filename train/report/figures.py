"""Figures of train.report: comparison of runs, metrics, speed, health."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pit_jax.display import escape_math
from pit_jax.plots.style import COLORS, figure, finish, shades, style_run, use_integer_ticks

from ..figures import select_points
from ..monitor.health import LIMITS
from ..run.reading import find_split, select_epochs, select_metrics

# The measures of train.program.probe with their titles, all in percent.
HEALTH = {
    "rate": "firing rate (% of D)",
    "silent": "channels that never fire (%)",
    "saturated": "channels always at D (%)",
    "floor": "scales at their floor (%)",
    "distance": "distance to rounding (% of a step)",
    "flips": "integers changed by a step (%)",
    "oscillating": "changed and changed back (%)",
}
COLUMNS, MOST_NAMED = 3, 16


def comparison(runs: Mapping[str, list[dict[str, Any]]]) -> Figure:
    """Draw loss and accuracy of several runs, by name, over the epochs.

    Dotted curves show training images, the others test images, or validation images if a run has
    some.
    """
    drawn = figure(3.6 + 0.22 * len(runs))
    for axes, quantity, scale, label in zip(
        drawn.subplots(1, 2), ("loss", "accuracy"), (1, 100), ("loss", "accuracy (%)"), strict=True
    ):
        lines: list[Line2D] = []
        for i, records in enumerate(runs.values()):
            style = style_run(i)
            trained = select_points(records, f"train_{quantity}", scale)
            axes.plot(*trained, **style | {"linestyle": ":", "lw": 1})
            evaluated = select_points(records, f"{find_split(records)}_{quantity}", scale)
            lines += axes.plot(*evaluated, marker="o", markersize=3, **style)
        finish(axes, xlabel="epoch", ylabel=label)
        use_integer_ticks(axes.xaxis)
    names = [
        escape_math(name) + " (validation)" * (find_split(records) == "validation")
        for name, records in runs.items()
    ]
    drawn.legend(lines, names, loc="outside lower left", frameon=False)
    return drawn


def metrics(records: list[dict[str, Any]]) -> Figure:
    """Draw each of `config.metrics` over the epochs."""
    split = find_split(records)
    names = dict.fromkeys(
        name for record in select_epochs(records) for name in select_metrics(record)
    )
    rows = -(-len(names) // COLUMNS)
    drawn = figure(0.4 + 2.3 * rows)
    for place, name in enumerate(names, 1):
        axes = drawn.add_subplot(rows, COLUMNS, place)
        axes.plot(*select_points(records, f"{split}_{name}"), COLORS[1], marker="o", markersize=3)
        axes.set_title(escape_math(name), fontsize=9, loc="left")
        _finish_panel(axes)
    return drawn


def throughput(records: list[dict[str, Any]]) -> Figure:
    """Draw the images a second of training over the epochs."""
    drawn = figure(2.4)
    axes = drawn.subplots()
    axes.plot(*select_points(records, "images_per_second"), COLORS[0], marker="o", markersize=3)
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    finish(axes, xlabel="epoch", ylabel="images/s")
    use_integer_ticks(axes.xaxis)
    return drawn


def health(records: list[dict[str, Any]]) -> Figure:
    """Draw each measure over the epochs, with a line for each layer and the limits of its range.

    Every record must have `health`. Earlier layers are darker. Two kinds of measures have no panel:
    those that are always 0, and those that no record has, as the floor of neurons without scales.
    """
    layers, shown = list(records[-1]["health"]), list_drawn(records)
    rows = -(-len(shown) // COLUMNS)
    drawn = figure(0.6 + 2.1 * rows)
    lines: list[Line2D] = []
    for place, measure in enumerate(shown, 1):
        of_layers = [_select(records, measure, layer) for layer in layers]
        lines = _draw_measure(drawn.add_subplot(rows, COLUMNS, place), measure, of_layers)
    # The names of all layers of a deep network would fill the figure.
    named = np.unique(np.linspace(0, len(layers) - 1, MOST_NAMED).round().astype(int))
    drawn.legend(
        [lines[i] for i in named],
        [escape_math(layers[i]) for i in named],
        loc="outside lower left",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return drawn


def list_measures(records: list[dict[str, Any]]) -> list[str]:
    """Return the measures of `HEALTH` that at least one record has."""
    values = _list_layers(records)
    return [name for name in HEALTH if any(each.get(name) is not None for each in values)]


def list_drawn(records: list[dict[str, Any]]) -> list[str]:
    """Return the measures of `list_measures` that are not 0 throughout."""
    values = _list_layers(records)
    return [name for name in HEALTH if any(each.get(name) for each in values)]


def _list_layers(records: list[dict[str, Any]]) -> list[dict[str, float | None]]:
    return [
        layer for record in records if record.get("health") for layer in record["health"].values()
    ]


def _select(
    records: list[dict[str, Any]], measure: str, layer: str
) -> tuple[list[float], list[float]]:
    """Return the epochs at which a measure of a layer has a number, and the numbers in percent."""
    found = [
        {**record, measure: record["health"].get(layer, {}).get(measure)} for record in records
    ]
    return select_points(found, measure, 100)


def _draw_measure(
    axes: Axes, measure: str, of_layers: list[tuple[list[float], list[float]]]
) -> list[Line2D]:
    lines: list[Line2D] = []
    for (at, values), shade in zip(of_layers, shades(len(of_layers)), strict=True):
        lines += axes.plot(at, values, color=shade, marker="o", markersize=2, lw=1)
    largest = max(max(values, default=0) for _, values in of_layers)
    # At least 1 %, because an axis of zeros would have no height; from below 0, because lines of
    # zeros on the frame would look like no data.
    top = 1.1 * max(largest, 1)
    axes.set_ylim(-0.04 * top, top)
    for limit in LIMITS:
        for bound in (limit.least, limit.most):
            if limit.measure == measure and 100 * bound <= top:
                axes.axhline(100 * bound, color=COLORS[1], linestyle="--", lw=1)
    axes.set_title(HEALTH[measure], fontsize=9, loc="left")
    _finish_panel(axes)
    return lines


def _finish_panel(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.set_xlabel("epoch", fontsize=8)
    axes.grid(alpha=0.3)
    use_integer_ticks(axes.xaxis)


def order_layers(found: Mapping[str, np.ndarray], order: Sequence[str]) -> dict[str, np.ndarray]:
    """Return `found` with the layers of `order` first, then all others sorted by name."""
    known = [layer for layer in order if layer in found]
    return {layer: found[layer] for layer in [*known, *sorted(set(found) - set(known))]}
