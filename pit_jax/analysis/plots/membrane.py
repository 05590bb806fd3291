"""The density of membranes over time steps, as a surface or from above."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pit_jax.analysis.membrane import Density
from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names
from pit_jax.plots.style import COLORS, ORDERED, figure, finish, use_integer_ticks

# Panels in a row, and the share of outermost membranes that are not drawn.
ROW, HIDDEN = 4, 0.002


def surfaces(layers: Mapping[str, Density]) -> Figure:
    """Draw a surface for each layer, or for the same layer of several runs, as in Fig. 4."""
    drawn = figure(4.2, width=max(5.5, 4.2 * len(layers)))
    top = max(each.density.max() for each in layers.values())
    for place, (name, each) in enumerate(layers.items()):
        axes: Any = drawn.add_subplot(1, len(layers), place + 1, projection="3d")
        inside = _find_inside(each)
        steps = np.arange(1, len(each.density) + 1)
        x, y = np.meshgrid(each.at[inside], steps)
        axes.plot_surface(
            *(x, y, each.density[:, inside]),
            cmap=ORDERED,
            vmin=0,
            vmax=top,
            rcount=len(steps),
            ccount=80,
            linewidth=0.2,
            edgecolor="#ffffff60",
        )
        axes.set(xlabel="membrane u", ylabel="time step", zlim=(0, top))
        about = f"n = {each.samples:,}, bandwidth {each.bandwidth:.2g}"
        axes.set_title(f"{escape_math(name)}\n{about}", fontsize=9)
        axes.set_zlabel("density")
        use_integer_ticks(axes.yaxis)
        axes.tick_params(labelsize=7)
        axes.view_init(elev=32, azim=-58)
        axes.set_box_aspect(None, zoom=0.85)
    return drawn


def plot_from_above(layers: Mapping[str, Density]) -> Figure:
    """Draw the densities from above, a panel for each layer; as lines if there is only one step."""
    columns = min(ROW, len(layers))
    rows = -(-len(layers) // columns)
    drawn = figure(0.7 + 2.0 * rows)
    steps = max(len(each.density) for each in layers.values())
    for place, (name, each) in enumerate(layers.items()):
        axes = drawn.add_subplot(rows, columns, place + 1)
        inside = _find_inside(each)
        at, density = each.at[inside], each.density[:, inside]
        if steps == 1:
            axes.fill_between(at, density[0], color=COLORS[0], alpha=0.6, lw=0)
            axes.set_ylim(bottom=0)
            finish(axes)
        else:
            # Edges, because cells around a single step would have no width. Rasterized, because an
            # SVG with a shape for each cell would be large.
            edges = np.arange(len(density) + 1) + 0.5
            half = (each.at[1] - each.at[0]) / 2
            axes.pcolormesh(
                *(edges, np.append(at - half, at[-1] + half), density.T),
                cmap=ORDERED,
                rasterized=True,
            )
            centers = np.arange(len(density)) + 1
            axes.plot(centers, each.mean, color="white", lw=1, marker="o", markersize=2)
            use_integer_ticks(axes.xaxis)
        title = f"{escape_math(name)}\nbandwidth {each.bandwidth:.2g}"
        axes.set_title(title, fontsize=7, loc="left")
        axes.tick_params(labelsize=7)
    samples = min(each.samples for each in layers.values())
    across = "membrane u" if steps == 1 else "time step; lighter is denser, white line: mean"
    drawn.supxlabel(f"{across}; n = {samples:,} samples", fontsize=9)
    drawn.supylabel("density" if steps == 1 else "membrane u", fontsize=9)
    return drawn


def _find_inside(found: Density) -> np.ndarray:
    """Return a mask of the bins without the outermost share `HIDDEN` of the membranes."""
    below = np.cumsum(found.density.mean(axis=0))
    below /= below[-1]
    return (below > HIDDEN / 2) & (below < 1 - HIDDEN / 2)


serve_old_names(__name__)
