"""How often the neurons of every layer fire, and how synchronously.

Counts are summed over batches, so that memory does not limit the number of samples.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import stats

from pit_jax.analysis.recorder import recorder
from pit_jax.checks.bounds import CONFIDENCE, set_bounds
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class FiringStatistics:
    """The firing of one neuron layer on some samples.

    `per_sample` `[B, T]` is the mean of |count| / D over the layer's neurons. `histogram` is how
    often each of `integers` was sent. `silent` and `saturated` mark the channels that sent only 0,
    or only ±D, at every step and place. `synchrony` is chi squared (see the function) of
    `neurons` neurons; `levels` is D.
    """

    per_sample: Float[np.ndarray, "B T"]
    integers: Int[np.ndarray, " K"]
    histogram: Int[np.ndarray, " K"]
    silent: Bool[np.ndarray, " C"]
    saturated: Bool[np.ndarray, " C"]
    synchrony: float
    neurons: int
    levels: int


class _Sums(NamedTuple):
    """The sums of a batch; those of integers are exact in float32 below 2^24."""

    per_sample: Array
    histogram: Array
    fired: Array
    below: Array
    of_each: Array
    squares: Array


def measure_firing(
    model: nn.Module, variables: Mapping[str, Any], batches: Iterable[Array]
) -> dict[str, FiringStatistics]:
    """Return the firing of every neuron layer, in their order, over batches of inputs."""
    record = recorder(model)
    return measure_counts(
        {name: (layer.count, layer.levels) for name, layer in record(variables, x).items()}
        for x in batches
    )


def measure_counts(
    batches: Iterable[Mapping[str, tuple[Array, int]]],
) -> dict[str, FiringStatistics]:
    """Return the firing of every layer over batches of counts `[B, T, ..., C]` and their D."""
    sums: dict[str, list[_Sums]] = {}
    levels: dict[str, int] = {}
    for batch in batches:
        for name, (count, level) in batch.items():
            sums.setdefault(name, []).append(jax.device_get(_sum_batch(count, level)))
            levels[name] = level
    return {name: _merge_sums(found, levels[name]) for name, found in sums.items()}


@set_bounds(confidence=CONFIDENCE)
def interval(
    per_sample: Float[np.ndarray, "*B"], confidence: float = 0.95
) -> tuple[Float[np.ndarray, "*T"], Float[np.ndarray, "*T"]]:
    """Return Student's confidence interval of the mean over independent samples `[B, ...]`.

    Raises ValueError for fewer than two samples.
    """
    count = len(per_sample)
    if count < 2:
        raise ValueError(f"an interval needs at least 2 samples, got {count}.")
    mean = per_sample.mean(axis=0)
    error = per_sample.std(axis=0, ddof=1) / np.sqrt(count)
    half = stats.t.ppf((1 + confidence) / 2, count - 1) * error
    return mean - half, mean + half


def stack_steps(layers: Iterable[np.ndarray]) -> np.ndarray:
    """Return rates `[..., T]` of layers as one array, NaN after the last step of a layer."""
    found = list(layers)
    steps = max(each.shape[-1] for each in found)
    whole = np.full((len(found), *found[0].shape[:-1], steps), np.nan)
    for i, each in enumerate(found):
        whole[i, ..., : each.shape[-1]] = each
    return whole


def synchrony(
    of_each: Float[np.ndarray, "*N"], squares: Float[np.ndarray, "*N"], of_mean: np.ndarray
) -> float:
    """Return Golomb and Rinzel's chi squared, a measure of synchrony between 0 and 1.

    The variance of the mean over neurons is divided by the mean over neurons of their variances.
    `of_each` and `squares` are each neuron's mean and mean square over observations (samples and
    steps), and `of_mean` is the population's mean at each observation. Chi squared is 1 for
    identical neurons, 1 / N in expectation for independent ones of equal variance, and NaN for
    neurons that never change. (Physica D 72, 1994, 259-282.)
    """
    # The mean of the neurons' variances; 0 if none of them ever changes.
    alone = float(np.mean(squares - of_each**2))
    return float(np.var(of_mean)) / alone if alone > 0 else float("nan")


@partial(jax.jit, static_argnames="levels")
def _sum_batch(count: Float[Array, "B T *N C"], levels: int) -> _Sums:
    but_channels = tuple(range(count.ndim - 1))
    inside = tuple(range(2, count.ndim))
    # Rates are of |count|, synchrony of the signed count.
    size = jnp.abs(count)
    integers = jnp.arange(-levels, levels + 1)
    return _Sums(
        per_sample=jnp.stack([size.mean(inside) / levels, count.mean(inside)], axis=-1),
        histogram=jnp.stack([(count == k).sum(dtype=int) for k in integers]),
        fired=(size > 0).any(but_channels),
        below=(size < levels).any(but_channels),
        of_each=count.sum((0, 1)),
        squares=(count**2).sum((0, 1)),
    )


def _merge_sums(batches: list[_Sums], levels: int) -> FiringStatistics:
    per_sample, signed = np.moveaxis(np.concatenate([each.per_sample for each in batches]), -1, 0)
    observations = signed.size
    integers, histogram = (
        np.arange(-levels, levels + 1),
        np.sum([each.histogram for each in batches], axis=0),
    )
    # Without negative spikes the histogram is over 0 ... D.
    if not histogram[:levels].any():
        integers, histogram = integers[levels:], histogram[levels:]
    of_each, squares = (
        np.sum([np.asarray(getattr(each, name), float) for each in batches], axis=0) / observations
        for name in ("of_each", "squares")
    )
    return FiringStatistics(
        per_sample=per_sample.astype(float),
        integers=integers,
        histogram=histogram,
        silent=~np.any([each.fired for each in batches], axis=0),
        saturated=~np.any([each.below for each in batches], axis=0),
        synchrony=synchrony(of_each, squares, signed.astype(float)),
        neurons=of_each.size,
        levels=levels,
    )


serve_old_names(__name__)
