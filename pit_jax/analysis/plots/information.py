"""Information lost by firing, by layer and step, and compared between runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pit_jax.analysis.information import Loss
from pit_jax.analysis.jackknife import Estimate
from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names
from pit_jax.plots.style import GRAY, figure, finish, shades, style_run

# Title and axis of the measures that a figure shows, in the order of its panels.
PANELS = {
    "information": ("Mutual information, given the channel", "I(U; S), bits"),
    "relative": ("Frobenius distance", "‖s − u‖ / ‖u‖"),
    "spike_membrane": ("Kullback-Leibler, spike from membrane", "KL, bits"),
    "variance": ("Variance", "Var(s) / Var(u)"),
}


def plot_by_layer(losses: Mapping[str, Loss], confidence: float = 0.95) -> Figure:
    """Draw four measures of every layer with intervals, a line for each step."""
    drawn = figure(8.2)
    panels = drawn.subplots(2, 2, sharex=True)
    steps = max(len(loss.steps["information"].value) for loss in losses.values())
    for axes, (name, (title, label)) in zip(panels.flat, PANELS.items(), strict=True):
        for t, shade in enumerate(shades(steps)):
            one = [_read_step(loss.steps[name], t) for loss in losses.values()]
            # Steps side by side, so that their intervals do not overlap.
            shift = 0.5 * (t - (steps - 1) / 2) / max(steps, 2)
            _draw_intervals(axes, one, shift, color=shade, label=f"t = {t + 1}")
        finish(axes, title=title, ylabel=label)
    bounds = [loss.bound for loss in losses.values()]
    panels.flat[0].plot(bounds, color=GRAY, linestyle="--", label="at most")
    panels.flat[3].axhline(1, color=GRAY, linestyle="--", label="consistent")
    for axes in panels[1]:
        _name_layers(axes, losses)
    if steps > 1:
        panels.flat[1].legend(fontsize="small", ncols=2)
    panels.flat[0].legend(*_find_reference(panels.flat[0]), fontsize="small")
    panels.flat[3].legend(*_find_reference(panels.flat[3]), fontsize="small")
    _note_samples(drawn, [loss.samples for loss in losses.values()], confidence)
    return drawn


def compare(runs: Mapping[str, Mapping[str, Loss]], confidence: float = 0.95) -> Figure:
    """Draw four measures of every layer, over all steps, for several runs.

    Layers are numbered by their order in each network. Information is the mean of a step.
    """
    drawn = figure(7.2)
    panels = drawn.subplots(2, 2, sharex=True)
    for axes, (name, (title, label)) in zip(panels.flat, PANELS.items(), strict=True):
        for i, (run, losses) in enumerate(runs.items()):
            one = [_average_steps(loss, name) for loss in losses.values()]
            shift = 0.3 * (i - (len(runs) - 1) / 2) / max(len(runs), 2)
            _draw_intervals(axes, one, shift, label=escape_math(run), **style_run(i))
        finish(axes, title=title, ylabel=label)
    panels.flat[3].axhline(1, color=GRAY, linestyle=":")
    deepest = max(map(len, runs.values()))
    for axes in panels[1]:
        axes.set_xticks(range(deepest), [str(i + 1) for i in range(deepest)])
        axes.set_xlabel("neuron layer")
    panels.flat[0].legend(fontsize="small")
    _note_samples(
        drawn, [x.samples for losses in runs.values() for x in losses.values()], confidence
    )
    return drawn


def _average_steps(loss: Loss, name: str) -> tuple[float, float, float]:
    """Return a measure over all steps, or its mean per step if it is a sum over steps."""
    times = len(loss.steps[name].value) if name in ("information", "spike_membrane") else 1
    value, low, high = loss.total[name]
    return float(value) / times, float(low) / times, float(high) / times


def _read_step(estimate: Estimate, t: int) -> tuple[float, float, float]:
    if t >= len(estimate.value):  # This layer runs fewer steps than others.
        return np.nan, np.nan, np.nan
    return float(estimate.value[t]), float(estimate.low[t]), float(estimate.high[t])


def _draw_intervals(
    axes: Axes, ends: Sequence[tuple[float, float, float]], shift: float, **style: Any
) -> None:
    """Draw a line through values with intervals; values that are not finite are not drawn."""
    value, low, high = np.where(np.isfinite(ends), ends, np.nan).T
    error = np.maximum([value - low, high - value], 0)
    axes.errorbar(
        np.arange(len(value)) + shift, value, error, marker="o", markersize=3, capsize=2, **style
    )


def _find_reference(axes: Axes) -> tuple[list[Any], list[str]]:
    """Return handle and label of the reference line; the steps have a separate legend."""
    handles, labels = axes.get_legend_handles_labels()
    # Matplotlib lists lines with intervals after plain lines, so the label decides.
    plain = [i for i, label in enumerate(labels) if not label.startswith("t = ")]
    return [handles[i] for i in plain], [labels[i] for i in plain]


def _name_layers(axes: Axes, layers: Mapping[str, Loss]) -> None:
    names = list(map(escape_math, layers))
    axes.set_xticks(range(len(layers)), names, rotation=40, ha="right", fontsize="small")


def _note_samples(drawn: Figure, samples: Sequence[int], confidence: float) -> None:
    for axes in drawn.axes:
        axes.set_ylim(bottom=0)
    least, most = min(samples), max(samples)
    n = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    drawn.supxlabel(f"{n} samples; bars: {confidence:.0%} intervals over samples", fontsize="small")


serve_old_names(__name__)
