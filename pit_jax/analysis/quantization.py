"""Ranges of levels compared on the same membranes (Fig. 2): errors, used levels and clipping.

A range is a scale per channel, computed from the membranes of one batch, as PIT's initial scale is
from the first batch. Spikes are a * clip(round(u / a), 0, D) of recorded membranes; the network is
not run again with them. Below 0 every range sends 0, so ranges differ in the `error` of the
positive membranes; `mse` is over all membranes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pit_jax import initializers
from pit_jax.analysis.entropy import entropy
from pit_jax.analysis.jackknife import GROUPS, Estimate, Groups
from pit_jax.analysis.recorder import LayerRecording
from pit_jax.checks.bounds import CONFIDENCE, LEVELS, each, set_bounds, whole
from pit_jax.neurons.step import quotient
from pit_jax.old_names import serve_old_names
from pit_jax.surrogate import heaviside, round_half_up

# A hundred scales from 1/50 of the min-max scale up to it; neighbors differ by 4 %.
CANDIDATES = 100


@set_bounds(levels=LEVELS)
def mse_optimal(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """Return the scale `[C]` of least mean squared error among `CANDIDATES`, for each channel.

    The candidates are spaced geometrically from 1/50 of max u / (levels - 1/2) up to it. The scale
    is 1 where no membrane is above 0.
    """
    return _mse_optimal(u, levels)


# `levels` is traced, so that one compiled function serves all numbers of levels.
@jax.jit
def _mse_optimal(u: Float[Array, "B *N C"], levels: int | Array) -> Float[Array, " C"]:
    axes = tuple(range(u.ndim - 1))
    # With this scale the largest membrane is on the boundary below the top level.
    largest = jnp.max(u, axes) / (levels - 0.5)

    def error(ratio: Array) -> Array:
        a = jnp.where(largest > 0, ratio * largest, 1)
        return jnp.mean((a * round_count(quotient(u, a), levels) - u) ** 2, axes)

    ratios = jnp.geomspace(0.02, 1, CANDIDATES, dtype=u.dtype)
    # Not vmap: each candidate takes as much memory as the membranes.
    best = ratios[jnp.argmin(jax.lax.map(error, ratios), 0)]
    return jnp.where(largest > 0, best * largest, 1)


def round_count(x: Float[Array, "*N"], levels: int | Array) -> Float[Array, "*N"]:
    """Return clip(round(x), 0, levels), as PIT fires."""
    return jnp.clip(round_half_up(x), 0, levels)


def binary_count(x: Float[Array, "*N"], levels: int | Array) -> Float[Array, "*N"]:
    """Return H(x - 1), as LIF fires; `levels` is 1."""
    del levels
    return heaviside(x - 1)


class Range(NamedTuple):
    """A scale, computed from one batch as in `pit_jax.initializers`, and the count of u / a.

    `levels`, if not None, replaces the number of levels under comparison.
    """

    scale: Callable[..., Array]
    fire: Callable[..., Array] = round_count
    levels: int | None = None


RANGES: Mapping[str, Range] = {
    "binary": Range(initializers.ones, binary_count, levels=1),
    "min_max": Range(initializers.min_max),
    "three_sigma": Range(initializers.three_sigma),
    "covering": Range(initializers.covering),
    "lsq": Range(initializers.lsq),
    "mse_optimal": Range(mse_optimal),
}


@dataclass(frozen=True)
class Quantization:
    """The measures of one range on one layer, `[T]` at each step.

    - `scale` `[T, C]`: from the first batch.
    - `spread` `[T, C]`: standard deviation over mean of the scales of all batches; NaN for one.
    - `used`: the number of levels that occur in a channel, mean over channels.
    - `mse`: mean squared error, in squared potential.
    - `error`: |s - u|² / |u|² over the positive membranes.
    - `clipped`: share of membranes above the cell of the top level.
    - `effective`: 2^H for the entropy H of the counts of all channels.
    """

    scale: Float[np.ndarray, "T C"]
    spread: Float[np.ndarray, "T C"]
    used: Float[np.ndarray, " T"]
    mse: Estimate
    error: Estimate
    clipped: Estimate
    effective: Estimate
    samples: int


@set_bounds(levels=each(LEVELS, least=1), groups=whole(2), confidence=CONFIDENCE)
def compare_ranges(
    batches: Iterable[Mapping[str, LayerRecording]],
    *,
    levels: Sequence[int] = (1, 2, 4, 8),
    ranges: Mapping[str, Range] = RANGES,
    groups: int = GROUPS,
    confidence: float = 0.95,
) -> dict[str, dict[int, dict[str, Quantization]]]:
    """Return the measures of every range by layer, number of levels and name of the range.

    Only sums are stored, so that memory does not grow with the number of batches. Raises ValueError
    for membranes that are not finite and for fewer than two samples.
    """
    folds: dict[str, dict[int, dict[str, _Fold]]] = {}
    for layers in batches:
        for layer, recorded in layers.items():
            u = recorded.membrane
            if not jnp.isfinite(u).all():
                raise ValueError(
                    f"{layer} has membranes that are not finite; check the weights and the input."
                )
            for number in levels:
                known = folds.setdefault(layer, {}).setdefault(number, {})
                for name, one in ranges.items():
                    known.setdefault(name, _Fold(one, number, max(levels), groups)).add(u)
    return {
        layer: {
            number: {name: fold.result(confidence) for name, fold in by_name.items()}
            for number, by_name in by_levels.items()
        }
        for layer, by_levels in folds.items()
    }


class _Fold:
    """The sums of one range on one layer over the batches so far."""

    def __init__(self, chosen: Range, levels: int, most: int, groups: int) -> None:
        self.chosen, self.levels, self.most = chosen, chosen.levels or levels, most
        self.groups, self.scales = Groups(groups), list[np.ndarray]()
        self.first, self.occurred = 0, np.zeros(())

    def add(self, u: Float[Array, "B T *N C"]) -> None:
        """Add the membranes of a batch; the first batch determines the scale."""
        self.first = self.first or len(u)
        # A smaller last batch is not used for `spread`: ranges such as min-max depend on the number
        # of samples and would seem less stable than they are.
        if len(u) == self.first:
            of_step = jax.vmap(partial(self.chosen.scale, levels=self.levels), in_axes=1)
            # The floor of PIT, so that silent channels do not divide by 0.
            self.scales.append(np.asarray(jnp.maximum(of_step(u), initializers.SCALE_FLOOR)))
        counted = partial(_quantize_batch, fire=self.chosen.fire, most=self.most)
        found = jax.tree.map(np.asarray, counted(u, self.scales[0], self.levels))
        self.occurred = self.occurred + found.pop("by_channel")
        size = np.full(found["error"].shape, u[0, 0].size)
        self.groups.add({**found, "neurons": size})

    def result(self, confidence: float) -> Quantization:
        """Return the measures over all batches."""
        estimate = partial(self.groups.estimate, confidence=confidence, least=0.0)
        scales = np.stack(self.scales).astype(np.float64)
        # One batch has no standard deviation.
        several = len(scales) > 1
        spread = scales.std(0, ddof=1) if several else np.full(scales[0].shape, np.nan)
        return Quantization(
            scale=scales[0],
            spread=spread / scales.mean(0),
            used=np.sum(self.occurred > 0, -1).mean(-1),
            mse=estimate(lambda sums: sums["error"] / sums["neurons"]),
            error=estimate(lambda sums: sums["positive_error"] / sums["positive_square"]),
            clipped=estimate(lambda sums: sums["clipped"] / sums["neurons"], most=1.0),
            effective=estimate(
                lambda sums: 2 ** entropy(sums["counts"]), least=1.0, most=self.levels + 1.0
            ),
            samples=self.groups.samples,
        )


# `levels` is traced here as well.
@partial(jax.jit, static_argnames=("fire", "most"))
def _quantize_batch(
    u: Float[Array, "B T *N C"],
    a: Float[Array, "T C"],
    levels: int | Array,
    *,
    fire: Callable[..., Array],
    most: int,
) -> dict[str, Array]:
    """Return sums of each sample `[B, T, ...]`; `by_channel` `[T, C, most + 1]` is the batch's."""
    neurons = tuple(range(2, u.ndim))
    a = a.reshape(a.shape[0], *(1,) * len(neurons[:-1]), a.shape[1])
    # As PIT divides, so that ties are rounded as it rounds them.
    x = u * (1 / a)
    k = fire(x, levels)
    error, square = (a * k - u) ** 2, u**2
    # Up to `most` for every number of levels: equal shapes compile once.
    found = jnp.stack([jnp.sum(k == number, neurons[:-1]) for number in range(most + 1)], -1)
    return {
        "error": jnp.sum(error, neurons),
        "positive_error": jnp.sum(error, neurons, where=u > 0),
        "positive_square": jnp.sum(square, neurons, where=u > 0),
        "clipped": jnp.sum(x >= levels + 0.5, neurons),
        "counts": jnp.sum(found, 2),
        "by_channel": jnp.sum(found, 0),
    }


serve_old_names(__name__)
