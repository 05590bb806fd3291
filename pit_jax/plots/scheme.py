"""The drawing of the PIT neuron, after the paper's Figure 1."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.text import Text
from numpy.typing import ArrayLike

from pit_jax.checks.bounds import set_bounds, whole
from pit_jax.plots.style import (
    COLORS,
    GRAY,
    get_figure,
    get_ink,
    open_axes,
    read_values,
    use_integer_ticks,
)

# The width of the axes for which texts have their sizes. Other lengths are in hundredths of it.
INCHES = 9.8
WIDE, TALL, ROW = 100.0, 46.0, 38.0
MOST_CHANNELS = len(COLORS)
# Fills on which black text is readable.
PLAIN, SCALED, FIRED = "#a9d6f0", "#f2b38a", "#f4cf7c"
# Text, center and width of each box, and its fill.
BOXES: tuple[tuple[str, float, float, str], ...] = (
    ("weights\n$W$", 14.0, 9.0, PLAIN),
    ("membrane\n$u_t = \\lambda v_{t-1} + I_t$", 33.0, 19.0, PLAIN),
    ("$\\div\\, a_t$", 52.0, 7.0, SCALED),
    ("round,\nclip to 0…D", 66.0, 12.0, FIRED),
    ("$\\times\\, a_t$", 80.0, 7.0, SCALED),
)
# Titles of the histograms, and the left ends of their axes.
PANELS = (
    ("membrane $u$", 5.0),
    ("transformed, $u / a$", 29.0),
    ("count $k$", 53.0),
    ("spike $s = a k$", 77.0),
)
BINS = 40
# The most levels that all have a tick and a slot.
MOST_SLOTS = 8


@set_bounds(levels=whole(1))
def neuron(
    membrane: ArrayLike | None = None,
    scale: ArrayLike | float | int | None = None,
    *,
    levels: int = 4,
    theme: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the PIT neuron (Fig. 1) with distributions of its quantities, and return the figure.

    The scale a divides the membrane before it is rounded to a count, and multiplies the count
    after. Channels have colors. Raises ValueError for more than six channels.

    Args:
        membrane: membranes before firing, `[..., C]`; two normal distributions by default.
        scale: the scale, a number or `[C]`; the initial one of Eq. 12 by default.
        levels: the largest count D.
        theme: light or dark; light by default.
        ax: axes to draw in, instead of a new figure.
    """
    u = _make_example() if membrane is None else _read_membrane(membrane)
    a = _choose_scale(u, levels) if scale is None else _read_scale(scale, u.shape[1])
    with open_axes(ax, theme, width=10.0, height=4.6) as (axes,):
        axes.set(xlim=(0, WIDE), ylim=(0, TALL))
        axes.axis("off")
        _draw_dynamics(axes)
        _draw_distributions(axes, u, a, levels)
        _draw_inference(axes, levels)
        if ax is not None:
            _fit_texts(axes)
    return get_figure(axes)


def _fit_texts(axes: Axes) -> None:
    """Shrink texts in axes that are narrower than those of a figure of `neuron`."""
    share = axes.bbox.width / get_figure(axes).dpi / INCHES
    for text in axes.findobj(Text) if share < 1 else ():
        text.set_fontsize(share * float(text.get_fontsize()))


def _make_example() -> Float[np.ndarray, "N C"]:
    """Return the quantiles of a narrow and of a wide normal distribution."""
    shares = (np.arange(2000) + 0.5) / 2000
    pairs = ((0.2, 0.5), (0.5, 1.5))
    return np.array([[NormalDist(*pair).inv_cdf(p) for pair in pairs] for p in shares])


def _read_membrane(membrane: ArrayLike) -> Float[np.ndarray, "N C"]:
    dims = range(1, max(np.ndim(membrane), 1) + 1)
    u = read_values("membrane", membrane, dims, "[..., C] or [N]")
    u = u[:, None] if u.ndim == 1 else u.reshape(-1, u.shape[-1])
    if u.shape[1] > MOST_CHANNELS:
        raise ValueError(
            f"neuron draws at most {MOST_CHANNELS} channels, got {u.shape[1]}; give some of them, "
            "such as membrane[..., :2] and scale[:2]."
        )
    return u


def _read_scale(scale: ArrayLike | float | int, channels: int) -> Float[np.ndarray, " C"]:
    a = read_values("scale", scale, [0, 1], f"a number or [{channels}]")
    if a.size not in (1, channels):
        raise ValueError(f"scale must be a number or [{channels}], got the shape {a.shape}.")
    if (a <= 0).any():
        raise ValueError(f"scale must be above 0, got {a.min():g}.")
    return np.broadcast_to(a, channels)


def _choose_scale(u: Float[np.ndarray, "N C"], levels: int) -> Float[np.ndarray, " C"]:
    """Return the initial scales of Eq. 12."""
    a = (np.abs(u.mean(0)) + 3 * u.std(0)) / math.sqrt(levels)
    return np.where(a > 0, a, 1.0)


def _draw_dynamics(axes: Axes) -> None:
    """Draw a time step from left to right, and the reset back to the membrane."""
    for text, x, width, fill in BOXES:
        _draw_box(axes, text, x, ROW, width, fill)
    ends = [(x - width / 2, x + width / 2) for _, x, width, _ in BOXES]
    starts = [3.5, *(right for _, right in ends)]
    for start, end in zip(starts, [*(left for left, _ in ends), 96.0], strict=True):
        _draw_arrow(axes, (start, ROW), (end, ROW))
    axes.text(0, ROW + 3, "spikes $s$ of the\nlayer before", fontsize=8, va="bottom")
    axes.text(91, ROW + 1, "$s_t = a_t k_t$", fontsize=9, ha="center", va="bottom")
    # The PIT part.
    left, right, top = ends[2][0] - 1, ends[4][1] + 1, ROW + 6
    axes.plot([left, left, right, right], [top - 1, top, top, top - 1], color=get_ink(), lw=1)
    axes.text(
        *((left + right) / 2, top + 0.5),
        "PIT: a learned scale for each step and channel",
        fontsize=9,
        ha="center",
        va="bottom",
    )
    # The reset.
    back, bottom = ends[4][1] + 2, ROW - 6.5
    x = BOXES[1][1]
    axes.plot([back, back, x], [ROW, bottom, bottom], color=GRAY, lw=1.2)
    _draw_arrow(axes, (x, bottom), (x, ROW - 3.5), GRAY)
    axes.text(60, bottom + 0.4, "soft reset, $v_t = u_t - s_t$", fontsize=9, ha="center")


def _draw_distributions(
    axes: Axes, u: Float[np.ndarray, "N C"], a: Float[np.ndarray, " C"], levels: int
) -> None:
    """Draw histograms of membranes, quotients, counts and spikes, a color for each channel."""
    quotient = u / a
    count = np.clip(np.floor(quotient + 0.5), 0, levels)
    panels = [axes.inset_axes((left, 13, 18, 12), transform=axes.transData) for _, left in PANELS]
    for panel, (title, _) in zip(panels, PANELS, strict=True):
        panel.set_title(title, fontsize=9)
        panel.tick_params(labelsize=7, length=2)
        panel.set_yticks([])
        panel.spines[["left", "right", "top"]].set_visible(False)
    for panel, values in zip(panels[:2], (u, quotient), strict=True):
        edges = np.linspace(values.min(), values.max() + 1e-9, BINS + 1).tolist()
        for channel, color in zip(range(u.shape[1]), COLORS, strict=False):
            panel.hist(values[:, channel], edges, color=color, alpha=0.6)
    # Channels share the counts, so their bars are next to each other; their spikes differ.
    _draw_bars(panels[2], count, 0.8 / len(a), 0.8 / len(a))
    spikes = a * count
    _draw_bars(panels[3], spikes, 0.03 * max(float(np.ptp(spikes)), 1e-9), 0.0)
    # Of many thresholds those within the histogram.
    shown = levels if levels <= MOST_SLOTS else min(levels, math.ceil(quotient.max()))
    for k in range(1, shown + 1):
        panels[1].axvline(k - 0.5, color=get_ink(), lw=0.8, linestyle=":")
    if levels <= MOST_SLOTS:
        panels[2].set_xticks(range(levels + 1))
    else:
        use_integer_ticks(panels[2].xaxis)


def _draw_bars(panel: Axes, values: Float[np.ndarray, "N C"], width: float, shift: float) -> None:
    """Draw how often each channel takes each of its few values, moved by `shift` per channel."""
    middle = (values.shape[1] - 1) / 2
    for channel, color in zip(range(values.shape[1]), COLORS, strict=False):
        places, numbers = np.unique(values[:, channel], return_counts=True)
        at = places + (channel - middle) * shift
        panel.bar(at, numbers, width, color=color, alpha=0.8)


def _draw_inference(axes: Axes, levels: int) -> None:
    """Draw the same spike as the compiled network sends it: binary slots and folded weights."""
    y, side, left = 2.0, 3.2, 33.0
    slots = min(levels, MOST_SLOTS)
    k = max(slots - 1, 1)
    words = f"At inference the count $k$ = {k} is sent as"
    axes.text(left - 1, y + side / 2, words, fontsize=9, ha="right", va="center")
    for slot in range(slots):
        fired = slot < k
        corner = (left + slot * (side - 0.2), y)
        face = FIRED if fired else "none"
        axes.add_patch(Rectangle(corner, side - 0.8, side, fc=face, ec=GRAY, lw=1))
        axes.text(
            corner[0] + (side - 0.8) / 2,
            y + side / 2,
            str(int(fired)),
            fontsize=9,
            ha="center",
            va="center",
            color="black" if fired else get_ink(),
        )
    end = left + slots * (side - 0.2)
    if levels > slots:
        axes.text(end + 0.5, y + side / 2, "…", fontsize=9, va="center")
        end += 2
    axes.text(end + 0.5, y + side / 2, "binary spikes in D slots", fontsize=9, va="center")
    _draw_arrow(axes, (end + 18, y + side / 2), (end + 22, y + side / 2))
    _draw_box(axes, "weights $a W$ of\nthe next layer", end + 29.5, y + side / 2, 15.0, SCALED, 6.0)


def _draw_box(
    axes: Axes, text: str, x: float, y: float, width: float, fill: str, height: float = 7.0
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.8",
            fc=fill,
            ec="none",
        )
    )
    axes.text(x, y, text, fontsize=9, ha="center", va="center", color="black")


def _draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str | None = None
) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "color": color or get_ink(), "lw": 1.2}
    axes.annotate("", end, start, arrowprops=style | {"shrinkA": 0, "shrinkB": 0})
