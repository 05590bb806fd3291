"""Figures of a run: functions that take numbers and return a matplotlib figure."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from pit_jax.display import escape_math

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Imported by the first figure: that takes a second, which the start of a training need not wait
# for. If it is missing, a program must say so at its start, not after hours at its end.
if find_spec("matplotlib") is None:
    raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

# The most classes for which a confusion matrix has class names, and counts in its cells.
MOST_NAMES, MOST_COUNTS = 40, 12
# The most time steps for which firing rates are bars, and cells of a heat map have numbers.
MOST_BARS, MOST_WRITTEN = 4, 16
RATE = "mean firing rate (% of D, over the test images)"


def select_points(
    records: list[dict[str, Any]], key: str, scale: float = 1
) -> tuple[list[float], list[float]]:
    """Return the fractional epochs at which `key` was recorded, and its values.

    Records without a number at `key` are skipped.
    """
    whole = max(
        (record["step"] / record["epoch"] for record in records if record.get("epoch")), default=1
    )
    found = [(record["step"] / whole, record.get(key)) for record in records if "step" in record]
    numbers = [(at, scale * value) for at, value in found if isinstance(value, (int, float))]
    return [at for at, _ in numbers], [value for _, value in numbers]


def curves(title: str, epochs: list[dict[str, Any]], split: str = "test") -> "Figure":
    """Draw loss and accuracy on augmented training images, and on `split`, over the epochs."""
    figure = _make_figure((9, 3.6))
    figure.suptitle(escape_math(title), x=0.01, ha="left")
    for axes, quantity, scale, label in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), ("loss", "accuracy (%)"), strict=True
    ):
        for name, color in (("train", "#0072b2"), (split, "#d55e00")):
            at, values = select_points(epochs, f"{name}_{quantity}", scale)
            axes.plot(at, values, color, marker="o", markersize=3, label=name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def firing_rates(title: str, rates: dict[str, list[float]]) -> "Figure":
    """Draw the mean firing rate (mean integer / D) of every neuron layer and time step.

    Few time steps are drawn as bars, more as a heat map with numbers.
    """
    figure = _make_figure((9, 1.5 + 0.32 * len(rates)))
    axes = figure.subplots()
    # A layer of a user's own network may run fewer steps than another.
    shares = np.full((len(rates), max(map(len, rates.values()))), np.nan)
    for row, of_steps in zip(shares, rates.values(), strict=True):
        row[: len(of_steps)] = 100 * np.array(of_steps)
    if shares.shape[1] <= MOST_BARS:
        _draw_bars(axes, shares)
    else:
        _draw_shades(axes, shares)
    axes.set_yticks(range(len(rates)), list(map(escape_math, rates)))
    axes.invert_yaxis()
    axes.set_title(escape_math(title), loc="left")
    return figure


def _make_figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _draw_bars(axes: "Axes", shares: np.ndarray) -> None:
    steps = shares.shape[1]
    height = 0.8 / steps
    for step in range(steps):
        at = np.arange(len(shares)) + (step - (steps - 1) / 2) * height
        bars = axes.barh(at, shares[:, step], height, label=f"t = {step + 1}", color=f"C{step}")
        if steps == 1:
            axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set(xlabel=RATE)
    if steps > 1:
        axes.legend()
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.3)


def _draw_shades(axes: "Axes", shares: np.ndarray) -> None:
    steps = shares.shape[1]
    # Not imshow, which becomes pixels in an SVG.
    shades = axes.pcolormesh(shares, cmap="Blues", vmin=0, shading="nearest", linewidth=0)
    axes.set_xticks(range(steps), [str(step + 1) for step in range(steps)])
    axes.set(xlabel=f"time step; cells: {RATE}")
    if steps > MOST_WRITTEN:
        axes.figure.colorbar(shades, ax=axes)
    else:
        for row, step in np.argwhere(np.isfinite(shares)):
            share = shares[row, step]
            color = "white" if share > 0.6 * np.nanmax(shares) else "black"
            axes.text(step, row, f"{share:.1f}", color=color, ha="center", va="center", fontsize=8)


def evaluation(title: str, confusion: list[list[int]], classes: list[str], bins: Any) -> "Figure":
    """Draw the confusion matrix in per cent of each class, and the reliability diagram.

    `bins` come from `train.evaluate.metrics.summarize`.
    """
    figure = _make_figure((11, 5.4))
    figure.suptitle(escape_math(title), x=0.01, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_confusion(left, np.array(confusion), classes)
    _draw_reliability(right, bins)
    return figure


def _draw_confusion(axes: "Axes", counts: np.ndarray, classes: list[str]) -> None:
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.8)
    bar.set_label("% of the class")
    axes.set(xlabel="answer", ylabel="label")
    if len(classes) <= MOST_NAMES:
        names = list(map(escape_math, classes))
        axes.set_xticks(range(len(classes)), names)
        axes.set_yticks(range(len(classes)), names)
        if max(map(len, classes)) > 2:
            for name in axes.get_xticklabels():
                name.set(rotation=45, ha="right", rotation_mode="anchor")
    if len(classes) <= MOST_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 50 else "black"
                axes.text(
                    column, row, f"{count:,}", color=color, ha="center", va="center", fontsize=8
                )


def _draw_reliability(axes: "Axes", bins: list[dict[str, Any]]) -> None:
    with_images = [each for each in bins if each["images"]]
    width = bins[0]["up_to"] - bins[0]["above"]
    at = [100 * (each["above"] + width / 2) for each in with_images]
    total = sum(each["images"] for each in with_images)
    axes.bar(
        at,
        [100 * each["images"] / total for each in with_images],
        100 * width,
        color="0.85",
        edgecolor="white",
        label="share of images",
    )
    axes.plot([0, 100], [0, 100], "0.5", linestyle="--", label="ideal")
    axes.plot(
        [100 * each["confidence"] for each in with_images],
        [100 * each["accuracy"] for each in with_images],
        "#d55e00",
        marker="o",
        label="accuracy",
    )
    axes.set(xlim=(0, 100), ylim=(0, 102), xlabel="confidence (%)", ylabel="%")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=8)
