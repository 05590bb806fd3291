"""Operations and energy of every layer and of its quantized twin."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from pit_jax.display import escape_math
from pit_jax.plots.style import COLORS, GRAY, figure, finish, get_ink

BAR = 0.4
PARTS = ("MACs", "accumulations", "neurons and sums")


@dataclass(frozen=True)
class Bars:
    """The bars of a layer and its twin; energies in nJ, `energy` for each of `PARTS`.

    `operations` are MACs and accumulations. The deviations are between samples.
    """

    name: str
    operations: float
    deviation: float
    energy: tuple[float, float, float]
    energy_deviation: float
    memory: float
    twin_operations: float
    twin_energy: float
    twin_memory: float


def energy_of_layers(layers: Sequence[Bars], samples: int) -> Figure:
    """Draw two bars for each layer, its own above its twin's, in three columns."""
    drawn = figure(1.9 + 0.34 * len(layers), width=12.0)
    counts, energies, memories = drawn.subplots(1, 3, sharey=True)
    rows = np.arange(len(layers))
    counts.barh(
        *(rows - BAR / 2, [layer.operations for layer in layers], BAR),
        # A layer has either MACs or accumulations; its color says which.
        color=[COLORS[1 if layer.energy[0] else 0] for layer in layers],
        # NaN draws no line; 0 would draw its two caps.
        xerr=[layer.deviation or np.nan for layer in layers],
        ecolor=get_ink(),
        capsize=2,
    )
    counts.barh(rows + BAR / 2, [layer.twin_operations for layer in layers], BAR, color=GRAY)
    counts.set_xscale("log")  # A layer without operations has no bar.
    counts.set_yticks(rows, [escape_math(layer.name) for layer in layers])
    counts.invert_yaxis()
    finish(counts, xlabel="accumulations and MACs a sample")

    start = np.zeros(len(layers))
    for part, color in zip(range(len(PARTS)), (COLORS[1], COLORS[0], COLORS[4]), strict=True):
        width = np.array([layer.energy[part] for layer in layers])
        energies.barh(rows - BAR / 2, width, BAR, left=start, color=color, label=PARTS[part])
        start = start + width
    spread = [layer.energy_deviation or np.nan for layer in layers]
    energies.errorbar(start, rows - BAR / 2, xerr=spread, fmt="none", ecolor=get_ink(), capsize=2)
    twins = [layer.twin_energy for layer in layers]
    energies.barh(rows + BAR / 2, twins, BAR, color=GRAY, label="quantized twin, dense")
    finish(energies, xlabel="operations (nJ a sample)")

    accesses = [layer.memory for layer in layers]
    memories.barh(rows - BAR / 2, accesses, BAR, color=COLORS[2], label="memory")
    memories.barh(rows + BAR / 2, [layer.twin_memory for layer in layers], BAR, color=GRAY)
    finish(memories, xlabel="memory, nothing reused (nJ a sample)")
    drawn.legend(loc="outside upper center", ncols=5, frameon=False)
    drawn.supxlabel(f"mean of {samples} samples; lines: ± 1 standard deviation between samples")
    return drawn
