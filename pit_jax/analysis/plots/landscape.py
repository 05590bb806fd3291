"""Loss landscapes as contours and in perspective; several share one scale."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

from pit_jax.display import escape_math
from pit_jax.plots.style import ORDERED, WIDTH, figure, get_ink

LEVELS = 18
# Smaller losses are drawn as this one, since 0 has no logarithm.
LEAST = 1e-6
DIRECTIONS = ("first direction, x", "second direction, y")


def contour(surfaces: Mapping[str, np.ndarray], axis: np.ndarray) -> Figure:
    """Draw contours of `[side, side]` losses by name, over `axis` in both directions."""
    drawn, across = _make_panels(surfaces)
    surfaces = _clip_losses(surfaces)
    norm = _make_norm(surfaces)
    levels = np.geomspace(norm.vmin, norm.vmax, LEVELS)
    for panel, (name, losses) in zip(across, surfaces.items(), strict=True):
        filled = panel.contourf(axis, axis, losses.T, levels, cmap=ORDERED, norm=norm)
        lines = panel.contour(axis, axis, losses.T, levels, colors="white", linewidths=0.5)
        panel.clabel(lines, levels[::2], fmt="%.2g", fontsize=7)
        panel.plot(0, 0, "+", color="white", markersize=12, markeredgewidth=2)
        panel.set(
            title=escape_math(name), xlabel=DIRECTIONS[0], ylabel=DIRECTIONS[1], aspect="equal"
        )
    bar = drawn.colorbar(filled, ax=across, label="loss, the weights at +", format="%.2g")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    return drawn


def perspective(surfaces: Mapping[str, np.ndarray], axis: np.ndarray) -> Figure:
    """Draw the losses as surfaces whose height is the logarithm of the loss."""
    drawn, across = _make_panels(surfaces, projection="3d")
    surfaces = _clip_losses(surfaces)
    norm = _make_norm(surfaces)
    lowest, highest = np.log10([norm.vmin, norm.vmax])
    x, y = np.meshgrid(axis, axis, indexing="ij")
    middle = len(axis) // 2
    for panel, (name, losses) in zip(across, surfaces.items(), strict=True):
        heights = np.log10(losses)
        panel.plot_surface(
            x, y, heights, cmap=ORDERED, vmin=lowest, vmax=highest, rcount=100, ccount=100
        )
        at = float(heights[middle, middle])
        panel.plot([0, 0], [0, 0], [at, highest], color=get_ink(), linewidth=1, zorder=10)
        panel.text(0, 0, highest, f"{losses[middle, middle]:.2g} at the weights ", ha="right")
        panel.zaxis.set_major_locator(MultipleLocator())
        panel.zaxis.set_major_formatter(FuncFormatter(lambda z, _: f"{10**z:.2g}"))
        panel.set(
            title=escape_math(name), xlabel=DIRECTIONS[0], ylabel=DIRECTIONS[1], zlabel="loss"
        )
        panel.set(xticks=axis[[0, middle, -1]], yticks=axis[[0, middle, -1]])
        panel.set_zlim(lowest, highest)
        panel.view_init(elev=35, azim=-60)
        panel.set_box_aspect(None, zoom=0.85)  # Room for the last label.
    return drawn


def _make_panels(surfaces: Mapping[str, np.ndarray], **kw: Any) -> tuple[Figure, list[Any]]:
    count = len(surfaces)
    drawn = figure(5.0 if count == 1 else 0.9 * WIDTH / count, width=6.5 if count == 1 else WIDTH)
    return drawn, list(drawn.subplots(1, count, squeeze=False, subplot_kw=kw)[0])


def _clip_losses(surfaces: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return losses of at least `LEAST`; those not finite become the largest finite one."""
    most = max(losses[np.isfinite(losses)].max() for losses in surfaces.values())
    return {
        name: np.clip(np.where(np.isfinite(losses), losses, most), LEAST, None)
        for name, losses in surfaces.items()
    }


def _make_norm(surfaces: Mapping[str, np.ndarray]) -> Any:
    every = np.concatenate([losses.ravel() for losses in surfaces.values()])
    # A flat surface needs a range as well.
    return LogNorm(every.min() / 1.01, every.max() * 1.01)
