"""The figure of benchmarks.event_driven: time against firing rate, for a network and layers."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# The palette of Okabe and Ito, which color-blind readers can tell apart, and a dash for each line.
STYLES = {
    "event-driven": {"color": "#000000", "marker": "o", "markersize": 3, "lw": 1.8},
    "JAX float32": {"color": "#0072b2", "ls": "--"},
    "JAX program.grid": {"color": "#56b4e9", "ls": (0, (5, 1, 1, 1))},
    "PyTorch float32": {"color": "#d55e00", "ls": "-."},
    "PyTorch int8": {"color": "#009e73", "ls": ":"},
}


def draw(result: dict[str, Any], file: Path) -> None:
    """Draw a row for each batch size, its first panel for the network."""
    batches = list(result["network"]["batches"])
    names = list(dict.fromkeys(name.rsplit(", batch ", 1)[0] for name in result["layers"]))
    width = (len(names) + 2) // 2
    figure, grid = plt.subplots(
        2 * len(batches), width, figsize=(2.9 * width, 4.6 * len(batches)), sharex=True
    )
    for row, batch in enumerate(batches):
        panels = iter(grid[2 * row : 2 * row + 2].flat)
        _draw_network(next(panels), result["network"], batch)
        for name in names:
            _draw_layer(next(panels), name, result["layers"][f"{name}, batch {batch}"], batch)
        for panel in panels:
            panel.axis("off")
    for panel in grid[:, 0]:
        panel.set_ylabel("microseconds a call")
    for panel in grid[-1]:
        panel.set_xlabel("inputs that fire")
    lines = {line.get_label(): line for panel in grid.flat for line in panel.get_lines()}
    named = [name for name in STYLES if name in lines]
    environment = result["environment"]
    figure.legend([lines[name] for name in named], named, loc="upper center", ncols=len(named))
    figure.text(
        0.5, 0.005,
        f"Medians of interleaved rounds on {environment['processor']}; jax {environment['jax']}, "
        f"torch {environment['torch']}, numba {environment['numba']}. Layers: random spikes of 1 "
        f"to 4, event-driven in one thread. Network: {result['network']['samples']} test images; "
        "\nthe ring is its own rate, at other rates its thresholds are scaled; its times are those "
        "of the quickest tenth.",
        ha="center", fontsize=7,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.02, 1, 0.97))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_network(panel: Any, network: dict[str, Any], batch: str) -> None:
    row = network["batches"][batch]
    curve = sorted(zip(*(row["at other thresholds"][k] for k in ("rate", "event-driven")),
                       strict=True))  # fmt: skip
    panel.loglog(*zip(*curve, strict=True), label="event-driven", **STYLES["event-driven"])
    own = row["own rate"], row["microseconds of the quickest tenth"]["event-driven"]
    panel.plot(*own, "o", ms=9, mfc="none", color="black", label="_")
    for name in list(STYLES)[1:]:
        level = row["microseconds of the quickest tenth"][name]
        panel.axhline(level, label=name, **STYLES[name])
    panel.set_title(f"whole network, batch {batch}", fontsize=9)


def _draw_layer(panel: Any, name: str, row: dict[str, Any], batch: str) -> None:
    for what, style in STYLES.items():
        if what in row["microseconds"]:
            panel.loglog(row["rate"], row["microseconds"][what], label=what, **style)
    panel.set_title(f"{name}, batch {batch}", fontsize=9)
