"""The memory of a training step by part, and its activations by layer."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure

from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names
from pit_jax.plots.style import COLORS, figure, finish, get_ink

MIB = 2**20
NOTHING: Mapping[str, int] = MappingProxyType({})


def parts(
    steps: Mapping[str, Mapping[str, int]], title: str, measured: Mapping[str, int] = NOTHING
) -> Figure:
    """Draw a bar of parts (bytes by name) for each step, and marks at `measured` peaks."""
    drawn = figure(1.5 + 0.4 * len(steps))
    axes = drawn.subplots()
    names = list(dict.fromkeys(name for sizes in steps.values() for name in sizes))
    left = np.zeros(len(steps))
    for name, color in zip(names, COLORS, strict=False):
        widths = np.array([sizes[name] / MIB for sizes in steps.values()])
        axes.barh(range(len(steps)), widths, left=left, color=color, label=escape_math(name))
        left += widths
    for row, total in enumerate(left):
        label = f"{total:,.0f}" if total >= 100 else f"{total:.3g}"
        axes.annotate(label, (total, row), (6, 0), textcoords="offset points", va="center")
    rows = [row for row, step in enumerate(steps) if step in measured]
    if rows:
        peaks = [measured[step] / MIB for step in steps if step in measured]
        axes.scatter(peaks, rows, marker="|", s=250, c=get_ink(), lw=3, label="measured peak")
    axes.set_yticks(range(len(steps)), list(map(escape_math, steps)))
    axes.invert_yaxis()
    axes.margins(x=0.13)
    axes.set_axisbelow(True)
    finish(axes, title=escape_math(title), xlabel="MiB of a training step")
    drawn.legend(loc="outside lower center", ncols=4)
    return drawn


def plot_by_layer(layers: Mapping[str, int], title: str) -> Figure:
    """Draw the bytes of activations of each layer or block, in the order in which they run."""
    drawn = figure(1.2 + 0.3 * len(layers))
    axes = drawn.subplots()
    bars = axes.barh(range(len(layers)), [size / MIB for size in layers.values()], color=COLORS[0])
    axes.bar_label(bars, fmt="{:,.3g}", padding=3)
    axes.set_yticks(range(len(layers)), list(map(escape_math, layers)))
    axes.invert_yaxis()
    axes.margins(x=0.13)
    axes.set_axisbelow(True)
    finish(axes, title=escape_math(title), xlabel="MiB kept for the backward pass")
    return drawn


serve_old_names(__name__)
