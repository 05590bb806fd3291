"""The figure of benchmarks.event_driven: python -m benchmarks.event_driven_figure

It shows time against firing rate for the network, and for each layer how many times faster it is
than with the quickest dense runtime. The command draws the results in benchmarks/event_driven.json.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pit_jax.plots.style import COLORS, GRAY, figure, finish, style_run

ROOT = Path(__file__).parents[1]
RECORD, PICTURE = ROOT / "benchmarks/event_driven.json", ROOT / "docs/images/event_driven.png"
OWN = "event-driven"
STYLES: dict[str, dict[str, Any]] = {
    OWN: {"color": "#000000", "marker": "o", "markersize": 3, "lw": 1.8},
    "JAX float32": {"color": COLORS[0], "ls": "--"},
    "JAX program.grid": {"color": COLORS[5], "ls": (0, (5, 1, 1, 1))},
    "PyTorch float32": {"color": COLORS[1], "ls": "-."},
    "PyTorch int8": {"color": COLORS[2], "ls": ":"},
}
RATES = (0.001, 0.01, 0.1, 1.0)


def draw(result: dict[str, Any], file: Path) -> None:
    """Write the figure of a result of benchmarks.event_driven."""
    make_figure(result).savefig(file, dpi=110)


def make_figure(result: dict[str, Any]) -> Figure:
    """Return the figure: a column for each batch size, the network above its layers."""
    batches = list(result["network"]["batches"])
    drawn = figure(7.4, width=10.0)
    upper, lower = drawn.subplots(2, len(batches), sharex=True, sharey="row", squeeze=False)
    for batch, above, below in zip(batches, upper, lower, strict=True):
        _draw_network(above, result["network"], batch)
        _draw_layers(below, result["layers"], batch)
        finish(above, title=f"whole network, batch {batch}")
        finish(below, title=f"single layers, batch {batch}", xlabel="inputs that fire")
        below.set_xticks(RATES, [f"{100 * rate:g} %" for rate in RATES])
    upper[0].set_ylabel("µs per call")
    lower[0].set_ylabel("times faster than the\nquickest dense runtime")
    for axes in (upper[0], lower[0]):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    for axes in (upper[-1], lower[-1]):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    drawn.supxlabel(_explain(result), fontsize=7)
    return drawn


def _draw_network(axes: Axes, network: dict[str, Any], batch: str) -> None:
    row = network["batches"][batch]
    curve = sorted(zip(*(row["at other thresholds"][k] for k in ("rate", OWN)), strict=True))
    axes.loglog(*zip(*curve, strict=True), label=OWN, **STYLES[OWN])
    own = row["own rate"], row["microseconds of the quickest tenth"][OWN]
    axes.plot(*own, "o", ms=9, mfc="none", color="black", label="at its own rate", ls="none")
    for name in list(STYLES)[1:]:
        axes.axhline(row["microseconds of the quickest tenth"][name], label=name, **STYLES[name])


def _draw_layers(axes: Axes, layers: dict[str, Any], batch: str) -> None:
    ending = f", batch {batch}"
    names = [name for name in layers if name.endswith(ending)]
    for i, name in enumerate(names):
        row, times = layers[name]["rate"], layers[name]["microseconds"]
        dense = np.min([times[each] for each in STYLES if each != OWN and each in times], axis=0)
        label = name.removesuffix(ending)
        axes.loglog(row, dense / times[OWN], marker="o", ms=3, label=label, **style_run(i))
    axes.axhline(1, color=GRAY, lw=1)


def _explain(result: dict[str, Any]) -> str:
    environment = result["environment"]
    return (
        f"Medians of interleaved rounds on {environment['processor']}; jax {environment['jax']}, "
        f"torch {environment['torch']}, numba {environment['numba']}. Layers: random spikes of 1 "
        "to 4, event-driven in one thread, dense in float32 and int8.\n"
        f"Network: {result['network']['samples']} test images; at other rates its thresholds are "
        "scaled; its times are those of the quickest tenth."
    )


if __name__ == "__main__":
    draw(json.loads(RECORD.read_text()), PICTURE)
