"""Firing rates of every layer and step, histograms of counts, and synchrony."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pit_jax.analysis.rates import stack_steps
from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names
from pit_jax.plots.layers import MOST_BARS, choose_height, draw_rates
from pit_jax.plots.style import COLORS, figure, finish, style_run, use_integer_ticks

# Panels in a row.
ROW = 4


def plot_over_steps(
    rates: Mapping[str, np.ndarray], intervals: Mapping[str, tuple[np.ndarray, np.ndarray]], n: int
) -> Figure:
    """Draw the rates `[T]` of every layer (Fig. 6): bars with intervals, or many steps as colors.

    The figure of many steps states the largest half width of the intervals.
    """
    means = 100 * stack_steps(rates.values())
    ends = 100 * np.stack([stack_steps(end) for end in zip(*intervals.values(), strict=True)])
    spread = np.abs(ends - means)
    layers, steps = means.shape
    drawn = figure(choose_height(layers, steps))
    axes = drawn.subplots()
    if steps > MOST_BARS:
        draw_rates(axes, means, list(rates), "mean firing rate (% of D)")
        widest = np.nanmax(spread)
        axes.set_xlabel(f"time step; 95 % intervals over {n:,} samples: at most ± {widest:.2g}")
    else:
        label = f"mean firing rate (% of D); bars: 95 % interval over {n:,} samples"
        draw_rates(axes, means, list(rates), label, spread)
    return drawn


def compare(runs: Mapping[str, Mapping[str, np.ndarray]], n: int) -> Figure:
    """Draw the mean rates of several runs by layer and by step."""
    drawn = figure(3.8)
    left, right = drawn.subplots(1, 2)
    for i, (name, rates) in enumerate(runs.items()):
        means = 100 * stack_steps(rates.values())
        layers, steps = means.shape
        style: dict[str, Any] = {"marker": "o", "ms": 4, **style_run(i)}
        left.plot(range(1, layers + 1), np.nanmean(means, 1), label=escape_math(name), **style)
        right.plot(range(1, steps + 1), np.nanmean(means, 0), **style)
    finish(left, xlabel="neuron layer", ylabel=f"firing rate (% of D), {n:,} samples")
    finish(right, xlabel="time step", ylabel="firing rate, mean of the layers (% of D)")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        use_integer_ticks(axes.xaxis)
    drawn.legend(loc="outside lower left", frameon=False, ncols=2)
    return drawn


def integers(histograms: Mapping[str, np.ndarray], values: Sequence[int], n: int) -> Figure:
    """Draw how often each layer sends each count, a panel for each layer."""
    rows = -(-len(histograms) // ROW)
    drawn = figure(0.5 + 1.9 * rows)
    first = None
    for place, (layer, counts) in enumerate(histograms.items()):
        first = axes = drawn.add_subplot(rows, ROW, place + 1, sharey=first)
        bars = axes.bar(list(values), 100 * counts / counts.sum(), color=COLORS[0])
        axes.bar_label(bars, fmt="{:.2g}", fontsize=7)
        axes.set_title(escape_math(layer), fontsize=8, loc="left")
        axes.set_xticks(list(values))
        axes.margins(y=0.15)
        finish(axes)
        axes.tick_params(labelsize=8, labelleft=place % ROW == 0)
    drawn.supxlabel(f"integer sent, over {n:,} samples", fontsize=9)
    drawn.supylabel("% of the layer's", fontsize=9)
    return drawn


def plot_synchrony(found: Mapping[str, tuple[float, int]], n: int) -> Figure:
    """Draw the synchrony chi squared of every layer and 1/N, its value for independent neurons."""
    drawn = figure(1.5 + 0.3 * len(found))
    axes = drawn.subplots()
    rows = np.arange(len(found))
    chi, neurons = (np.array(each, float) for each in zip(*found.values(), strict=True))
    axes.plot(chi, rows, "o", color=COLORS[0], label=f"measured, {n:,} samples")
    axes.plot(1 / neurons, rows, "|", ms=12, mew=2, color=COLORS[1], label="independent, 1/N")
    axes.set_xscale("log")
    axes.set_xlim(right=1)
    axes.set_yticks(rows, list(map(escape_math, found)))
    axes.invert_yaxis()
    finish(axes, xlabel="synchrony chi squared (1: all neurons equal)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return drawn


serve_old_names(__name__)
