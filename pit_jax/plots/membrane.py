"""Traces of membranes over time, with what they are compared to and what they fire."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pit_jax.checks.bounds import Interval, set_bounds
from pit_jax.display import escape_math
from pit_jax.plots.style import (
    COLORS,
    GRAY,
    WIDTH,
    get_figure,
    open_axes,
    read_values,
    use_integer_ticks,
)

MOST_NEURONS = 12
# The most levels that have a label.
MOST_NAMED = 8


@set_bounds(levels=Interval(1, whole=True, optional=True))
def trace(
    membrane: ArrayLike,
    spikes: ArrayLike | None = None,
    *,
    scale: ArrayLike | float | int = 1.0,
    levels: int | None = None,
    thresholds: ArrayLike | float | int = (),
    title: str = "",
    theme: str | None = None,
    ax: Axes | list[Axes] | None = None,
) -> Figure:
    """Draw membranes before firing over time, a panel for each neuron, and return the figure.

    `levels` draws the level `scale * k` of each count k, and between two levels the membrane
    `scale * (k - 1/2)` from which on a neuron that rounds (PIT, I-LIF) fires k. For a neuron that
    does not round give `thresholds`, such as 1.0 for LIF. Raises ValueError for shapes that differ
    and for more than 12 neurons.

    Args:
        membrane: `[T]`, or `[T, N]` for several neurons.
        spikes: what they fire, in the shape of `membrane`; those that are not 0 have a mark.
        scale: the scale a, broadcast against `membrane`: a number, `[N]`, `[T]` or `[T, N]`.
        levels: the largest count D.
        thresholds: further membranes at which the neurons fire, the same at all steps.
        title: a title.
        theme: light or dark; light by default.
        ax: axes to draw in, one for each neuron, instead of a new figure.
    """
    shape = "[T] or [T, N] (of one sample of a layer [B, T, ..., C]: layer[0, :, ..., :4])"
    u = read_values("membrane", membrane, [1, 2], shape)
    neurons = u[0].size
    if neurons > MOST_NEURONS:
        raise ValueError(
            f"trace draws at most {MOST_NEURONS} neurons, got {neurons}; give some of them, such "
            "as membrane[:, :4]."
        )
    s = np.zeros_like(u) if spikes is None else read_values("spikes", spikes, [u.ndim], shape)
    if s.shape != u.shape:
        raise ValueError(f"spikes must have the membrane's shape {u.shape}, got {s.shape}.")
    a = _broadcast(scale, u).reshape(len(u), -1)
    fixed = np.empty(0)
    if np.size(thresholds):
        fixed = np.atleast_1d(read_values("thresholds", thresholds, [0, 1], "a number or [K]"))
    height = 0.9 + (2.2 if neurons == 1 else 1.5) * neurons
    with open_axes(ax, theme, count=neurons, height=height, width=WIDTH) as panels:
        for i, axes in enumerate(panels):
            _draw_levels(axes, a[:, i], levels, fixed)
            _draw_neuron(axes, u.reshape(len(u), -1)[:, i], s.reshape(len(u), -1)[:, i])
            axes.set(ylabel="membrane u" if neurons == 1 else f"u of neuron {i}")
            axes.set_xlim(0.5, len(u) + 0.5)
            axes.grid(axis="x", alpha=0.3)  # A horizontal one would hide thresholds.
            use_integer_ticks(axes.xaxis)
        panels[0].set_title(escape_math(title), loc="left")
        panels[-1].set_xlabel("time step")
        # Above, because the counts are to the right.
        panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    return get_figure(panels[0])


def _broadcast(scale: ArrayLike | float | int, u: np.ndarray) -> np.ndarray:
    a = read_values("scale", scale, range(u.ndim + 1), "a number or an array like the membrane")
    try:
        return np.broadcast_to(a, u.shape)
    except ValueError:
        raise ValueError(
            f"scale must broadcast against the membrane's shape {u.shape}, got the shape {a.shape}."
        ) from None


def _draw_levels(axes: Axes, a: np.ndarray, levels: int | None, fixed: np.ndarray) -> None:
    """Draw levels and thresholds as lines; where the scale changes with the step, they do too."""
    steps = np.arange(len(a)) + 1.0
    for k in range(0 if levels is None else levels + 1):
        ends = steps - 0.5, steps + 0.5
        axes.hlines(a * k, *ends, color=GRAY, lw=1, label="" if k else "level a k")
        if k:
            axes.hlines(
                *(a * (k - 0.5), *ends),
                color=COLORS[1],
                lw=1,
                linestyles=":",
                label="threshold" if k == 1 else "",
            )
        if levels is not None and levels <= MOST_NAMED:
            axes.annotate(
                f" k = {k}",
                (len(a) + 0.5, a[-1] * k),
                va="center",
                fontsize=7,
                annotation_clip=False,
            )
    for i, value in enumerate(fixed):
        named = i or levels is not None
        axes.axhline(
            value, color=COLORS[1], lw=1.5, linestyle=":", label="" if named else "threshold"
        )


def _draw_neuron(axes: Axes, u: np.ndarray, s: np.ndarray) -> None:
    steps, fired = np.arange(len(u)) + 1, s != 0
    axes.plot(steps, u, color=COLORS[0], marker="o", ms=3.5, lw=1.2, label="membrane u")
    if fired.any():
        marks: dict[str, Any] = {"marker": "^", "s": 45, "color": COLORS[2], "zorder": 3}
        axes.scatter(steps[fired], s[fired], label="spike s", **marks)
