"""The style of all figures: sizes, themes, and colors that color-blind readers can tell apart."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from pit_jax.checks.arrays import read_array
from pit_jax.display import show_value
from pit_jax.old_names import serve_old_names

# The palette of Okabe and Ito. All colors here have a contrast of 1.9 or more to the paper of both
# themes, so that a figure can be shown on light and on dark pages.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Without dots, which mark training curves and bounds.
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)))
GRAY = "#999999"
# Rises evenly in lightness: earlier layers and steps are darker, larger values lighter.
ORDERED = "viridis"
# The part of ORDERED whose lines and marks are visible on the paper of both themes.
VISIBLE = (0.25, 0.78)
MARKS = ListedColormap(matplotlib.colormaps[ORDERED](np.linspace(*VISIBLE, 256)))
WIDTH = 9.0
# Ink and paper of each theme; those of the dark pages of train.report.
THEMES = {"light": ("#000000", "#ffffff"), "dark": ("#e3e6ea", "#181b1f")}


class Drawing(Figure):
    """A figure that notebooks show, although pyplot does not manage it."""

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, sizes in inches, with a layout that makes room for labels."""
    return Drawing(figsize=(width, height), layout="constrained")


@contextmanager
def open_axes(
    ax: Any, theme: str | None, *, count: int = 1, columns: int = 1, height: float, width: float
) -> Iterator[list[Axes]]:
    """Yield `count` axes to draw in, with the colors of a theme.

    These are `ax`, one or several axes, or those of a new figure in `columns`, whose theme is light
    by default. Given axes keep their colors unless `theme` is given too. Raises ValueError for an
    unknown theme, for another number of axes, and for anything else than axes.
    """
    if theme is not None and theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(THEMES)}, got {theme!r}.")
    axes: list[Axes] = [] if ax is None else list(np.ravel(np.asarray(ax, object)))
    if wrong := [each for each in axes if not isinstance(each, Axes)]:
        raise ValueError(
            "ax must be axes of matplotlib, as figure.subplots() returns them, got "
            f"{show_value(wrong[0])}."
        )
    if axes and len(axes) != count:
        raise ValueError(f"this figure needs {count} axes, got {len(axes)}; or leave out ax.")
    if not axes:
        theme = theme or "light"
    look: Any = _make_style(*THEMES[theme]) if theme else {}
    with matplotlib.rc_context(look):
        if not axes:
            rows = -(-count // columns)
            grid = list(figure(height, width).subplots(rows, columns, squeeze=False).flat)
            axes, spare = grid[:count], grid[count:]
            for each in spare:
                each.remove()
        before = set(get_figure(axes[0]).axes) - set(axes)
        yield axes
        if theme:
            for each in set(get_figure(axes[0]).axes) - before:
                for part in (each, *each.child_axes):
                    _paint(part, *THEMES[theme])


def _make_style(ink: str, paper: str) -> dict[str, Any]:
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    papers = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    return {
        **dict.fromkeys(inked, ink),
        **dict.fromkeys(papers, paper),
        "axes.titlecolor": "auto",
        "axes.grid": False,
    }


def _paint(axes: Any, ink: str, paper: str) -> None:
    axes.set_facecolor(paper)
    axes.spines[:].set_color(ink)
    # Ticks that matplotlib makes later, when it draws, have the colors that are set here.
    axes.tick_params(which="both", colors=ink)
    titles = [each for each in axes.get_children() if isinstance(each, Text)]
    for label in (axes.xaxis.label, axes.yaxis.label, *set(titles) - set(axes.texts)):
        label.set_color(ink)


def get_figure(axes: Axes) -> Figure:
    """Return the figure that has these axes."""
    return cast(Figure, axes.get_figure(root=True))


def get_ink() -> str:
    """Return the color of text, for marks that must differ from all other colors."""
    return str(matplotlib.rcParams["text.color"])


def choose_ink(color: Any) -> str:
    """Return black or white, whichever has the larger contrast to a color behind the text."""
    return "black" if measure_luminance(color) > 0.179 else "white"


def measure_luminance(color: Any) -> float:
    """Return the relative luminance of a color, 0 for black and 1 for white (WCAG 2.1)."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def shades(count: int) -> Sequence[Any]:
    """Return colors for `count` ordered things, such as layers or steps."""
    return list(matplotlib.colormaps[ORDERED](np.linspace(*VISIBLE, count)))


def style_run(i: int) -> dict[str, Any]:
    """Return color and line style of the i-th run of a comparison, the same in all figures."""
    return {"color": COLORS[i % len(COLORS)], "linestyle": LINES[i % len(LINES)]}


def finish(axes: Axes, **labels: Any) -> None:
    """Set labels, the keywords of `axes.set`, and a faint grid."""
    axes.set(**labels)
    axes.grid(alpha=0.3)


def use_integer_ticks(axis: Axis) -> None:
    """Put ticks at integers only, even for a single epoch or step."""
    # With the default of at least two ticks, an axis from 0.95 to 1.05 has ticks between integers.
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def place_legend(axes: Axes, **options: Any) -> None:
    """Put the legend to the right of the axes, where it covers nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, **options)


def read_values(
    name: str, values: ArrayLike | float | int, dims: Sequence[int], shape: str
) -> np.ndarray:
    """Return an array of finite floats; raise ValueError unless it has one of `dims` dimensions."""
    try:
        # Not in JAX, which has 32 bits.
        array = np.asarray(values)
    except ValueError as error:  # Lists of different lengths.
        raise ValueError(
            f"{name} must be an array of real numbers, got {show_value(values)}."
        ) from error
    found = read_array(name, array).astype(float)
    if found.ndim not in dims or not found.size:
        raise ValueError(f"{name} must be {shape}, got the shape {found.shape}.")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, but has NaN or infinity.")
    return found


serve_old_names(__name__)
