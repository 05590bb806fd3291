"""Ranges of levels on recorded membranes: Fig. 2 as measured, and errors against D."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from pit_jax.analysis.quantization import Quantization
from pit_jax.display import escape_math
from pit_jax.old_names import serve_old_names
from pit_jax.plots.style import COLORS, GRAY, figure, finish, style_run

NAMES = {
    "binary": "binary, threshold 1",
    "min_max": "min-max",
    "three_sigma": "3-sigma, Eq. 12",
    "covering": "3σ / D",
    "lsq": "LSQ",
    "mse_optimal": "least error",
}
MARKERS = "osD^vP"
# In the histogram of membranes.
BINS = 80


def plot_on_membranes(
    membrane: Float[np.ndarray, " N"],
    drawn_levels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    what: str,
) -> Figure:
    """Draw the density of some membranes with the levels and boundaries of each range.

    `drawn_levels` has the potentials of all levels except 0, and the boundaries below them. `what`
    names the membranes in the title.
    """
    drawn = figure(3.4)
    panels = np.atleast_1d(drawn.subplots(1, len(drawn_levels), sharey=True))
    furthest = max(levels.max() for levels, _ in drawn_levels.values())
    right = 1.05 * min(max(furthest, membrane.max()), 2 * membrane.max())
    left = membrane.min() - 0.05 * (right - membrane.min())
    for axes, (name, (levels, boundaries)) in zip(panels, drawn_levels.items(), strict=True):
        axes.hist(membrane, bins=BINS, density=True, color=GRAY)
        for i, level in enumerate([0.0, *levels]):
            axes.axvline(level, color=COLORS[0], label="level" if i == 0 else None)
        for i, boundary in enumerate(boundaries):
            axes.axvline(
                boundary,
                color=COLORS[1],
                linestyle=":",
                label="boundary" if i == 0 else None,
            )
        # Levels far outside would squeeze the histogram, so the title counts them instead.
        beyond = int(np.sum(levels > right))
        title = f"{NAMES.get(name, name)}, D = {len(levels)}"
        finish(
            axes,
            title=f"{title}\n{beyond} levels beyond" if beyond else title,
            xlabel="membrane, potential",
            xlim=(left, right),
        )
    panels[0].set_ylabel("density")
    panels[0].legend(fontsize="small")
    drawn.suptitle(f"{escape_math(what)}, n = {len(membrane):,} membranes", fontsize="medium")
    return drawn


def plot_against_levels(
    found: Mapping[str, Mapping[int, Mapping[str, Quantization]]],
) -> Figure:
    """Draw error, levels in use, clipped share and spread of every range against D.

    Lines are means over layers and steps; bars extend to their minimum and maximum.
    """
    drawn = figure(7.4)
    panels = drawn.subplots(2, 2, sharex=True).flat
    numbers = list(next(iter(found.values())))
    names = list(next(iter(next(iter(found.values())).values())))
    measures = {
        "error of the positive membranes": ("‖s − u‖² / ‖u‖²", lambda one: one.error.value),
        "levels that occur in a channel": ("levels", lambda one: one.used),
        "membranes above the top level's cell": ("share", lambda one: one.clipped.value),
        "spread of the scale between batches": ("standard deviation / mean", _average_spread),
    }
    for axes, (title, (label, measure)) in zip(panels, measures.items(), strict=True):
        for i, name in enumerate(names):
            all_ = [
                np.concatenate([np.ravel(measure(by[number][name])) for by in found.values()])
                for number in numbers
            ]
            mean, least, most = np.array([_summarize(one) for one in all_]).T
            place = np.arange(len(numbers)) + 0.6 * (i - (len(names) - 1) / 2) / len(names)
            axes.errorbar(
                place,
                mean,
                (mean - least, most - mean),
                **style_run(i),
                marker=MARKERS[i % len(MARKERS)],
                markersize=4,
                elinewidth=0.7,
                label=NAMES.get(name, name),
            )
        finish(axes, title=title, ylabel=label)
    panels[0].set_yscale("log")
    for axes in panels[2:]:
        axes.set_xticks(range(len(numbers)), list(map(str, numbers)))
        axes.set_xlabel("levels D")
    panels[1].legend(fontsize="small")
    layers = list(found.values())
    one = next(iter(layers[0][numbers[0]].values()))
    drawn.supxlabel(
        f"{one.samples:,} samples; lines: mean over {len(layers)} layers × {len(one.used)} steps; "
        "bars: the least and the largest of them",
        fontsize="small",
    )
    return drawn


def _summarize(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean, minimum and maximum, without NaN (the spread of a single batch)."""
    known = values[np.isfinite(values)]
    return (known.mean(), known.min(), known.max()) if len(known) else (np.nan,) * 3


def _average_spread(one: Quantization) -> np.ndarray:
    """Return the mean spread over channels, `[T]`."""
    return np.asarray(one.spread.mean(-1))


serve_old_names(__name__)
