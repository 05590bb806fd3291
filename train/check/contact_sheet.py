"""Contact sheets: samples of a data set, raw and augmented, in one picture."""

import textwrap
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

# From the palette of Okabe and Ito, which color-blind people can distinguish.
ON, OFF = np.array([213, 94, 0]) / 255, np.array([0, 114, 178]) / 255
MOST_STEPS = 10


class Samples(NamedTuple):
    """Samples `[N, ...]` as stored, several random augmentations of them, and their labels."""

    raw: np.ndarray
    augmented: list[np.ndarray]
    labels: list[int]


def draw_images(title: str, samples: Samples) -> Figure:
    """Draw images `[N, H, W, C]` in 0..1, a column for each, with the raw images on top."""
    rows = np.stack([to_rgb(images) for images in (samples.raw, *samples.augmented)])
    names = ["raw", *["augmented"] * len(samples.augmented)]
    return _draw(title, rows, names, [f"class {label}" for label in samples.labels])


def draw_frames(title: str, samples: Samples) -> Figure:
    """Draw frames of event counts `[N, T, H, W, 2]`: time to the right, ON orange and OFF blue.

    Frames with another number of channels are summed over them and drawn dark.
    """
    steps = samples.raw.shape[1]
    shown = np.unique(np.linspace(0, steps - 1, min(steps, MOST_STEPS)).round().astype(int))
    rows, names = [], []
    for i, label in enumerate(samples.labels):
        for kind, frames in (("raw", samples.raw), ("augmented", samples.augmented[0])):
            rows.append(color_events(frames[i])[shown])
            names.append(f"class {label}, {kind}")
    if samples.raw.shape[-1] == 2:
        title = f"{title}; ON is orange, OFF blue"
    return _draw(title, np.stack(rows), names, [f"t = {step + 1}" for step in shown])


def to_rgb(images: Float[np.ndarray, "N H W C"]) -> Float[np.ndarray, "N H W 3"]:
    """Return images as RGB; a user's own channels are averaged."""
    if images.shape[-1] not in (1, 3):
        images = images.mean(axis=-1, keepdims=True)
    return np.broadcast_to(np.clip(images, 0, 1), (*images.shape[:-1], 3))


def color_events(frames: Float[np.ndarray, "T H W C"]) -> Float[np.ndarray, "T H W 3"]:
    """Return frames in color on white; a pixel with ON and OFF events is dark."""
    if frames.shape[-1] != 2:
        frames = np.repeat(frames.sum(axis=-1, keepdims=True), 2, axis=-1)
    events = frames[frames > 0]
    # Not the maximum, because a few noisy pixels would make all others pale.
    most = np.percentile(events, 95) if events.size else 1.0
    off, on = np.moveaxis(np.clip(frames / most, 0, 1), -1, 0)[..., None]
    return np.clip(1 - on * (1 - ON) - off * (1 - OFF), 0, 1)


def _draw(
    title: str, tiles: Float[np.ndarray, "R K H W 3"], rows: list[str], columns: list[str]
) -> Figure:
    height, width = tiles.shape[2:4]
    gap = max(1, height // 16)
    # One picture with gray lines. Separate axes for each tile would take seconds to draw.
    framed = np.pad(
        tiles, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), mode="constant", constant_values=0.6
    )
    mosaic = framed.transpose(0, 2, 1, 3, 4).reshape(len(rows) * (height + gap), -1, 3)
    figure = Figure(figsize=(11, 1 + 9.5 * mosaic.shape[0] / mosaic.shape[1]), layout="constrained")
    figure.suptitle(textwrap.fill(title, 110), x=0.01, ha="left", fontsize="medium")
    axes = figure.subplots()
    axes.imshow(mosaic, interpolation="nearest")
    axes.set_yticks([(height + gap) * i + height / 2 for i in range(len(rows))], rows)
    axes.set_xticks([(width + gap) * i + width / 2 for i in range(len(columns))], columns)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
