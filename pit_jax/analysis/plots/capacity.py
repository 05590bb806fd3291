"""The capacity of every layer, by the paper's formula and by exact counts."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pit_jax.display import escape_math
from pit_jax.plots.style import COLORS, figure, finish

# Name, label, marker and its size: both of two equal counts stay visible.
COUNTS = (
    ("trains", "spike trains, (D+1)^(N T)", "s", 9),
    ("values", "values of Eq. 16 or 18", "o", 6),
    ("paper", "paper, T (D+1)^N", "x", 6),
)


def bits_of_layers(layers: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw bits by layer and by the names in `COUNTS`, on a logarithmic axis."""
    drawn = figure(1.6 + 0.32 * len(layers))
    axes = drawn.subplots()
    for (name, label, marker, size), color in zip(COUNTS, COLORS, strict=False):
        bits = [counts[name] for counts in layers.values()]
        axes.plot(
            *(bits, range(len(layers))),
            color=color,
            marker=marker,
            markersize=size,
            fillstyle="none",
            markeredgewidth=1.5,
            linestyle="none",
            label=label,
        )
    axes.set_xscale("log")
    axes.set_yticks(range(len(layers)), list(map(escape_math, layers)))
    axes.invert_yaxis()
    finish(axes, xlabel="capacity of the layer (bits)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return drawn
