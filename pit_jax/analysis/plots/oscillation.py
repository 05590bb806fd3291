"""Shares of counts that change, over epochs of training and over time steps."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pit_jax.analysis.plots.style import COLORS, LINES, ORDERED, figure, finish, shades
from pit_jax.analysis.rates import stack_steps
from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def plot_over_epochs(
    flips: Lines, back: Lines, n: int, groups: Sequence[str] | None = None
) -> Figure:
    """Draw shares (in per cent) that changed and changed back at each epoch, a line for each layer.

    Earlier layers are darker. Shares are of the neurons of `n` samples. With `groups`, one for each
    line, the lines are runs, and runs of a group have the same color.
    """
    drawn = figure(3.4 + 0.12 * len(flips))
    names = list(dict.fromkeys(groups or flips))
    colors = COLORS if groups else shades(len(names))
    for axes, lines, label in zip(
        drawn.subplots(1, 2), (flips, back), ("changed", "changed back"), strict=True
    ):
        for (name, (at, values)), group in zip(lines.items(), groups or flips, strict=True):
            i = names.index(group)
            style = LINES[i % len(LINES)] if groups else "-"
            percent = [100 * value for value in values]
            axes.plot(
                *(at, percent),
                color=colors[i % len(colors)],
                linestyle=style,
                lw=1.2,
                label=escape_math(group if groups else name),
            )
        axes.set_ylim(bottom=0)
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
    shown = axes.pcolormesh(table, cmap=ORDERED, vmin=0)
    drawn.colorbar(shown, ax=axes, label="% changed")
    axes.set_yticks(np.arange(len(table)) + 0.5, list(map(escape_math, shares)))
    axes.set_xticks(np.arange(table.shape[1]) + 0.5, [str(t + 2) for t in range(table.shape[1])])
    axes.invert_yaxis()
    axes.set(xlabel=f"time step, against the one before; n = {n:,} samples")
    for row, column in np.argwhere(np.isfinite(table)):
        value = table[row, column]
        light = value > 0.6 * np.nanmax(table)
        axes.text(
            column + 0.5,
            row + 0.5,
            f"{value:.1f}",
            ha="center",
            va="center",
            fontsize=7,
            color="black" if light else "white",
        )
    return drawn


serve_old_names(__name__)
