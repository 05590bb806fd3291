"""Pictures of train.report: several runs in one, speed, health."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..figures import points
from ..monitor.health import LIMITS

# Of Okabe and Ito's palette, told apart by color-blind people too, on white and on black.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLES = ("-", "--", "-.")
# The measures of train.program.probe, all in per cent.
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
    """Test loss and accuracy of several runs by name, and thin and dotted those of training."""
    figure = Figure(figsize=(9, 3.6 + 0.22 * len(runs)), layout="constrained")
    for axes, quantity, scale, label in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), ("loss", "accuracy (%)"), strict=True
    ):
        lines: list[Line2D] = []
        for i, records in enumerate(runs.values()):
            color, style = COLORS[i % len(COLORS)], STYLES[i // len(COLORS) % len(STYLES)]
            axes.plot(*points(records, f"train_{quantity}", scale), color, linestyle=":", lw=1)
            at, values = points(records, f"test_{quantity}", scale)
            lines += axes.plot(at, values, color, linestyle=style, marker="o", markersize=3)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    figure.legend(lines, list(runs), loc="outside lower left", frameon=False)
    return figure


def throughput(records: list[dict[str, Any]]) -> Figure:
    """Images a second of training, over the epochs."""
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*points(records, "images_per_second"), COLORS[0], marker="o", markersize=3)
    axes.set(xlabel="epoch", ylabel="images/s")
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.grid(alpha=0.3)
    return figure


def health(records: list[dict[str, Any]]) -> Figure:
    """Each measure that has numbers over the epochs, a line for each layer; dashed its range.

    `records` are those that have the measures; layers are darker the earlier they are.
    """
    layers = list(records[-1]["health"])
    shades = matplotlib.colormaps["viridis"](np.linspace(0.15, 0.9, len(layers)))
    found = {
        (measure, layer): [record["health"].get(layer, {}).get(measure) for record in records]
        for measure in HEALTH
        for layer in layers
    }
    numbers = {key: [value for value in line if value is not None] for key, line in found.items()}
    shown = [measure for measure in HEALTH if any(numbers[measure, layer] for layer in layers)]
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(9, 0.6 + 2.1 * rows), layout="constrained")
    lines: list[Line2D] = []
    for place, measure in enumerate(shown):
        axes = figure.add_subplot(rows, COLUMNS, place + 1)
        lines = []
        for layer, shade in zip(layers, shades, strict=True):
            at, values = points(
                [
                    {**record, measure: value}
                    for record, value in zip(records, found[measure, layer], strict=True)
                ],
                measure,
                100,
            )
            lines += axes.plot(at, values, color=shade, marker="o", markersize=2, lw=1)
        largest = 100 * max(max(numbers[measure, layer], default=0) for layer in layers)
        axes.set_ylim(0, top := 1.1 * max(largest, 1))
        for limit in LIMITS:
            for bound in (limit.least, limit.most):
                if limit.measure == measure and 100 * bound <= top:
                    axes.axhline(100 * bound, color="#d55e00", linestyle="--", lw=1)
        axes.set_title(HEALTH[measure], fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.set_xlabel("epoch", fontsize=8)
    named = np.unique(np.linspace(0, len(layers) - 1, MOST_NAMED).round().astype(int))
    figure.legend(
        [lines[i] for i in named],
        [layers[i] for i in named],
        loc="outside lower left",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    return figure


def layers_in_order(found: Mapping[str, np.ndarray], order: Sequence[str]) -> dict[str, np.ndarray]:
    """`found` as the layers run, where that is known; the others behind, by their names."""
    known = [layer for layer in order if layer in found]
    return {layer: found[layer] for layer in [*known, *sorted(set(found) - set(known))]}
