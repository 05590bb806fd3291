"""The contact sheet of predictions: samples, each with its file, class and probability."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pit_jax.display import escape_math, show_name
from pit_jax.plots.names import find_fonts, fit_names

from ..check.contact_sheet import color_events, to_rgb

MOST, COLUMNS = 48, 8
# Characters of a name that fit above a sample.
MOST_CHARACTERS = 18
WIDTH, TEXT = 1.4, 0.42  # Inches of a sample, and of its two lines of text.


class Prediction(NamedTuple):
    """The class of a file and its probability."""

    file: Path
    name: str
    probability: float


def draw_sheet(
    title: str, predictions: Sequence[Prediction], images: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Draw samples `[N, H, W, C]`, or frames `[N, T, H, W, C]` summed over time.

    At most `MOST` are drawn, evenly spaced. Where no font can draw a name, the number of the file
    or of the class is written instead.
    """
    count = min(len(images), MOST)
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    if count < len(images):
        title = f"{title}: {count} of {len(images):,} files"
    files, families = _fit_files(chosen, predictions)
    answers = fit_names(classes)
    answer_of = dict(zip(classes, answers.texts, strict=True))
    if answers.note:
        title = f"{title}\n{answers.note}"
    tiles = _to_tiles(images[chosen])
    height = tiles.shape[1] / tiles.shape[2]
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    # Margins in units of the width of a sample; a single axes for all, because many take seconds.
    gap, room = 0.12, TEXT / WIDTH
    width, length = max(columns, 4) * (1 + gap), rows * (height + room + gap)
    figure = Figure(figsize=(WIDTH * width, WIDTH * length + 0.5), layout="constrained")
    figure.suptitle(escape_math(title), x=0.01, ha="left", fontsize="medium")
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(length, 0), aspect="equal")
    axes.axis("off")
    for place, (at, tile) in enumerate(zip(chosen, tiles, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * (1 + gap), row * (height + room + gap) + room
        axes.imshow(tile, extent=(left, left + 1, top + height, top), interpolation="nearest")
        answer = _shorten(answer_of[predictions[at].name])
        label = f"{_shorten(files[place])}\n{answer}  {predictions[at].probability:.0%}"
        text = axes.text(left, top - 0.03, escape_math(label), fontsize=7, va="bottom")
        text.set_fontfamily([*dict.fromkeys([*families, *answers.families])])
    # imshow sets the limits to those of its picture.
    axes.set(xlim=(0, width), ylim=(length, 0))
    return figure


def _fit_files(
    chosen: np.ndarray, predictions: Sequence[Prediction]
) -> tuple[list[str], list[str]]:
    """Return the names of the chosen files as fonts can draw them, and the fonts."""
    names = [show_name(predictions[at].file.name) for at in chosen]
    families, missing = find_fonts("".join(names))
    rows = [f"file {at + 1}" for at in chosen]
    drawn = [row if missing & set(name) else name for name, row in zip(names, rows, strict=True)]
    return drawn, families


def _to_tiles(images: np.ndarray) -> np.ndarray:
    """Return pictures `[N, H, W, 3]` in 0..1."""
    if images.ndim == 5:
        return np.stack([color_events(frames.sum(axis=0, keepdims=True))[0] for frames in images])
    return to_rgb(images / 255)


def _shorten(name: str) -> str:
    return name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 1]}…"
