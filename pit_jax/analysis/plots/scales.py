"""The learned scales of every layer, at the start and now (Fig. 7)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from pit_jax.analysis.scales import Spread, measure_spread, measure_spread_by_step
from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names
from pit_jax.plots.style import COLORS, GRAY, figure, finish, get_ink, use_integer_ticks

# Panels in a row.
ROW = 4


def scales(
    last: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray], name: str = "last checkpoint"
) -> Figure:
    """Draw median, middle half and range of every layer's scales at the start and now.

    `name` labels the scales now.
    """
    drawn = [("start", GRAY, first)] if first else []
    drawn.append((escape_math(name), COLORS[0], last))
    whole = figure(1.5 + 0.36 * len(last))
    axes = whole.subplots()
    height = 0.7 / len(drawn)
    for i, (_, color, by_layer) in enumerate(drawn):
        rows = [row for row, layer in enumerate(last) if layer in by_layer]
        axes.bxp(
            [_make_box(measure_spread(by_layer[layer])) for layer in last if layer in by_layer],
            positions=[row + (i - (len(drawn) - 1) / 2) * height for row in rows],
            widths=0.8 * height,
            orientation="horizontal",
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": color, "edgecolor": color, "alpha": 0.6},
            whiskerprops={"color": color},
            capprops={"color": color},
            # Visible even where all scales are equal, and on dark pages.
            medianprops={"color": get_ink()},
        )
    values = np.concatenate([a.ravel() for _, _, layers in drawn for a in layers.values()])
    if values.max() > 20 * values.min():
        axes.set_xscale("log")
        # The default labels are mathematical text, which some pages do not render.
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    names = [f"{escape_math(layer)}, n = {a.size:,}" for layer, a in last.items()]
    axes.set_yticks(range(len(last)), names)
    axes.invert_yaxis()
    axes.set(xlabel="scale a, over channels and steps: median, middle half, range")
    axes.grid(axis="x", alpha=0.3)
    handles = [Patch(color=color, label=label, alpha=0.6) for label, color, _ in drawn]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return whole


def plot_over_steps(
    last: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray], name: str = "last checkpoint"
) -> Figure:
    """Draw median and middle half over channels at each step, a panel for each layer."""
    rows = -(-len(last) // ROW)
    drawn = figure(0.8 + 1.9 * rows)
    for place, layer in enumerate(last):
        axes = drawn.add_subplot(rows, ROW, place + 1)
        # The start is drawn last and dashed, so that it stays visible where no scale has moved.
        for label, color, line, layers in (
            (escape_math(name), COLORS[0], "-", last),
            ("start", COLORS[1], "--", first),
        ):
            if layer not in layers:
                continue
            found = measure_spread_by_step(layers[layer])
            at = range(1, len(found) + 1)
            axes.fill_between(
                at, [s.q1 for s in found], [s.q3 for s in found], color=color, alpha=0.2, lw=0
            )
            axes.plot(at, [s.median for s in found], color=color, linestyle=line, label=label)
        title = f"{escape_math(layer)}, {last[layer].shape[-1]} channels"
        axes.set_title(title, fontsize=7, loc="left")
        axes.set_ylim(bottom=0)
        finish(axes)
        axes.tick_params(labelsize=8)
        use_integer_ticks(axes.xaxis)
    drawn.supxlabel("time step; line: median of the channels, band: middle half", fontsize=9)
    drawn.supylabel("scale a", fontsize=9)
    drawn.legend(*drawn.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return drawn


def _make_box(found: Spread) -> dict[str, Any]:
    names = {"whislo": "least", "q1": "q1", "med": "median", "q3": "q3", "whishi": "largest"}
    return {key: getattr(found, name) for key, name in names.items()}


serve_old_names(__name__)
