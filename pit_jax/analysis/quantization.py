"""Ranges of levels for the same membranes (Fig. 2): what each loses, uses and clips.

A range is a scale per channel, read from the membranes of one batch, as PIT's is from the first.
It then sends a * clip(round(u / a), 0, D) for membranes that have been recorded once: the network
is not run again with it. Below 0 every range sends 0, so what a range can change is the `error` of
the positive membranes; `mse` is that of all.
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
from pit_jax.neurons.step import check_levels, quotient
from pit_jax.old_names import serve_old_names
from pit_jax.surrogate import heaviside, round_half_up

# A hundred scales from 1/50 of min-max's to it: neighbors differ by 4 %.
CANDIDATES = 100


def mse_optimal(u: Float[Array, "B *N C"], *, levels: int) -> Float[Array, " C"]:
    """The scale `[C]` of least mean squared error among `CANDIDATES`, channel by channel.

    They lie between 1/50 of max u / (levels - 1/2) and that, in equal ratios; it is 1 where no
    membrane is above 0.
    """
    return _mse_optimal(u, levels)


# `levels` is traced, so that it is compiled once for all of them.
@jax.jit
def _mse_optimal(u: Float[Array, "B *N C"], levels: int | Array) -> Float[Array, " C"]:
    axes = tuple(range(u.ndim - 1))
    # There the largest membrane is on the boundary below the top level.
    largest = jnp.max(u, axes) / (levels - 0.5)

    def error(ratio: Array) -> Array:
        a = jnp.where(largest > 0, ratio * largest, 1)
        return jnp.mean((a * round_count(quotient(u, a), levels) - u) ** 2, axes)

    ratios = jnp.geomspace(0.02, 1, CANDIDATES, dtype=u.dtype)
    # One candidate after another, as each takes the memory of the membranes.
    best = ratios[jnp.argmin(jax.lax.map(error, ratios), 0)]
    return jnp.where(largest > 0, best * largest, 1)


def round_count(x: Float[Array, "*N"], levels: int | Array) -> Float[Array, "*N"]:
    """Return clip(round(x), 0, levels), as PIT fires."""
    return jnp.clip(round_half_up(x), 0, levels)


def binary_count(x: Float[Array, "*N"], levels: int | Array) -> Float[Array, "*N"]:
    """H(x - 1), as LIF fires; `levels` is 1."""
    del levels
    return heaviside(x - 1)


class Range(NamedTuple):
    """The scale of membranes of one batch, as in `pit_jax.initializers`, and the integer of u / a.

    One with `levels` has these, whatever number is asked for.
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
    """What one range does with one layer, `[T]` at each step.

    `scale` `[T, C]` is that of the first batch, and `spread` `[T, C]` the standard deviation of
    those of all batches over their mean, NaN for one batch. `mse` is the mean squared error, in
    squared potential, `error` |s - u|² / |u|² over the positive membranes, `clipped` the share of
    membranes above the cell of the top level. `used` is how many levels occur in a channel, the
    mean over channels, and `effective` 2^H for the entropy H of the counts of all channels.
    """

    scale: Float[np.ndarray, "T C"]
    spread: Float[np.ndarray, "T C"]
    used: Float[np.ndarray, " T"]
    mse: Estimate
    error: Estimate
    clipped: Estimate
    effective: Estimate
    samples: int


def compare_ranges(
    batches: Iterable[Mapping[str, LayerRecording]],
    *,
    levels: Sequence[int] = (1, 2, 4, 8),
    ranges: Mapping[str, Range] = RANGES,
    groups: int = GROUPS,
    confidence: float = 0.95,
) -> dict[str, dict[int, dict[str, Quantization]]]:
    """What every range of every number of levels does, by layer, levels and name of the range.

    Membranes are let go batch by batch; a last batch that is smaller than the first does not count
    for `spread`, as a range that depends on the number of samples would seem unstable. Raises
    ValueError for membranes that are not finite and for less than two samples.
    """
    for number in levels:
        check_levels(number)
    folds: dict[str, dict[int, dict[str, _Fold]]] = {}
    for layers in batches:
        for layer, recorded in layers.items():
            u = recorded.membrane
            if not jnp.isfinite(u).all():
                raise ValueError(
                    f"{layer} has membranes that are not finite; look at the weights and the input."
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
    """What one range does with one layer, as far as the batches have come."""

    def __init__(self, chosen: Range, levels: int, most: int, groups: int) -> None:
        self.chosen, self.levels, self.most = chosen, chosen.levels or levels, most
        self.groups, self.scales = Groups(groups), list[np.ndarray]()
        self.first, self.occurred = 0, np.zeros(())

    def add(self, u: Float[Array, "B T *N C"]) -> None:
        self.first = self.first or len(u)
        if len(u) == self.first:
            of_step = jax.vmap(partial(self.chosen.scale, levels=self.levels), in_axes=1)
            self.scales.append(np.asarray(jnp.maximum(of_step(u), initializers.SCALE_FLOOR)))
        counted = partial(_quantize_batch, fire=self.chosen.fire, most=self.most)
        found = jax.tree.map(np.asarray, counted(u, self.scales[0], self.levels))
        self.occurred = self.occurred + found.pop("by_channel")
        size = np.full(found["error"].shape, u[0, 0].size)
        self.groups.add({**found, "neurons": size})

    def result(self, confidence: float) -> Quantization:
        estimate = partial(self.groups.estimate, confidence=confidence, least=0.0)
        scales = np.stack(self.scales).astype(np.float64)
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


# `levels` is traced here too.
@partial(jax.jit, static_argnames=("fire", "most"))
def _quantize_batch(
    u: Float[Array, "B T *N C"],
    a: Float[Array, "T C"],
    levels: int | Array,
    *,
    fire: Callable[..., Array],
    most: int,
) -> dict[str, Array]:
    """Return the sums of each sample, `[B, T, ...]`, and `by_channel` `[T, C, most + 1]` of all."""
    neurons = tuple(range(2, u.ndim))
    a = a.reshape(a.shape[0], *(1,) * len(neurons[:-1]), a.shape[1])
    x = u * (1 / a)
    k = fire(x, levels)
    error, square = (a * k - u) ** 2, u**2
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
