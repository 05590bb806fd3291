"""How often each level is used, and how well the levels fit the membranes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pit_jax.analysis.levels import LevelUse, measure_recorded
from pit_jax.analysis.plots import levels as plots

from .subject import Analysis, Plot, Subject, Table, explain_missing

SAMPLES = 512
TITLE = "Levels"
LAYERS = (
    *("layer", "step", "levels", "effective_levels", "error_ratio", "clipped"),
    *("silent_channels", "saturated_channels"),
)
REMARK = (
    "The effective number of levels is exp(H) for the entropy H of the shares. The error ratio is "
    "the squared rounding error of the positive membranes, divided by the error of the best single "
    "step of the layer: 1 is the best, and runs warn above 3 before their first step. Clipped is "
    "the share of membranes above the top level's cell."
)


def analyze(subject: Subject) -> Analysis:
    """Return the share of each level, the effective number of levels, and the rounding error."""
    found = _measure(subject)
    if not found:
        return Analysis(TITLE, [explain_missing("fires integers", subject)])
    n = _count_samples(found)
    layers = [
        [layer, t + 1, each.levels, each.effective[t], _show(each.error_ratio[t])]
        + [_show(each.clipped[t]), each.silent[t], each.saturated[t]]
        for layer, each in found.items()
        for t in range(len(each.counts))
    ]
    shares = [
        [layer, t + 1, integer, share]
        for layer, each in found.items()
        for t, row in enumerate(each.shares)
        for integer, share in zip(each.integers.tolist(), row, strict=True)
    ]
    return Analysis(
        TITLE,
        [f"On {n:,} test samples, in evaluation mode. {REMARK}"],
        {
            "layers": Table(LAYERS, layers),
            "shares": Table(("layer", "step", "integer", "share"), shares),
        },
        {
            "shares": Plot(
                partial(plots.plot_shares, found, n),
                "How often each integer is sent, over all steps. Next to each bar: the effective "
                "number of levels, and the rounding error relative to the best step.",
            )
        },
    )


def compare(runs: Sequence[Subject]) -> Analysis:
    """Return the use of levels of several runs in one picture."""
    found = {run.name: _measure(run) for run in runs}
    found = {name: layers for name, layers in found.items() if layers}
    if not found:
        return Analysis(TITLE, [explain_missing("fires integers", *runs)])
    n = min(_count_samples(layers) for layers in found.values())
    averages = {name: plots.average_shares(layers) for name, layers in found.items()}
    shares = [
        [name, integer, share]
        for name, (integers, row, _) in averages.items()
        for integer, share in zip(integers, row, strict=True)
    ]
    layers = [
        [name, layer, each.effective.mean(), _show(np.max(each.error_ratio))]
        for name, each_layer in found.items()
        for layer, each in each_layer.items()
    ]
    return Analysis(
        TITLE,
        [f"Unweighted means over layers and steps. {REMARK}"],
        {
            "shares": Table(("run", "integer", "share"), shares),
            "layers": Table(("run", "layer", "effective_levels", "error_ratio"), layers),
        },
        {
            "levels": Plot(
                partial(plots.compare, found, n),
                "How often each integer is sent, mean of all layers, with the effective number of "
                "levels; and the rounding error by layer, the largest of the steps.",
            )
        },
    )


def _measure(subject: Subject) -> dict[str, LevelUse]:
    record, batches = subject.record, subject.batches("test", SAMPLES)
    return measure_recorded(record(subject.variables, x) for x in batches)


def _count_samples(found: Mapping[str, LevelUse]) -> int:
    return next(iter(found.values())).samples


def _show(value: float) -> Any:
    """Return a number, or None for NaN: the cell is empty."""
    return None if np.isnan(value) else value
