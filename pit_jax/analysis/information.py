"""The information lost between membrane and spike (Eqs. 4 and 6), by layer and step.

A sample and one of the layer's neurons are drawn at random. The neuron has the membrane u and
sends the spike s with the integer count k = clip(round(x), 0, D), where x is u / a with a scale and
u without. The measures of a layer at one step:

    distance         root of the mean over samples of |s - u|² (Frobenius norm over neurons)
    relative         |s - u| / |u| over all samples
    information      I(U; S) given the channel, which the next weights know, in bits
    pooled           I(X; K) in bits, the counts of all channels taken together
    spike_membrane   Kullback-Leibler divergence of K from X over integer cells, in bits
    membrane_spike   divergence of X from K; infinite if a membrane is in a cell without spikes
    uncovered        share of membranes in cells without spikes
    variance         Var(s) / Var(u) over neurons and samples

As s is a function of u, I(U; S) = H(S), and H(S) is the entropy of the counts. Cells are
[k - 1/2, k + 1/2) for k in -D ... D, and one more on each side. Over all steps, distance,
information and divergences are sums over steps; relative, uncovered and variance are computed from
all steps as one population.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pit_jax.analysis.entropy import divergence, entropy, shares
from pit_jax.analysis.jackknife import GROUPS, Estimate, Groups, Sums
from pit_jax.analysis.recorder import LayerRecording
from pit_jax.checks.bounds import CONFIDENCE, set_bounds, whole
from pit_jax.surrogate import round_half_up

Measure = Callable[[Sums], np.ndarray]


@dataclass(frozen=True)
class Loss:
    """The measures of one layer by name: `steps` `[T]` at each step, `total` `[]` over all steps.

    `bound` is the largest possible information of a spike in bits, log2(D + 1), or log2(2 D + 1)
    with negative spikes.
    """

    steps: Mapping[str, Estimate]
    total: Mapping[str, Estimate]
    bound: float
    samples: int


@set_bounds(groups=whole(2), confidence=CONFIDENCE)
def information_loss(
    batches: Iterable[Mapping[str, LayerRecording]],
    *,
    groups: int = GROUPS,
    confidence: float = 0.95,
) -> dict[str, Loss]:
    """Return the loss of every layer over batches of recordings.

    Only sums are stored, so that memory does not grow with the number of batches. Intervals assume
    independent samples, but not independent neurons. Raises ValueError for membranes, counts or
    spikes that are not finite, for counts that are not integers of -D ... D, and for fewer than two
    samples.
    """
    folds: dict[str, Groups] = {}
    levels: dict[str, int] = {}
    for layers in batches:
        if folds and list(layers) != list(folds):
            raise ValueError(
                f"all batches must have the layers {', '.join(folds)}, got {', '.join(layers)}."
            )
        for layer, recorded in layers.items():
            levels[layer] = recorded.levels
            folds.setdefault(layer, Groups(groups)).add(_sum_samples(layer, recorded))
    if not folds:
        raise ValueError(
            "there are no neuron layers to measure; pass recordings of at least one batch of a "
            "network with spiking neurons."
        )
    return {layer: _estimate_loss(folds[layer], levels[layer], confidence) for layer in folds}


def _sum_samples(layer: str, recorded: LayerRecording) -> dict[str, np.ndarray]:
    """Return the sums over the neurons of each sample, `[B, ...]`."""
    levels, size = recorded.levels, recorded.count[0, 0].size
    rounded = recorded.membrane if recorded.rounded is None else recorded.rounded
    found = jax.tree.map(
        np.asarray,
        _measure_batch(recorded.membrane, rounded, recorded.count, recorded.spike, levels=levels),
    )
    if not (finite := found["finite"]).all():
        raise ValueError(
            f"{layer}: {np.sum(~finite)} of {len(finite)} samples have membranes, counts or spikes "
            "that are not finite; check the weights and the input."
        )
    # Counts that are not integers of -D ... D are in no bin of the histogram.
    if (others := size - np.sum(found["counts"], (2, 3))).any():
        raise ValueError(
            f"{layer}: {np.sum(others)} counts are not integers of {-levels} ... {levels}; "
            "`levels` is the largest count."
        )
    return {
        # Every measure is a function of these sums, as the jackknife requires.
        "samples": np.ones(len(finite)),
        "neurons": np.full(finite.shape + others.shape[1:], size),
        "error": found["error"],
        "counts": found["counts"],
        "cells": found["cells"],
        **_sum_powers("u", size, found),
        **_sum_powers("s", size, found),
    }


def _sum_powers(name: str, size: int, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return sum and sum of squares in float64, from the mean and the squares around it."""
    # Σ x² = Σ (x - mean)² + n mean².
    mean = found[f"mean_{name}"].astype(np.float64)
    return {name: size * mean, f"{name}²": found[f"about_{name}"] + size * mean**2}


@partial(jax.jit, static_argnames="levels")
def _measure_batch(
    u: Float[Array, "B T *N C"],
    x: Float[Array, "B T *N C"],
    count: Float[Array, "B T *N C"],
    s: Float[Array, "B T *N C"],
    *,
    levels: int,
) -> dict[str, Array]:
    """Return `counts` `[B, T, C, 2D+1]`, `cells` `[B, T, 2D+3]`, `finite` `[B]`, moments."""
    neurons = tuple(range(2, u.ndim))
    # Membranes outside -D ... D share one cell on each side, -D - 1 and D + 1.
    cell = jnp.clip(round_half_up(x), -levels - 1, levels + 1)
    # One integer at a time, so that no array is larger than the membranes.
    counts = [jnp.sum(count == k, neurons[:-1]) for k in range(-levels, levels + 1)]
    cells = [jnp.sum(cell == k, neurons) for k in range(-levels - 1, levels + 2)]
    moments = {}
    for name, one in (("u", u), ("s", s)):
        mean = jnp.mean(one, neurons, keepdims=True)
        moments[f"mean_{name}"] = jnp.squeeze(mean, neurons)
        # E[x²] - mean² would lose the digits of the variance in float32 if the mean is large.
        moments[f"about_{name}"] = jnp.sum((one - mean) ** 2, neurons)
    finite = jnp.isfinite(u) & jnp.isfinite(x) & jnp.isfinite(count) & jnp.isfinite(s)
    return {
        "counts": jnp.stack(counts, -1),
        "cells": jnp.stack(cells, -1),
        "error": jnp.sum((s - u) ** 2, neurons),
        "finite": finite.all(tuple(range(1, u.ndim))),
        **moments,
    }


def _estimate_loss(fold: Groups, levels: int, confidence: float) -> Loss:
    # The first `levels` counts are -D ... -1.
    signed = fold.total("counts")[..., :levels].any()
    bound = math.log2((2 if signed else 1) * levels + 1)
    most = {"information": bound, "pooled": bound, "uncovered": 1.0}
    steps, total = {}, {}
    for name, measure in MEASURES.items():
        estimate = partial(fold.estimate, confidence=confidence, least=0.0)
        steps[name] = estimate(measure, most=most.get(name, math.inf))
        # The entropy of T steps can be T times the bound of one step; a share stays below 1.
        as_one = name in OF_ALL_STEPS
        times = 1 if as_one else len(steps[name].value)
        over_time = _merge_steps(measure) if as_one else _sum_over_steps(measure)
        total[name] = estimate(over_time, most=times * most.get(name, math.inf))
    return Loss(steps, total, bound, fold.samples)


def _distance(sums: Sums) -> np.ndarray:
    return np.sqrt(sums["error"] / sums["samples"][..., None])


def _relative(sums: Sums) -> np.ndarray:
    return np.sqrt(sums["error"] / sums["u²"])


def _information(sums: Sums) -> np.ndarray:
    # Given the channel: the mean of the channels' entropies.
    return entropy(sums["counts"]).mean(-1)


def _pooled_information(sums: Sums) -> np.ndarray:
    # The entropy of the channels' common histogram, which is at least their mean entropy.
    return entropy(sums["counts"].sum(-2))


def _spike_membrane(sums: Sums) -> np.ndarray:
    return divergence(_count_cells(sums), sums["cells"])


def _membrane_spike(sums: Sums) -> np.ndarray:
    return divergence(sums["cells"], _count_cells(sums))


def _uncovered_share(sums: Sums) -> np.ndarray:
    return np.sum(shares(sums["cells"]), -1, where=_count_cells(sums) == 0)


def _variance(sums: Sums) -> np.ndarray:
    return _variance_of("s", sums) / _variance_of("u", sums)


def _variance_of(name: str, sums: Sums) -> np.ndarray:
    square = sums[f"{name}²"] / sums["neurons"]
    variance = square - (sums[name] / sums["neurons"]) ** 2
    # Rounding in float32 leaves a tiny variance where all values are equal.
    return np.where(variance > 1e-12 * square, variance, 0)


def _count_cells(sums: Sums) -> np.ndarray:
    """Return the counts of all channels in the layout of `cells`, `[T, 2D+3]`."""
    counts = sums["counts"].sum(-2)
    # No count is outside -D ... D.
    outside = np.zeros((*counts.shape[:-1], 1))
    return np.concatenate([outside, counts, outside], -1)


def _sum_over_steps(measure: Measure) -> Measure:
    return lambda sums: measure(sums).sum(-1)


def _merge_steps(measure: Measure) -> Measure:
    """Return the measure over all steps, taken as one population."""

    def measure_population(sums: Sums) -> np.ndarray:
        merged = {name: one.sum(TIME.get(name, -1), keepdims=True) for name, one in sums.items()}
        return measure(merged)[..., 0]

    return measure_population


MEASURES: Mapping[str, Measure] = {
    "distance": _distance,
    "relative": _relative,
    "information": _information,
    "pooled": _pooled_information,
    "spike_membrane": _spike_membrane,
    "membrane_spike": _membrane_spike,
    "uncovered": _uncovered_share,
    "variance": _variance,
}
# The axis of time in these sums; in the others it is the last one.
TIME: Mapping[str, int | tuple[()]] = {"samples": (), "counts": -3, "cells": -2}
OF_ALL_STEPS = ("relative", "uncovered", "variance")
