"""What firing loses between membrane and spike (Eqs. 4 and 6), layer by layer and step by step.

The measures of a layer at one step, for the membrane u of a neuron drawn from its neurons and from
the samples, the spike s that it sends, and its integer count k = round(x) cut to 0 ... D, where x
is u / a with a scale and u without:

    distance         root of the mean over samples of |s - u|², Frobenius, of a sample's neurons
    relative         |s - u| / |u| over all samples
    information      I(U; S) in bits, given the channel, as the next weights know it; its mean
    pooled           I(X; K) in bits, of the counts of all channels together
    spike_membrane   Kullback-Leibler divergence of K from X in bits, in the cells of all integers
    membrane_spike   that of X from K, infinite as soon as a membrane lies in a cell without spikes
    uncovered        share of those membranes
    variance         Var(s) / Var(u), each over neurons and samples

As s is a function of u, I(U; S) = H(S), which is that of the counts. Cells are [k - 1/2, k + 1/2),
those beyond -D ... D are one on each side. Over all steps, distance, information and divergences
are the sums over steps; relative, uncovered and variance take the steps as one population.
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
from pit_jax.surrogate import round_half_up

Measure = Callable[[Sums], np.ndarray]


@dataclass(frozen=True)
class Loss:
    """The measures of one layer by name, `[T]` at each step and `[]` over all of them.

    `bound` is the most information that a spike can carry, log2(D + 1) bits, or log2(2 D + 1) with
    negative spikes.
    """

    steps: Mapping[str, Estimate]
    total: Mapping[str, Estimate]
    bound: float
    samples: int


def information_loss(
    batches: Iterable[Mapping[str, LayerRecording]],
    *,
    groups: int = GROUPS,
    confidence: float = 0.95,
) -> dict[str, Loss]:
    """The loss of every layer over batches of recordings, which are let go one by one.

    Samples are taken as independent, the neurons of one not. Raises ValueError for membranes,
    counts or spikes that are not finite, for counts that are not integers of -D ... D, and for
    less than two samples.
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
            folds.setdefault(layer, Groups(groups)).add(_contributions(layer, recorded))
    if not folds:
        raise ValueError(
            "there is no neuron layer to look at; give recordings of at least one batch, of a "
            "network with spiking neurons."
        )
    return {layer: _loss(folds[layer], levels[layer], confidence) for layer in folds}


def _contributions(layer: str, recorded: LayerRecording) -> dict[str, np.ndarray]:
    """What each sample adds to the sums, `[B, ...]`, over its neurons."""
    levels, size = recorded.levels, recorded.count[0, 0].size
    rounded = recorded.membrane if recorded.rounded is None else recorded.rounded
    found = jax.tree.map(
        np.asarray,
        _measure_batch(recorded.membrane, rounded, recorded.count, recorded.spike, levels=levels),
    )
    if not (finite := found["finite"]).all():
        raise ValueError(
            f"{layer}: {np.sum(~finite)} of {len(finite)} samples have membranes, counts or spikes "
            "that are not finite; look at the weights and at the input."
        )
    if (others := size - np.sum(found["counts"], (2, 3))).any():
        raise ValueError(
            f"{layer}: {np.sum(others)} counts are not integers of {-levels} ... {levels}; "
            "`levels` is the largest count."
        )
    return {
        "samples": np.ones(len(finite)),
        "neurons": np.full(finite.shape + others.shape[1:], size),
        "error": found["error"],
        "counts": found["counts"],
        "cells": found["cells"],
        **_moments("u", size, found),
        **_moments("s", size, found),
    }


def _moments(name: str, size: int, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sum and sum of squares in float64, of a mean and what lies about it."""
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
    cell = jnp.clip(round_half_up(x), -levels - 1, levels + 1)
    # One integer after another, so that no array is larger than the membranes.
    counts = [jnp.sum(count == k, neurons[:-1]) for k in range(-levels, levels + 1)]
    cells = [jnp.sum(cell == k, neurons) for k in range(-levels - 1, levels + 2)]
    moments = {}
    for name, one in (("u", u), ("s", s)):
        mean = jnp.mean(one, neurons, keepdims=True)
        moments[f"mean_{name}"] = jnp.squeeze(mean, neurons)
        # Squares of a mean far from 0 would cost float32 the digits of the variance.
        moments[f"about_{name}"] = jnp.sum((one - mean) ** 2, neurons)
    finite = jnp.isfinite(u) & jnp.isfinite(x) & jnp.isfinite(count) & jnp.isfinite(s)
    return {
        "counts": jnp.stack(counts, -1),
        "cells": jnp.stack(cells, -1),
        "error": jnp.sum((s - u) ** 2, neurons),
        "finite": finite.all(tuple(range(1, u.ndim))),
        **moments,
    }


def _loss(fold: Groups, levels: int, confidence: float) -> Loss:
    signed = fold.total("counts")[..., :levels].any()
    bound = math.log2((2 if signed else 1) * levels + 1)
    most = {"information": bound, "pooled": bound, "uncovered": 1.0}
    steps, total = {}, {}
    for name, measure in MEASURES.items():
        estimate = partial(fold.estimate, confidence=confidence, least=0.0)
        steps[name] = estimate(measure, most=most.get(name, math.inf))
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
    return entropy(sums["counts"]).mean(-1)


def _pooled_information(sums: Sums) -> np.ndarray:
    return entropy(sums["counts"].sum(-2))


def _spike_membrane(sums: Sums) -> np.ndarray:
    return divergence(_cell_counts(sums), sums["cells"])


def _membrane_spike(sums: Sums) -> np.ndarray:
    return divergence(sums["cells"], _cell_counts(sums))


def _uncovered_share(sums: Sums) -> np.ndarray:
    return np.sum(shares(sums["cells"]), -1, where=_cell_counts(sums) == 0)


def _variance(sums: Sums) -> np.ndarray:
    return _variance_of("s", sums) / _variance_of("u", sums)


def _variance_of(name: str, sums: Sums) -> np.ndarray:
    square = sums[f"{name}²"] / sums["neurons"]
    variance = square - (sums[name] / sums["neurons"]) ** 2
    # What the rounding of float32 leaves of a constant is none.
    return np.where(variance > 1e-12 * square, variance, 0)


def _cell_counts(sums: Sums) -> np.ndarray:
    """Return the counts of all channels in the cells of membranes, `[T, 2D+3]`."""
    counts = sums["counts"].sum(-2)
    outside = np.zeros((*counts.shape[:-1], 1))
    return np.concatenate([outside, counts, outside], -1)


def _sum_over_steps(measure: Measure) -> Measure:
    return lambda sums: measure(sums).sum(-1)


def _merge_steps(measure: Measure) -> Measure:
    """Return the measure of one population, of the neurons at all steps."""

    def of_one_step(sums: Sums) -> np.ndarray:
        merged = {name: one.sum(TIME.get(name, -1), keepdims=True) for name, one in sums.items()}
        return measure(merged)[..., 0]

    return of_one_step


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
# The axis of time in the sums; that of the others is the last.
TIME: Mapping[str, int | tuple[()]] = {"samples": (), "counts": -3, "cells": -2}
OF_ALL_STEPS = ("relative", "uncovered", "variance")
