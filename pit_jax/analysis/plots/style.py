"""How all figures of the analyses look: sizes, colors that everyone tells apart, grids."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pit_jax.old_names import serve_old_names

# Okabe and Ito's palette, told apart by color-blind people too, on white and on black.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LINES = ("-", "--", "-.", ":")
GRAY = "#999999"
# Evenly rising in lightness: layers and steps are darker the earlier, and larger values lighter.
ORDERED = "viridis"
WIDTH = 9.0


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure in inches, that makes room for its labels."""
    return Figure(figsize=(width, height), layout="constrained")


def shades(count: int) -> Sequence[Any]:
    """A color for each of `count` things with an order, such as layers or steps."""
    return list(matplotlib.colormaps[ORDERED](np.linspace(0.1, 0.85, count)))


def finish(axes: Axes, **labels: Any) -> None:
    """Labels, as of `axes.set`, and a faint grid."""
    axes.set(**labels)
    axes.grid(alpha=0.3)


serve_old_names(__name__)
