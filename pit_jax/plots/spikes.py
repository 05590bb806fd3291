"""Spike rasters."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pit_jax.display import escape_math
from pit_jax.plots.style import (
    COLORS,
    MARKS,
    WIDTH,
    get_figure,
    open_axes,
    read_values,
    use_integer_ticks,
)

# Heights of the axes in inches, and of a mark in points.
LOWEST, HIGHEST = 0.8, 5.0
SMALLEST, LARGEST = 1.5, 14.0


def raster(
    spikes: ArrayLike,
    *,
    title: str = "",
    ylabel: str = "neuron",
    theme: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a mark for each spike of some neurons over time, and return the figure.

    Steps count from 1 and neurons, from below, from 0. Spikes other than 0 and 1 (counts, scaled or
    negative spikes) have colors. Raises ValueError for arrays with more axes.

    Args:
        spikes: `[T, N]`, or `[T]` for one neuron; 0 is no spike.
        title: a title.
        ylabel: the label of the neurons.
        theme: light or dark; light by default.
        ax: axes to draw in, instead of a new figure.
    """
    values = read_values(
        "spikes",
        spikes,
        [1, 2],
        "[T, N] or [T] (of one sample of a layer [B, T, ..., C]: layer[0].reshape(T, -1))",
    )
    values = values.reshape(len(values), -1)
    steps, neurons = values.shape
    height = 1.0 + float(np.clip(0.08 * neurons, LOWEST, HIGHEST))
    with open_axes(ax, theme, height=height, width=WIDTH) as (axes,):
        _draw_marks(axes, values)
        axes.set(xlim=(0.5, steps + 0.5), ylim=(-0.5, neurons - 0.5))
        axes.set(xlabel="time step", ylabel=ylabel)
        axes.set_title(escape_math(title), loc="left")
        use_integer_ticks(axes.xaxis)
        use_integer_ticks(axes.yaxis)
    return get_figure(axes)


def _draw_marks(axes: Axes, values: np.ndarray) -> None:
    at, neuron = np.nonzero(values)
    sent = values[at, neuron]
    drawn = get_figure(axes)
    # 72 points are an inch. A mark fills most of its row, and less than the distance of two steps.
    tall, wide = (
        72 * size / drawn.dpi / number
        for size, number in zip(
            (axes.bbox.height, axes.bbox.width), (values.shape[1], len(values)), strict=True
        )
    )
    size = float(np.clip(0.8 * tall, SMALLEST, LARGEST))
    binary = bool(np.all(sent == 1))
    colors: dict[str, Any] = {"color": COLORS[0]} if binary else {"c": sent, "cmap": MARKS}
    marks = axes.scatter(
        at + 1,
        neuron,
        s=size**2,
        marker="|",
        linewidths=float(np.clip(0.4 * wide, 0.6, 2.5)),
        **colors,
    )
    if not binary:
        bar = drawn.colorbar(marks, ax=axes, label="spike")
        if np.all(sent == sent.round()):
            use_integer_ticks(bar.ax.yaxis)
