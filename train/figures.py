"""Figures of a run: functions that take numbers and return a matplotlib figure.

Sizes and colors are those of `pit_jax.plots.style`, which `train.report` and `train.analyze` share.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from pit_jax.display import escape_math

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The first figure imports matplotlib and pit_jax.plots, which takes a second: training starts
# without it. If matplotlib is missing, a program must fail at its start, not after hours.
if find_spec("matplotlib") is None:
    raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

# The most classes for which a confusion matrix has class names, and counts in its cells.
MOST_NAMES, MOST_COUNTS = 40, 12
RATE = "mean firing rate (% of D, test images)"


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
    from pit_jax.plots import style

    figure = style.figure(3.6)
    figure.suptitle(escape_math(title), x=0.01, ha="left")
    for axes, quantity, scale, label in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), ("loss", "accuracy (%)"), strict=True
    ):
        for name, color in (("train", style.COLORS[0]), (split, style.COLORS[1])):
            at, values = select_points(epochs, f"{name}_{quantity}", scale)
            axes.plot(at, values, color, marker="o", markersize=3, label=name)
        style.finish(axes, xlabel="epoch", ylabel=label)
        style.use_integer_ticks(axes.xaxis)
        axes.legend()
    return figure


def firing_rates(title: str, rates: dict[str, list[float]]) -> "Figure":
    """Draw the mean firing rate (mean integer / D) of every neuron layer and time step.

    Few time steps are drawn as bars, more as a heat map.
    """
    from pit_jax.plots import layers, style

    # A layer of a user's own network may run fewer steps than another.
    percent = 100 * layers.stack_steps([np.asarray(of_steps) for of_steps in rates.values()])
    figure = style.figure(layers.choose_height(*percent.shape))
    axes = figure.subplots()
    layers.draw_rates(axes, percent, list(rates), RATE)
    axes.set_title(escape_math(title), loc="left")
    return figure


def evaluation(title: str, confusion: list[list[int]], classes: list[str], bins: Any) -> "Figure":
    """Draw the confusion matrix in percent of each class, and the reliability diagram.

    `bins` come from `train.evaluate.metrics.summarize`.
    """
    from pit_jax.plots import style
    from pit_jax.plots.names import fit_names

    names = fit_names([escape_math(name) for name in classes])
    figure = style.figure(5.4, width=11.0)
    heading = figure.suptitle(escape_math(title), x=0.01, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_confusion(left, np.array(confusion), names.texts)
    _draw_reliability(right, bins)
    for text in (heading, *left.get_xticklabels(), *left.get_yticklabels()):
        text.set_fontfamily(names.families)
    if names.note and len(classes) <= MOST_NAMES:
        figure.supxlabel(names.note, x=0.01, ha="left", fontsize=9)
    return figure


def _draw_confusion(axes: "Axes", counts: np.ndarray, classes: list[str]) -> None:
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.8)
    bar.set_label("% of the class")
    axes.set(xlabel="answer", ylabel="label")
    if len(classes) <= MOST_NAMES:
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes)
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
    from pit_jax.plots import style

    with_images = [each for each in bins if each["images"]]
    width = bins[0]["up_to"] - bins[0]["above"]
    at = [100 * (each["above"] + width / 2) for each in with_images]
    total = sum(each["images"] for each in with_images)
    axes.bar(
        at,
        [100 * each["images"] / total for each in with_images],
        100 * width,
        color=style.GRAY,
        alpha=0.5,
        edgecolor="none",
        label="share of images",
    )
    axes.plot([0, 100], [0, 100], style.GRAY, linestyle="--", label="ideal")
    axes.plot(
        [100 * each["confidence"] for each in with_images],
        [100 * each["accuracy"] for each in with_images],
        style.COLORS[1],
        marker="o",
        label="accuracy",
    )
    axes.set(xlim=(0, 100), ylim=(0, 102), xlabel="confidence (%)", ylabel="%")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=8)
