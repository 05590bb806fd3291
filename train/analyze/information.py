"""What firing loses between membrane and spike (Eqs. 4 and 6), and the variance it passes on."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pit_jax.analysis.information import Loss, information_loss
from pit_jax.analysis.plots import information as plots
from pit_jax.analysis.recorder import recorder

from .subject import Analysis, Drawn, Table, Trained

SAMPLES = 512
TITLE = "Information loss"
NONE = "No layer of this network fires integers."
HEADER = ("layer", "step", "measure", "value", "low", "high")


def analyze(trained: Trained) -> Analysis:
    """Distance, mutual information, divergences and variances of every layer and step."""
    losses = _losses(trained)
    if not losses:
        return Analysis(TITLE, [NONE])
    return Analysis(
        TITLE,
        [
            f"On {_samples(losses):,} test samples, with 95 % intervals over samples. A spike is a "
            "function of its membrane, so that the mutual information is the spike's entropy.",
            _passed_on(losses),
        ],
        {"measures": Table(HEADER, _rows(losses))},
        {
            "by_layer": Drawn(
                lambda: plots.by_layer(losses),
                "What each layer loses at each step (Eq. 6). The divergence is that of the spikes "
                "from the membranes in cells of one level; that of membranes from spikes is "
                "infinite where membranes lie in cells without spikes, as below 0.",
            )
        },
    )


def compare(runs: Sequence[Trained]) -> Analysis:
    """The measures of several runs, layer by layer, over all steps."""
    found = {run.name: losses for run in runs if (losses := _losses(run))}
    if not found:
        return Analysis(TITLE, [NONE])
    rows = [
        [run, *row] for run, losses in found.items() for row in _rows(losses) if row[1] == "all"
    ]
    return Analysis(
        TITLE,
        [f"{run}: {_passed_on(losses)}" for run, losses in found.items()],
        {"measures": Table(("run", *HEADER), rows)},
        {
            "by_layer": Drawn(
                lambda: plots.compare(found),
                "All steps of each layer, of information and divergence the mean of a step. With "
                "consistent variances the last panel would show 1 (Sec. 3.2).",
            )
        },
    )


def _losses(trained: Trained) -> dict[str, Loss]:
    record = recorder(trained.model)
    batches = (record(trained.variables, x) for x in trained.batches("test", SAMPLES))
    first = next(batches)
    return information_loss(chain([first], batches)) if first else {}


def _samples(losses: Mapping[str, Loss]) -> int:
    return next(iter(losses.values())).samples


def _passed_on(losses: Mapping[str, Loss]) -> str:
    ratios = [float(loss.total["variance"].value) for loss in losses.values()]
    information = [float(loss.total["information"].value) for loss in losses.values()]
    steps = len(next(iter(losses.values())).steps["information"].value)
    return (
        f"Var(s) / Var(u) over all steps is {min(ratios):.2f} to {max(ratios):.2f} by layer, "
        f"{math.prod(ratios) ** (1 / len(ratios)):.2f} as the geometric mean; a spike of a known "
        f"channel tells {sum(information) / len(information) / steps:.2f} bits on average."
    )


def _rows(losses: Mapping[str, Loss]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for layer, loss in losses.items():
        for name, each in loss.steps.items():
            rows += [
                [layer, t + 1, name, *(float(end[t]) for end in each)]
                for t in range(len(each.value))
            ]
            rows.append([layer, "all", name, *(float(end) for end in loss.total[name])])
    return rows
