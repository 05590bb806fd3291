"""Shares of counts that change, over epochs of training and over time steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pit_jax.analysis.rates import stack_steps
from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names
from pit_jax.plots.layers import draw_cells
from pit_jax.plots.style import figure, finish, shades, style_run, use_integer_ticks

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def plot_over_epochs(
    flips: Lines, back: Lines, n: int, groups: Sequence[str] | None = None
) -> Figure:
    """Draw shares (in percent) that changed and changed back at each epoch, a line for each layer.

    Earlier layers are darker. Shares are of the neurons of `n` samples. With `groups`, one for each
    line, the lines are runs, and runs of a group have the same color. Epochs of one training step
    have no counts that changed back, and so no panel of them.
    """
    drawn = figure(3.4 + 0.12 * len(flips))
    names = list(dict.fromkeys(groups or flips))
    styles: list[dict[str, Any]] = [{"color": shade} for shade in shades(len(names))]
    if groups:
        styles = [style_run(i) for i in range(len(names))]
    panels = [
        (lines, label)
        for lines, label in ((flips, "changed"), (back, "changed back"))
        if label == "changed" or any(values for _, values in lines.values())
    ]
    grid = drawn.subplots(1, len(panels), squeeze=False)[0]
    for axes, (lines, label) in zip(grid, panels, strict=True):
        for (name, (at, values)), group in zip(lines.items(), groups or flips, strict=True):
            percent = [100 * value for value in values]
            shown = escape_math(group if groups else name)
            style = styles[names.index(group)]
            # Marks, since a single epoch makes no line.
            axes.plot(at, percent, lw=1.2, marker="o", markersize=2, label=shown, **style)
        # From below 0, because lines of zeros on the frame would look like no data.
        axes.set_ylim(bottom=-0.04 * axes.get_ylim()[1])
        use_integer_ticks(axes.xaxis)
        finish(
            axes,
            xlabel=f"epoch; n = {n:,} samples",
            ylabel=f"integers {label} by its last step (%)",
        )
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    drawn.legend(once.values(), once.keys(), loc="outside lower left", frameon=False, ncols=3)
    return drawn


def plot_over_time(shares: Mapping[str, np.ndarray], n: int) -> Figure:
    """Draw the share of each layer's neurons whose count differs from the step before."""
    table = 100 * stack_steps(shares.values())
    drawn = figure(1.3 + 0.3 * len(table))
    axes = drawn.subplots()
    draw_cells(axes, table, list(shares), "% changed", first=2)
    axes.set(xlabel=f"time step, against the one before; n = {n:,} samples")
    return drawn


serve_old_names(__name__)
