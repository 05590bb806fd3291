"""How the neurons of every layer use their levels, and how well the levels fit the membranes.

checks/levels.py computes the rounding error and the best step for given membranes. This module
applies it to the layers of a network.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import entr

from pit_jax.analysis.recorder import LayerRecording, recorder
from pit_jax.checks.levels import (
    divide_errors,
    error_ratio,
    find_best_step,
    list_steps,
    select_positive,
    step_errors,
)
from pit_jax.neurons.over_time import align
from pit_jax.neurons.step import prepend_axes

__all__ = ["LevelUse", "error_ratio", "find_best_step", "measure_levels", "measure_recorded"]

# The membranes of a layer, step and batch whose errors are compared. With half of them positive,
# the ratio of normal membranes has a standard error of about 0.5 %.
MOST_MEMBRANES = 2**17


@dataclass(frozen=True)
class LevelUse:
    """The use of the levels of one neuron layer at each step, on some samples.

    - `integers` `[K]`: 0 ... D, or -D ... D for neurons that fire negative spikes.
    - `counts` `[T, K]`: how often each of them was sent.
    - `silent`, `saturated` `[T]`: share of channels that sent only 0, or only ±D.
    - `clipped` `[T]`: share of membranes above the cell of the top level, u / a >= D + 1/2.
    - `error_ratio` `[T]`: squared error relative to the best single step.

    `clipped` and `error_ratio` are NaN for neurons that do not round, such as LIF, and
    `error_ratio` also where no membrane is positive.
    """

    levels: int
    integers: Int[np.ndarray, " K"]
    counts: Int[np.ndarray, "T K"]
    silent: Float[np.ndarray, " T"]
    saturated: Float[np.ndarray, " T"]
    clipped: Float[np.ndarray, " T"]
    error_ratio: Float[np.ndarray, " T"]
    samples: int

    @property
    def shares(self) -> Float[np.ndarray, "T K"]:
        """The share of each of `integers` at each step."""
        return np.asarray(self.counts / self.counts.sum(-1, keepdims=True))

    @property
    def effective(self) -> Float[np.ndarray, " T"]:
        """The effective number of levels at each step, exp(H) for the entropy H of the shares."""
        return np.asarray(np.exp(entr(self.shares).sum(-1)))


def measure_levels(
    model: nn.Module, variables: Mapping[str, Any], batches: Iterable[Array]
) -> dict[str, LevelUse]:
    """Return the use of levels of every neuron layer, in their order, over batches of inputs.

    Norms use their running statistics. A layer that the network calls twice is measured in its
    first call. Raises ValueError for membranes or scales that are not finite.
    """
    record = recorder(model)
    return measure_recorded(record(variables, x) for x in batches)


def measure_recorded(batches: Iterable[Mapping[str, LayerRecording]]) -> dict[str, LevelUse]:
    """Return the use of levels of every layer over batches of recordings; see `measure_levels`.

    Only sums are stored, so that memory does not grow with the number of batches.
    """
    sums: dict[str, _LayerSums] = {}
    for layers in batches:
        for name, layer in layers.items():
            sums.setdefault(name, _LayerSums(name, layer.levels)).add(layer)
    return {name: found.result() for name, found in sums.items()}


def check_finite(name: str, layer: LayerRecording) -> None:
    """Raise ValueError for a layer with membranes or scales that are not finite."""
    for what, values in {"membranes": layer.membrane, "scales": layer.scale}.items():
        if values is not None and not jnp.isfinite(values).all():
            raise ValueError(
                f"{name or 'the neuron'} has {what} that are not finite; check the weights and the "
                "input."
            )


class _LayerSums:
    """The sums of one layer over the batches so far."""

    def __init__(self, name: str, levels: int) -> None:
        self.name, self.levels, self.samples = name, levels, 0
        self.counts: Any = 0
        self.fired, self.below = np.zeros((), bool), np.zeros((), bool)
        self.clipped: Any = 0.0
        # For each step: the candidates, their errors, and the error of the neuron.
        self.steps: list[np.ndarray | None] = []
        self.errors: list[list[Any]] = []

    def add(self, layer: LayerRecording) -> None:
        """Add a batch."""
        check_finite(self.name, layer)
        found = jax.device_get(_sum_batch(layer.count, self.levels))
        # An int32 holds the counts of one batch; their sum needs an int64.
        self.counts = self.counts + np.asarray(found[0], np.int64)
        self.fired, self.below = self.fired | found[1], self.below | found[2]
        self.samples += len(layer.count)
        if layer.rounded is None:
            return
        clipped = _count_clipped(layer.rounded, self.levels)
        self.clipped = self.clipped + np.asarray(clipped, np.int64)
        self._add_errors(*take_membranes(layer))

    def _add_errors(self, membranes: np.ndarray, spikes: np.ndarray) -> None:
        """Add the errors of membranes and spikes `[T, N]`; the first batch sets the candidates."""
        for t, (u, s) in enumerate(zip(membranes, spikes, strict=True)):
            if t == len(self.steps):
                self.steps.append(None)
                self.errors.append([0.0, 0.0])
            u, s = select_positive(u, s)
            if not u.size:
                continue
            if (steps := self.steps[t]) is None:
                # Membranes of later batches may be larger than all of the first.
                wide = [list_steps(k * u, levels=self.levels) for k in (1, 1000)]
                self.steps[t] = steps = np.concatenate(wide)
            self.errors[t][0] += np.sum((s - u) ** 2)
            self.errors[t][1] = self.errors[t][1] + step_errors(u, steps, levels=self.levels)

    def result(self) -> LevelUse:
        """Return the use of levels over all batches."""
        integers, counts = np.arange(-self.levels, self.levels + 1), self.counts
        # Without negative spikes the integers are 0 ... D.
        if not counts[:, : self.levels].any():
            integers, counts = integers[self.levels :], counts[:, self.levels :]
        missing = np.full(len(counts), np.nan)
        ratios = [
            float("nan") if steps is None else divide_errors(error, np.min(errors))
            for steps, (error, errors) in zip(self.steps, self.errors, strict=True)
        ]
        return LevelUse(
            levels=self.levels,
            integers=integers,
            counts=counts,
            silent=np.mean(~self.fired, -1),
            saturated=np.mean(~self.below, -1),
            clipped=self.clipped / counts.sum(-1) if self.steps else missing,
            error_ratio=np.array(ratios) if self.steps else missing,
            samples=self.samples,
        )


@functools.partial(jax.jit, static_argnums=1)
def _sum_batch(
    count: Float[Array, "B T *N C"], levels: int
) -> tuple[Int[Array, "T K"], Bool[Array, "T C"], Bool[Array, "T C"]]:
    """Return how often each integer was sent, and two booleans for each channel.

    They say whether the channel ever fired, and whether it ever sent an integer below ±D.
    """
    inside, size = (0, *range(2, count.ndim)), jnp.abs(count)
    but_channels = inside[:-1]
    sent = [(count == k).sum(inside, dtype=int) for k in range(-levels, levels + 1)]
    fired, below = (size > 0).any(but_channels), (size < levels).any(but_channels)
    return jnp.stack(sent, -1), fired, below


@functools.partial(jax.jit, static_argnums=1)
def _count_clipped(rounded: Float[Array, "B T *N C"], levels: int) -> Int[Array, " T"]:
    return (rounded >= levels + 0.5).sum((0, *range(2, rounded.ndim)), dtype=int)


def take_membranes(
    layer: LayerRecording, most: int = MOST_MEMBRANES
) -> tuple[Float[np.ndarray, "T N"], Float[np.ndarray, "T N"]]:
    """Return at most `most` membranes of each step of a layer that rounds, and their spikes.

    A membrane is computed as what the neuron rounds, u / a, times the scale. `PITFull` rounds
    A⁻¹ u, in which channels are mixed, so there it is not the membrane itself.
    """
    assert layer.rounded is not None
    # Drawn with a fixed seed: evenly spaced ones could all belong to the same channels.
    size = layer.rounded[:, 0].size
    index = np.random.default_rng(0).integers(size, size=most) if size > most else np.arange(size)
    found = jax.device_get(_take(layer.rounded, layer.count, layer.scale, index))
    return found[0], found[1]


@jax.jit
def _take(
    rounded: Float[Array, "B T *N C"],
    count: Float[Array, "B T *N C"],
    scale: Float[Array, "*TC"] | None,
    index: Int[Array, " N"],
) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    def flatten(values: Array) -> Array:
        if scale is not None:
            aligned = align if scale.ndim == 2 else prepend_axes
            values = values * aligned(scale, values.ndim)
        return jnp.moveaxis(values, 1, 0).reshape(values.shape[1], -1)[:, index]

    return flatten(rounded), flatten(count)
