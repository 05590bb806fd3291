"""Ranges of levels on the membranes of a trained network (Fig. 2)."""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from pit_jax.analysis.plots import quantization as plots
from pit_jax.analysis.quantization import Quantization, compare_ranges
from pit_jax.analysis.recorder import LayerRecording

from .subject import Analysis, Plot, Subject, Table, explain_missing

SAMPLES = 512
TITLE = "Quantization ranges"
# The ranges of Fig. 2, and for comparison the scale of least error.
SHOWN = {"binary": 1, "min_max": 4, "three_sigma": 4, "mse_optimal": 4}
HEADER = (
    *("layer", "step", "levels", "range", "mse", "mse_low", "mse_high"),
    *("error", "error_low", "error_high", "clipped", "effective_levels", "used_levels"),
    *("scale", "scale_spread"),
)
REMARK = (
    "The membranes were recorded with the network's own neurons; it is not run again with "
    "other ranges. Each channel and step has its own scale, computed from the first batch of "
    "test samples. Below 0 all ranges send 0, so errors are those of the positive membranes."
)
ON_MEMBRANES = (
    "Fig. 2 as measured: the membranes of one channel in the first batch, and the levels of "
    "each range. The channel's largest membrane, in standard deviations, is the median of its "
    "layer."
)
AGAINST_LEVELS = (
    "The error, used levels and clipped share of each range, and the spread of its scale "
    "between batches."
)


def analyze(subject: Subject) -> Analysis:
    """Return the measures of six ranges at 1, 2, 4 and 8 levels on recorded membranes."""
    record = subject.record
    batches = (record(subject.variables, x) for x in subject.batches("test", SAMPLES))
    first = next(batches)
    if not first:
        return Analysis(TITLE, [explain_missing("fires integers", subject)])
    found = compare_ranges(chain([first], batches))
    # Fig. 2 shows a single channel; this one is in the middle of the network.
    layer = list(first)[len(first) // 2]
    step, channel = _find_typical(first[layer])
    membrane = np.ravel(np.asarray(first[layer].membrane[:, step, ..., channel]))
    levels = _place_levels(found[layer], step, channel)
    on_membranes = partial(
        plots.plot_on_membranes, membrane, levels, f"{layer}, t = {step + 1}, channel {channel}"
    )
    return Analysis(
        TITLE,
        [REMARK],
        {
            "ranges": Table(HEADER, _make_rows(found)),
            "on_membranes": Table(("membrane", "density"), _bin(membrane)),
            "levels": Table(
                ("range", "level", "potential", "boundary_below"),
                [
                    [name, number, *pair]
                    for name, both in levels.items()
                    for number, pair in enumerate(zip(*both, strict=True), 1)
                ],
            ),
        },
        {
            "on_membranes": Plot(on_membranes, ON_MEMBRANES),
            "against_levels": Plot(partial(plots.plot_against_levels, found), AGAINST_LEVELS),
        },
    )


def _find_typical(recorded: LayerRecording) -> tuple[int, int]:
    """Return the first step, and its channel with the median of max |u| / σ."""
    u = np.asarray(recorded.membrane[:, 0], np.float64).reshape(-1, recorded.membrane.shape[-1])
    outlying = np.abs(u).max(0) / np.maximum(u.std(0), 1e-12)
    return 0, int(np.argsort(outlying)[len(outlying) // 2])


def _place_levels(
    found: Mapping[int, Mapping[str, Quantization]], step: int, channel: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the potentials of each range's levels except 0, and the boundaries below them."""
    levels = {}
    for name, number in SHOWN.items():
        a = found[number][name].scale[step, channel]
        # LIF fires from its threshold on, the others round half up.
        boundary = 1.0 if name == "binary" else 0.5
        counts = np.arange(1, number + 1)
        levels[name] = (a * counts, a * (counts - 1 + boundary))
    return levels


def _bin(membrane: np.ndarray) -> list[list[float]]:
    """Return the center of each bin of the figure, and its density."""
    density, edges = np.histogram(membrane, plots.BINS, density=True)
    middle = (edges[1:] + edges[:-1]) / 2
    return [list(each) for each in zip(middle, density, strict=True)]


def _make_rows(found: Mapping[str, Mapping[int, Mapping[str, Quantization]]]) -> list[list[Any]]:
    return [
        [layer, t + 1, number, name]
        + [float(end[t]) for end in (*one.mse, *one.error)]
        + [float(one.clipped.value[t]), float(one.effective.value[t]), float(one.used[t])]
        + [float(one.scale[t].mean()), float(one.spread[t].mean())]
        for layer, by_levels in found.items()
        for number, by_name in by_levels.items()
        for name, one in by_name.items()
        for t in range(len(one.used))
    ]
