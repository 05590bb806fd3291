"""Values of every layer at every step: bars for few steps, a heat map for more."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pit_jax.display import escape_math
from pit_jax.plots.style import (
    ORDERED,
    WIDTH,
    choose_ink,
    get_figure,
    get_ink,
    open_axes,
    place_legend,
    read_values,
    shades,
    use_integer_ticks,
)

# The most time steps for which rates are bars, and for which cells have numbers.
MOST_BARS, MOST_WRITTEN = 4, 16


def heatmap(
    counts: Mapping[str, ArrayLike] | ArrayLike,
    *,
    label: str = "spikes per neuron",
    title: str = "",
    theme: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the mean spike count of every layer at every time step, and return the figure.

    Args:
        counts: by the name of each layer its counts `[B, T, ...]`, which are averaged over all axes
            except T, or its means `[T]`; or means `[layers, T]`.
        label: what the colors show.
        title: a title.
        theme: light or dark; light by default.
        ax: axes to draw in, instead of a new figure.
    """
    if isinstance(counts, Mapping):
        names = [str(name) for name in counts]
        means = [_average_layer(str(name), values) for name, values in counts.items()]
    else:
        means = list(read_values("counts", counts, [2], "[layers, T], or a dict of layers"))
        names = [str(row + 1) for row in range(len(means))]
    if not means:
        raise ValueError("counts has no layers.")
    # At least two inches, for the label of the color bar.
    height = max(1.2 + 0.32 * len(names), 2.0)
    with open_axes(ax, theme, height=height, width=WIDTH) as (axes,):
        draw_cells(axes, stack_steps(means), names, label, digits="{:.2g}")
        axes.set_title(escape_math(title), loc="left")
    return get_figure(axes)


def _average_layer(name: str, counts: ArrayLike) -> np.ndarray:
    """Return the means `[T]` of a layer."""
    array = np.asarray(counts)
    values = read_values(name, counts, range(1, max(array.ndim, 1) + 1), "[T] or [B, T, ...]")
    return values if values.ndim == 1 else values.mean((0, *range(2, values.ndim)))


def stack_steps(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Return values `[T]` of layers as one table, NaN after the last step of a layer."""
    table = np.full((len(layers), max(map(len, layers))), np.nan)
    for row, values in zip(table, layers, strict=True):
        row[: len(values)] = values
    return table


def choose_height(layers: int, steps: int) -> float:
    """Return the height of a figure of `draw_rates`, in inches."""
    return 1.4 + (0.22 + 0.06 * steps if steps <= MOST_BARS else 0.32) * layers


def draw_rates(
    axes: Axes,
    percent: np.ndarray,
    names: Sequence[str],
    label: str,
    spread: np.ndarray | None = None,
) -> None:
    """Draw rates `[layers, T]` in percent: bars for few steps, a heat map for more.

    `spread` `[2, layers, T]`, the distances to the ends of an interval, is drawn on bars only.
    """
    if percent.shape[1] > MOST_BARS:
        draw_cells(axes, percent, names, label)
    else:
        _draw_bars(axes, percent, names, label, spread)


def _draw_bars(
    axes: Axes, percent: np.ndarray, names: Sequence[str], label: str, spread: np.ndarray | None
) -> None:
    layers, steps = percent.shape
    height = 0.84 / steps
    for t, shade in enumerate(shades(steps)):
        bars = axes.barh(
            np.arange(layers) + (t - (steps - 1) / 2) * height,
            percent[:, t],
            height,
            xerr=None if spread is None else spread[:, :, t],
            # By default error bars are black, which dark pages hide.
            error_kw={"elinewidth": 0.8, "ecolor": get_ink()},
            color=shade,
            label=f"t = {t + 1}",
        )
        if steps == 1 and spread is None:
            axes.bar_label(bars, fmt="%.1f", padding=3)
    _name_rows(axes, names)
    axes.set_ylim(layers - 0.45, -0.55)
    axes.set_xlabel(label)
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.3)
    if steps > 1:
        place_legend(axes)


def draw_cells(
    axes: Axes,
    table: np.ndarray,
    names: Sequence[str],
    label: str,
    *,
    first: int = 1,
    digits: str = "{:.1f}",
) -> None:
    """Draw a table `[layers, T]` as a heat map with numbers in its cells, NaN as empty cells.

    The first column is step `first`. More columns than `MOST_WRITTEN` have no numbers.
    """
    layers, steps = table.shape
    known = table[np.isfinite(table)]
    # Without numbers, or if all are 0, any range will do.
    low, high = known.min(initial=0), known.max(initial=0) or 1
    cells = axes.pcolormesh(
        np.arange(steps + 1) + first - 0.5,
        np.arange(layers + 1) - 0.5,
        np.ma.masked_invalid(table),
        cmap=ORDERED,
        vmin=low,
        vmax=high,
        linewidth=0,
    )
    _name_rows(axes, names)
    axes.set(xlabel="time step", ylim=(layers - 0.5, -0.5))
    if steps <= MOST_WRITTEN:
        axes.set_xticks(range(first, first + steps))
        for row, column in np.argwhere(np.isfinite(table)):
            value = table[row, column]
            color = choose_ink(matplotlib.colormaps[ORDERED](cells.norm(value)))
            text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": color}
            axes.text(column + first, row, digits.format(value), **text)
    else:
        use_integer_ticks(axes.xaxis)
    get_figure(axes).colorbar(cells, ax=axes, label=label)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(map(escape_math, names)))
