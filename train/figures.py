"""Pictures of a run; every function takes numbers and gives a matplotlib figure."""

from typing import Any

from matplotlib.figure import Figure


def curves(title: str, epochs: list[dict[str, Any]]) -> Figure:
    """Loss and accuracy on training (augmented, as trained) and test images over the epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    at = [record["epoch"] for record in epochs]
    for axes, quantity, scale, label in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), ("loss", "accuracy (%)"), strict=True
    ):
        for split, colour in (("train", "#0072b2"), ("test", "#d55e00")):
            values = [scale * record[f"{split}_{quantity}"] for record in epochs]
            axes.plot(at, values, colour, marker="o", markersize=3, label=split)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def firing_rates(title: str, rates: dict[str, list[float]]) -> Figure:
    """Mean firing rate (mean integer / D) of every neuron layer, a bar for each time step."""
    figure = Figure(figsize=(9, 1.5 + 0.32 * len(rates)), layout="constrained")
    axes = figure.subplots()
    steps = len(next(iter(rates.values())))
    height = 0.8 / steps
    for step in range(steps):
        at = [row + (step - (steps - 1) / 2) * height for row in range(len(rates))]
        values = [100 * layer[step] for layer in rates.values()]
        bars = axes.barh(at, values, height, label=f"t = {step + 1}", color=f"C{step}")
        if steps == 1:
            axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_yticks(range(len(rates)), list(rates))
    axes.invert_yaxis()
    axes.set(xlabel="mean firing rate (% of D, over the test images)")
    axes.set_title(title, loc="left")
    if steps > 1:
        axes.legend()
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.3)
    return figure
