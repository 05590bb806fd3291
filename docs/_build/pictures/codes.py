"""The picture of the two codes that send a count as binary spikes, and the table of thresholds."""

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from docs._build.pictures.drawing import INK, MARGIN, SOFT, STYLE, WIDTH, to_svg
from pit_jax.inference.runtime.fixed_point import CODES, FixedNeuron
from pit_jax.surrogate import rectified_round

LEVELS = 4
TITLE = "7. A count as binary spikes in slots"
ON, EDGE = "#e69f00", "#9a9a9a"
# Membranes in units of a, with ties, for which round and floor differ.
MEMBRANES = (-0.6, 0.4, 0.5, 0.9, 1.5, 2.4, 2.5, 3.7, 6.0)
# The compiled neuron computes in integers: here in twentieths of a.
_A = 20


def fire_slots(x: float, code: str, threshold: float = 0.5) -> list[int]:
    """Return the spikes, slot by slot, of a neuron whose membrane is `x` times a."""

    def number(value: float) -> np.ndarray:
        return np.array([[round(value * _A)]], np.int32)

    neuron = FixedNeuron(
        first=number(threshold),
        step=number(1),
        drop=number(1),
        leak=number(0),
        leak_fired=number(0),
        levels=LEVELS,
        guard=0,
        slots=CODES[code](LEVELS),
    )
    current = jnp.asarray(number(x))
    spikes = neuron.fire_slots(neuron.start(current), current, 0)[1]
    return [int(spike) for spike in np.ravel(spikes)]


def make_threshold_table() -> str:
    """Return the counts of a neuron with soft reset: in training, and at thresholds a / 2 and a."""
    rows = [
        "| membrane `u / a` | trained: `clip(round(u / a), 0, 4)` | threshold ½ | threshold 1 |",
        "|--:|--:|---|---|",
    ]
    for x in MEMBRANES:
        count = int(np.clip(rectified_round(jnp.float32(x)), 0, LEVELS))
        half, one = (fire_slots(x, "thermometer", threshold) for threshold in (0.5, 1.0))
        fired = [f"{' '.join(map(str, each))} = {sum(each)}" for each in (half, one)]
        wrong = "" if sum(one) == count else " ✗"
        rows.append(f"| {x} | {count} | {fired[0]} | {fired[1]}{wrong} |")
    return "\n".join(rows) + "\n"


def draw() -> str:
    """Return the SVG: counts over the membrane, and the slots of each count in both codes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 100, 3), dpi=100, facecolor="white")
        whole = figure.add_axes((0, 0, 1, 1))
        whole.set(xlim=(0, WIDTH), ylim=(300, 0))
        whole.axis("off")
        whole.text(MARGIN, 20, TITLE, fontsize=13, fontweight="bold", color=INK, va="center")
        _draw_stairs(figure.add_axes((0.06, 0.17, 0.38, 0.64)))
        for left, code in ((520, "thermometer"), (780, "bitwise")):
            _draw_table(whole, left, code)
        return to_svg(figure, TITLE)


def _draw_stairs(axes: Axes) -> None:
    x = np.arange(-_A, 6 * _A) / _A
    for threshold, style, name in ((0.5, "-", "threshold ½: round"), (1.0, ":", "1: floor")):
        counts = [sum(fire_slots(float(each), "thermometer", threshold)) for each in x]
        color, width = (ON, 2.4) if threshold == 0.5 else (INK, 1.4)
        axes.step(x, counts, style, where="post", color=color, lw=width, label=name)
    axes.set(xlim=(-1, 6), ylim=(-0.2, 4.4), yticks=range(LEVELS + 1))
    axes.set_xlabel("membrane u / a", color=SOFT)
    axes.set_ylabel("count", color=SOFT)
    axes.tick_params(colors=SOFT)
    axes.legend(frameon=False, loc="upper left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_table(axes: Axes, left: float, code: str) -> None:
    worth, size = CODES[code](LEVELS), 26
    axes.text(left, 56, f"{code}: {len(worth)} slots", fontsize=10.5, fontweight="bold", color=INK)
    axes.text(left - 10, 84, "count", fontsize=9, color=SOFT, ha="right", va="center")
    for i, levels in enumerate(worth):
        x = left + (i + 0.5) * size
        axes.text(x, 84, f"{levels}", fontsize=9, color=SOFT, ha="center", va="center")
    axes.text(
        left + len(worth) * size + 8, 84, "levels a spike", fontsize=9, color=SOFT, va="center"
    )
    for count in range(LEVELS + 1):
        y = 98 + count * (size + 6)
        axes.text(
            left - 10, y + size / 2, str(count), fontsize=10, color=INK, ha="right", va="center"
        )
        for i, spike in enumerate(fire_slots(count, code)):
            corner = left + i * size + 2, y
            fill = ON if spike else "white"
            axes.add_patch(Rectangle(corner, size - 4, size, fc=fill, ec=EDGE, lw=1))
            middle = corner[0] + size / 2 - 2, y + size / 2
            axes.text(*middle, str(spike), fontsize=10, color=INK, ha="center", va="center")
