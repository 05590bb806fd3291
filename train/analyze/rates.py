"""Firing rates of every layer and step, silent channels, and synchrony."""

from collections.abc import Mapping, Sequence

import numpy as np

from pit_jax.analysis.plots import rates as plots
from pit_jax.analysis.rates import FiringStatistics, interval, measure_firing, stack_steps

from .subject import Analysis, Plot, Subject, Table, explain_missing

SAMPLES = 512
TITLE = "Firing rates"
SYNCHRONY = (
    "Synchrony is Golomb and Rinzel's chi squared: the variance over samples and steps of a "
    "layer's mean count, divided by the mean of its neurons' variances. It is 1 for identical "
    "neurons and 1/N on average for independent ones."
)


LAYERS = (
    *("layer", "neurons", "channels", "silent_channels", "saturated_channels"),
    *("synchrony", "synchrony_if_independent"),
)


def analyze(subject: Subject) -> Analysis:
    """Return rates with their intervals, integers, silent and saturated channels, synchrony."""
    found = _measure(subject)
    if not found:
        return Analysis(TITLE, [explain_missing("fires integers", subject)])
    n = len(next(iter(found.values())).per_sample)
    means, ends = _average(found), {name: interval(each.per_sample) for name, each in found.items()}
    values, counts = _align_integers(found)
    synchrony = {name: (each.synchrony, each.neurons) for name, each in found.items()}
    return Analysis(
        TITLE,
        [f"On {n:,} test samples, in evaluation mode. {SYNCHRONY}"],
        _make_tables(found, means, ends),
        {
            "rates": Plot(
                lambda: plots.plot_over_steps(means, ends, n),
                "Mean count over D of every neuron layer and step, with Student's 95 % interval of "
                "the mean over samples (Fig. 6).",
            ),
            "integers": Plot(
                lambda: plots.integers(counts, values, n),
                "How often the neurons of each layer send each count, over samples and steps.",
            ),
            "synchrony": Plot(
                lambda: plots.plot_synchrony(synchrony, n),
                "How much the neurons of a layer fire together.",
            ),
        },
    )


def _make_tables(
    found: Mapping[str, FiringStatistics],
    means: Mapping[str, np.ndarray],
    ends: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Table]:
    """Return tables of rates by layer and step, of channels, and of counts sent."""
    steps = [
        [
            name,
            t + 1,
            means[name][t],
            ends[name][0][t],
            ends[name][1][t],
            each.per_sample[:, t].std(ddof=1),
        ]
        for name, each in found.items()
        for t in range(len(means[name]))
    ]
    layers = [
        [name, each.neurons, len(each.silent), each.silent.sum(), each.saturated.sum()]
        + [each.synchrony, 1 / each.neurons]
        for name, each in found.items()
    ]
    values, aligned = _align_integers(found)
    counts = [[name, *each] for name, each in aligned.items()]
    return {
        "rates": Table(("layer", "step", "rate", "low", "high", "sd_over_samples"), steps),
        "layers": Table(LAYERS, layers),
        "integers": Table(("layer", *(f"sent_{k}" for k in values)), counts),
    }


def _align_integers(
    found: Mapping[str, FiringStatistics],
) -> tuple[list[int], dict[str, np.ndarray]]:
    """Return the counts that occur in any layer, and how often each layer sent them."""
    values = sorted({k for each in found.values() for k in each.integers.tolist()})
    counts = {name: np.zeros(len(values), each.histogram.dtype) for name, each in found.items()}
    for name, each in found.items():
        counts[name][np.searchsorted(values, each.integers)] = each.histogram
    return values, counts


def compare(runs: Sequence[Subject]) -> Analysis:
    """Return the mean rates of several runs side by side."""
    found = {run.name: _measure(run) for run in runs}
    found = {name: layers for name, layers in found.items() if layers}
    if not found:
        return Analysis(TITLE, [explain_missing("fires integers", *runs)])
    n = min(len(each.per_sample) for layers in found.values() for each in layers.values())
    means = {name: _average(layers) for name, layers in found.items()}
    rows = []
    for name, layers in found.items():
        # The layers of a user's own network may run different numbers of steps.
        whole = np.nanmean(stack_steps(each.per_sample for each in layers.values()), axis=0)
        low, high = interval(whole.mean(axis=1, keepdims=True))
        first, last = whole[:, 0].mean(), whole[:, -1].mean()
        # Rates are shares of D; times D they are spikes in a step.
        sent = np.mean([each.per_sample.sum(1).mean() * each.levels for each in layers.values()])
        rows.append([name, whole.mean(), low[0], high[0], first, last, sent])
    header = ("run", "mean_rate", "low", "high", "first_step", "last_step", "spikes_per_neuron")
    return Analysis(
        TITLE,
        [
            "Unweighted means over layers; 95 % intervals over samples. A rate is a share of D; "
            "spikes_per_neuron is the sum of a neuron's counts over all steps."
        ],
        {
            "rates": Table(header, rows),
            "layers": Table(
                ("run", "layer", "rate"),
                [
                    [name, layer, mean.mean()]
                    for name, layers in means.items()
                    for layer, mean in layers.items()
                ],
            ),
            "steps": Table(
                ("run", "step", "rate"),
                [
                    [name, t, rate]
                    for name, layers in means.items()
                    for t, rate in enumerate(np.nanmean(stack_steps(layers.values()), axis=0), 1)
                ],
            ),
        },
        {
            "rates": Plot(
                lambda: plots.compare(means, n),
                "Mean count over D by layer, over all steps, and by step, over all layers.",
            )
        },
    )


def _measure(subject: Subject) -> dict[str, FiringStatistics]:
    return measure_firing(subject.model, subject.variables, subject.batches("test", SAMPLES))


def _average(found: Mapping[str, FiringStatistics]) -> dict[str, np.ndarray]:
    return {name: each.per_sample.mean(axis=0) for name, each in found.items()}
