"""How the neurons of every layer use their levels, of one run or of several."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pit_jax.analysis.levels import LevelUse
from pit_jax.display import escape_math
from pit_jax.plots.style import (
    GRAY,
    choose_ink,
    figure,
    finish,
    get_ink,
    shades,
    style_run,
    use_integer_ticks,
)

# A share of the bar that has room for its number, in percent.
LEAST_WRITTEN = 4


def plot_shares(found: Mapping[str, LevelUse], n: int) -> Figure:
    """Draw the share of each integer in every layer, over all steps, as stacked bars.

    Next to each bar are the effective number of levels, mean of the steps, and the squared rounding
    error relative to the best single step, the largest of the steps.
    """
    drawn = figure(1.3 + 0.3 * len(found))
    axes = drawn.subplots()
    shares = [each.counts.sum(0) / each.counts.sum() for each in found.values()]
    _stack(axes, [each.integers.tolist() for each in found.values()], shares)
    for row, each in enumerate(found.values()):
        text = f"{each.effective.mean():.2f}"
        if np.isfinite(each.error_ratio).any():
            text += f", error {np.nanmax(each.error_ratio):.1f}×"
        axes.text(101, row, text, va="center", fontsize=8, color=get_ink())
    _name_rows(axes, list(found), n)
    return drawn


def compare(runs: Mapping[str, Mapping[str, LevelUse]], n: int) -> Figure:
    """Draw the use of levels of several runs: shares over all layers, and the error by layer."""
    drawn = figure(2.0 + 0.32 * max(len(runs), 5))
    left, right = drawn.subplots(1, 2, width_ratios=(3, 2))
    averaged = [average_shares(layers) for layers in runs.values()]
    _stack(left, [integers for integers, _, _ in averaged], [shares for _, shares, _ in averaged])
    for row, (_, _, effective) in enumerate(averaged):
        left.text(101, row, f"{effective:.2f}", va="center", fontsize=8, color=get_ink())
    _name_rows(left, list(runs), n)
    for i, layers in enumerate(runs.values()):
        worst = [_find_largest(each.error_ratio) for each in layers.values()]
        right.plot(range(1, len(worst) + 1), worst, marker="o", ms=4, **style_run(i))
    right.axhline(1, color=GRAY, lw=1, ls=":")
    finish(right, xlabel="neuron layer", ylabel="squared error, best step = 1")
    use_integer_ticks(right.xaxis)
    handles, names = right.get_lines()[: len(runs)], list(map(escape_math, runs))
    drawn.legend(handles, names, loc="outside lower left", frameon=False, ncols=4)
    return drawn


def average_shares(layers: Mapping[str, LevelUse]) -> tuple[list[int], np.ndarray, float]:
    """Return the integers of a run, their shares and the effective number of levels.

    Shares and number are unweighted means over layers and steps.
    """
    integers = sorted({k for each in layers.values() for k in each.integers.tolist()})
    shares = np.zeros(len(integers))
    for each in layers.values():
        shares[np.searchsorted(integers, each.integers)] += each.shares.mean(0) / len(layers)
    return integers, shares, float(np.mean([each.effective.mean() for each in layers.values()]))


def _find_largest(ratios: np.ndarray) -> float:
    return float(np.nanmax(ratios)) if np.isfinite(ratios).any() else float("nan")


def _stack(axes: Axes, integers: Sequence[list[int]], shares: Sequence[np.ndarray]) -> None:
    """Draw a bar of 100 % for each row; 0 is gray, larger integers are lighter."""
    known = sorted({k for row in integers for k in row})
    fired = [k for k in known if k]
    colors = dict(zip(fired, shades(len(fired)), strict=True)) | {0: GRAY}
    lefts = np.zeros(len(shares))
    for k in sorted(known, key=lambda k: (k != 0, k)):
        of_k = [dict(zip(*row, strict=True)) for row in zip(integers, shares, strict=True)]
        widths = np.array([100 * found.get(k, 0.0) for found in of_k])
        bars = axes.barh(range(len(widths)), widths, left=lefts, color=colors[k], label=str(k))
        texts = [f"{width:.0f}" if width >= LEAST_WRITTEN else "" for width in widths]
        axes.bar_label(bars, texts, label_type="center", fontsize=7, color=choose_ink(colors[k]))
        lefts += widths


def _name_rows(axes: Axes, names: Sequence[str], n: int) -> None:
    axes.set_yticks(range(len(names)), list(map(escape_math, names)))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    finish(axes, xlabel=f"share of each integer (%), {n:,} samples; right: effective levels")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=9, frameon=False, title="integer")
