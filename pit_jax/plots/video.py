"""Event frames and images over time, next to each other or as an animation."""

from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float
from matplotlib.animation import FuncAnimation, writers
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from pit_jax.checks.bounds import POSITIVE, set_bounds, whole
from pit_jax.display import escape_math
from pit_jax.paths import read_path
from pit_jax.plots.style import COLORS, get_figure, open_axes, read_values

ON, OFF = COLORS[1], COLORS[0]
MOST_FRAMES = 60
# The writers of matplotlib by the suffixes of files.
WRITERS = {".gif": "pillow", ".mp4": "ffmpeg"}
SHAPE = (
    "[T, H, W, 2] (OFF and ON events), [T, H, W], [T, H, W, 1] or [T, H, W, 3] (of one sample: "
    "frames[0])"
)


@set_bounds(columns=whole(1))
def frames(
    frames: ArrayLike,
    *,
    columns: int = 5,
    title: str = "",
    theme: str | None = None,
    ax: Axes | list[Axes] | None = None,
) -> Figure:
    """Draw the frames of one sample next to each other, and return the figure.

    ON events are orange and OFF events blue, stronger for more events. Frames of one channel are
    drawn in gray, those of three as RGB (integers of 0 to 255, or floats of 0 to 1). All frames
    share one scale. Raises ValueError for other shapes and for more than 60 frames.

    Args:
        frames: `[T, H, W, 2]`, as `pit_jax.events.integrate_by_number` returns them, `[T, H, W]`,
            `[T, H, W, 1]` or `[T, H, W, 3]`.
        columns: the number of frames in a row.
        title: a title.
        theme: light or dark; light by default.
        ax: axes to draw in, one for each frame, instead of a new figure.
    """
    values = _read_frames(frames)
    steps, tall, wide, channels = values.shape
    if steps > MOST_FRAMES:
        raise ValueError(
            f"frames draws at most {MOST_FRAMES} frames, got {steps}; give some of them, such as "
            "frames[::10], or use animate."
        )
    columns = min(columns, steps)
    side, rows = 9.0 / max(columns, 4), -(-steps // columns)
    # The first row has a title, and each frame a line above it.
    size = {"width": side * columns + 1.0, "height": rows * (side * tall / wide + 0.3) + 0.4}
    with open_axes(ax, theme, count=steps, columns=columns, **size) as panels:
        pictures = _paint_frames(values, panels[0])
        for t, (axes, picture) in enumerate(zip(panels, pictures, strict=True), 1):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(f"t = {t}", fontsize=9)
            axes.set(xticks=[], yticks=[])
        if channels == 2:
            _add_legend(panels[columns - 1])
        if title:
            get_figure(panels[0]).suptitle(escape_math(title), x=0.01, ha="left")
    return get_figure(panels[0])


@set_bounds(fps=POSITIVE)
def animate(
    frames: ArrayLike,
    path: str | Path | None = None,
    *,
    fps: float | int = 5.0,
    title: str = "",
    theme: str | None = None,
) -> FuncAnimation:
    """Return an animation of the frames of one sample; write it if a path is given.

    Notebooks show it with `IPython.display.HTML(animation.to_jshtml())`. Raises ValueError for a
    path that ends in neither .gif nor .mp4, and for .mp4 without the program ffmpeg.

    Args:
        frames: `[T, H, W, 2]`, `[T, H, W]`, `[T, H, W, 1]` or `[T, H, W, 3]`, drawn as `frames`
            draws them.
        path: a file that ends in .gif or .mp4; its folder is made if it is missing.
        fps: frames per second.
        title: a title.
        theme: light or dark; light by default.
    """
    values = _read_frames(frames)
    file = None if path is None else read_path(path)
    writer = None if file is None else _find_writer(file)
    steps, tall, wide, channels = values.shape
    with open_axes(None, theme, width=4.0, height=0.6 + 3.0 * tall / wide) as (axes,):
        pictures = _paint_frames(values, axes)
        shown = axes.imshow(pictures[0], interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        label = axes.set_title("", fontsize=9, loc="left")
        if channels == 2:
            _add_legend(axes)

    def show(t: int) -> tuple:
        shown.set_data(pictures[t])
        label.set_text(f"{escape_math(title)}  t = {t + 1} of {steps}".strip())
        return shown, label

    animation = FuncAnimation(get_figure(axes), show, frames=steps, interval=1000 / fps, blit=False)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Matplotlib's type hints allow integers only; its writers take floats too.
        animation.save(str(file), writer=writer, fps=cast(int, fps))
    return animation


def _find_writer(path: Path) -> str:
    """Return the writer of a file; raise ValueError if there is none."""
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"path must end in {' or '.join(WRITERS)}, got {path}.")
    if not writers.is_available(writer):
        raise ValueError(
            f"{path.suffix} needs the program {writer}, which was not found; install it, or give a "
            "path that ends in .gif."
        )
    return writer


def _read_frames(frames: ArrayLike) -> Float[np.ndarray, "T H W C"]:
    """Return frames; those of three channels between 0 and 1."""
    values = read_values("frames", frames, [3, 4], SHAPE)
    values = values[..., None] if values.ndim == 3 else values
    if values.shape[-1] not in (1, 2, 3):
        raise ValueError(f"frames must be {SHAPE}, got the shape {values.shape}.")
    if values.shape[-1] == 3:
        whole = np.issubdtype(np.asarray(frames).dtype, np.integer)
        return np.clip(values / 255 if whole else values, 0, 1)
    return values


def _paint_frames(values: Float[np.ndarray, "T H W C"], axes: Axes) -> np.ndarray:
    """Return frames in colors, `[T, H, W, 3]`, those of events on the color of the axes."""
    if values.shape[-1] == 3:
        return values
    if values.shape[-1] == 1:
        low, high = values.min(), values.max()
        return np.repeat((values - low) / ((high - low) or 1), 3, axis=-1)
    events = values[values > 0]
    # Not the maximum, because a few noisy pixels would make all others pale.
    most = np.percentile(events, 95) if events.size else 1.0
    off, on = np.moveaxis(np.clip(values / most, 0, 1), -1, 0)[..., None]
    *paper, alpha = to_rgba(axes.get_facecolor())
    ground = np.array(paper) if alpha else np.ones(3)
    both = on * (np.array(to_rgb(ON)) - ground) + off * (np.array(to_rgb(OFF)) - ground)
    return np.clip(ground + both, 0, 1)


def _add_legend(axes: Axes) -> None:
    handles = [Patch(color=ON, label="ON"), Patch(color=OFF, label="OFF")]
    # Beyond the axes, and without a frame of their own color.
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
