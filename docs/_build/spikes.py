"""Draw the spikes of the shipped digits network for README: python -m docs._build.spikes"""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

import pit_jax

PICTURE = Path(__file__).parents[1] / "images" / "spikes.png"
INK, PAPER, EMPTY = "#24292f", "#ffffff", "#eef1f4"
# The color of each count, 0 to 4, and of a binary spike.
COUNTS = ListedColormap([EMPTY, *matplotlib.colormaps["viridis_r"](np.linspace(0.2, 0.95, 4))])
SPIKES = ListedColormap([EMPTY, "#0072b2"])


def tile_channels(values: np.ndarray) -> np.ndarray:
    """Return the channels of `values` `[H, W, C]` next to each other, at least twice as wide."""
    height, width, channels = values.shape
    rows = max(r for r in range(1, channels + 1) if channels % r == 0 and 2 * r * r <= channels)
    grid = values.transpose(2, 0, 1).reshape(rows, channels // rows, height, width)
    return grid.transpose(0, 2, 1, 3).reshape(rows * height, -1)


def draw_network(image: np.ndarray, run: Any) -> Figure:
    """Draw an image `[H, W, 1]`, the spikes of each layer, and the answer of the network."""
    program = run.compile()
    counts, slots = program.counts(image[None]), program.trace(image[None])
    (logits,) = np.asarray(program(image[None]))
    num_slots = next(iter(slots.values())).shape[2]
    figure = Figure(figsize=(11, 3.6), facecolor=PAPER, layout="constrained")
    widths = [1.5, *[1.55] * len(counts), 1.2]
    heights = [1.0, *[0.72] * num_slots]
    grid = figure.add_gridspec(
        1 + num_slots, len(widths), width_ratios=widths, height_ratios=heights
    )
    _draw_input(figure.add_subplot(grid[:, 0]), image)
    for column, path in enumerate(counts, start=1):
        layer = np.asarray(counts[path])[0, 0]
        title = f"layer {column}\n{'×'.join(map(str, layer.shape))}"
        axes = figure.add_subplot(grid[0, column])
        _draw_cells(axes, layer, COUNTS, num_slots)
        axes.set_title(title, fontsize=9, color=INK)
        if column == 1:
            _set_label(axes, "trained:\nintegers 0 … 4")
        for slot in range(num_slots):
            axes = figure.add_subplot(grid[1 + slot, column])
            _draw_cells(axes, np.asarray(slots[path])[0, 0, slot], SPIKES, 1)
            if column == 1:
                _set_label(axes, f"{'' if slot else 'inference:'}\nbinary slot {slot + 1}")
    _draw_answer(figure.add_subplot(grid[:, -1]), logits, run.classes)
    return figure


def _draw_cells(axes: Any, layer: np.ndarray, colors: ListedColormap, largest: int) -> None:
    shown: dict[str, Any] = {"cmap": colors, "vmin": 0, "vmax": largest, "interpolation": "nearest"}
    axes.imshow(tile_channels(layer), aspect="auto", **shown)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _set_label(axes: Any, label: str) -> None:
    axes.set_ylabel(label, rotation=0, ha="right", va="center", color=INK, fontsize=9)


def _draw_input(axes: Any, image: np.ndarray) -> None:
    axes.imshow(image[..., 0], cmap="gray_r")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#c9d1d9")
    axes.set_title("pixels\n8×8", fontsize=9, color=INK)


def _draw_answer(axes: Any, logits: np.ndarray, classes: tuple[str, ...]) -> None:
    colors = np.where(np.arange(len(logits)) == logits.argmax(), "#d55e00", "#b6bec7")
    axes.barh(range(len(logits)), logits - logits.min(), color=colors)
    axes.set(xticks=[], yticks=range(len(logits)), yticklabels=classes)
    axes.invert_yaxis()
    axes.yaxis.tick_right()
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_title("logits", fontsize=9, color=INK)


def main() -> None:
    """Write the picture."""
    run = pit_jax.examples.digits()
    images, labels = run.images()
    image = images[np.flatnonzero(labels == 5)[0]]
    content = BytesIO()
    draw_network(image, run).savefig(content, dpi=160)
    # 64 colors are enough, and a fifth of the bytes.
    Image.open(content).convert("RGB").quantize(64).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
