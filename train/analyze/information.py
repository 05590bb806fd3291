"""The information lost between membrane and spike (Eqs. 4 and 6), and the ratio of variances."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pit_jax.analysis.information import Loss, information_loss
from pit_jax.analysis.plots import information as plots

from .subject import Analysis, Plot, Subject, Table, explain_missing

SAMPLES = 512
TITLE = "Information loss"
HEADER = ("layer", "step", "measure", "value", "low", "high")


def analyze(subject: Subject) -> Analysis:
    """Return distance, mutual information, divergences and variances of every layer and step."""
    losses = _measure(subject)
    if not losses:
        return Analysis(TITLE, [explain_missing("fires integers", subject)])
    return Analysis(
        TITLE,
        [
            f"On {_count_samples(losses):,} test samples, with 95 % intervals over samples. A "
            "spike is a function of its membrane, so the mutual information is the entropy of the "
            "spike.",
            _describe(losses),
        ],
        {"measures": Table(HEADER, _make_rows(losses))},
        {
            "by_layer": Plot(
                lambda: plots.plot_by_layer(losses),
                "The loss of each layer at each step (Eq. 6). The divergence is from membranes to "
                "spikes, in cells of one level; the opposite one is infinite if membranes are in "
                "cells without spikes, such as those below 0.",
            )
        },
    )


def compare(runs: Sequence[Subject]) -> Analysis:
    """Return the measures of several runs, layer by layer, over all steps."""
    found = {run.name: losses for run in runs if (losses := _measure(run))}
    if not found:
        return Analysis(TITLE, [explain_missing("fires integers", *runs)])
    rows = [
        [run, *row]
        for run, losses in found.items()
        for row in _make_rows(losses)
        if row[1] == "all"
    ]
    return Analysis(
        TITLE,
        [f"{run}: {_describe(losses)}" for run, losses in found.items()],
        {"measures": Table(("run", *HEADER), rows)},
        {
            "by_layer": Plot(
                lambda: plots.compare(found),
                "Each layer over all steps; information and divergence are means per step. If "
                "variances were consistent (Sec. 3.2), the last panel would show 1.",
            )
        },
    )


def _measure(subject: Subject) -> dict[str, Loss]:
    record = subject.record
    batches = (record(subject.variables, x) for x in subject.batches("test", SAMPLES))
    # A network without neuron layers has empty recordings, for which the loss is undefined.
    first = next(batches)
    return information_loss(chain([first], batches)) if first else {}


def _count_samples(losses: Mapping[str, Loss]) -> int:
    return next(iter(losses.values())).samples


def _describe(losses: Mapping[str, Loss]) -> str:
    ratios = [float(loss.total["variance"].value) for loss in losses.values()]
    # Per step: the layers of a user's own network may run different numbers of steps.
    information = [
        float(loss.total["information"].value) / len(loss.steps["information"].value)
        for loss in losses.values()
    ]
    return (
        f"Var(s) / Var(u) over all steps is {min(ratios):.2f} to {max(ratios):.2f} by layer, "
        f"{math.prod(ratios) ** (1 / len(ratios)):.2f} as the geometric mean; a spike of a known "
        f"channel carries {sum(information) / len(information):.2f} bits on average."
    )


def _make_rows(losses: Mapping[str, Loss]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for layer, loss in losses.items():
        for name, each in loss.steps.items():
            rows += [
                [layer, t + 1, name, *(float(end[t]) for end in each)]
                for t in range(len(each.value))
            ]
            rows.append([layer, "all", name, *(float(end) for end in loss.total[name])])
    return rows
