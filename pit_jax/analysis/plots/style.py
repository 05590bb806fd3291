"""The style of all figures: sizes, grids, and colors that color-blind readers can tell apart."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pit_jax.old_names import serve_old_names

# The palette of Okabe and Ito, for color-blind readers too, on white and on black.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LINES = ("-", "--", "-.", ":")
GRAY = "#999999"
# Rises evenly in lightness: earlier layers and steps are darker, larger values lighter.
ORDERED = "viridis"
WIDTH = 9.0


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, sizes in inches, with a layout that makes room for labels."""
    return Figure(figsize=(width, height), layout="constrained")


def shades(count: int) -> Sequence[Any]:
    """Return colors for `count` ordered things, such as layers or steps."""
    return list(matplotlib.colormaps[ORDERED](np.linspace(0.1, 0.85, count)))


def finish(axes: Axes, **labels: Any) -> None:
    """Set labels, the keywords of `axes.set`, and a faint grid."""
    axes.set(**labels)
    axes.grid(alpha=0.3)


serve_old_names(__name__)
