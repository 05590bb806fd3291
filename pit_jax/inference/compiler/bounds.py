"""Bounds of the sums of an accumulator, for any input.

A synapse of weight w whose source fires counts 0 <= k <= D adds w k, so that

    D sum_i min(w_i, 0)  <=  sum_i w_i k_i  <=  D sum_i max(w_i, 0).

For a source of both signs, |k| <= D, both bounds are D sum_i |w_i|.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.reductions import Structure
from pit_jax.old_names import serve_old_names


class Sides:
    """Bounds of sums above and below 0: sums stay within [-down, up], a number or `[C]` each.

    Partial sums stay within them too, in any order, since a part of the terms obeys the same
    inequality.
    """

    def __init__(self, up: Any, down: Any = None) -> None:
        self.up, self.down = up, up if down is None else down

    @classmethod
    def from_weight(cls, weight: np.ndarray, bound: int | float, both_signs: bool) -> "Sides":
        """Return the sides of `weight` `[T, ..., C_in, C]` for inputs from 0, or -bound, to bound.

        Each channel has the largest bound of all steps.
        """
        axes = tuple(range(1, weight.ndim - 1))
        # Sums of int32 weights could wrap around, and the bound would be too small.
        weight = weight.astype(np.float64)
        if both_signs:
            return cls(abs(weight).sum(axes).max(0) * bound)
        return cls(*(np.maximum(sign * weight, 0).sum(axes).max(0) * bound for sign in (1, -1)))

    def __add__(self, other: "Sides") -> "Sides":
        return Sides(self.up + other.up, self.down + other.down)

    @property
    def each(self) -> np.ndarray:
        """The larger bound of every channel, `[1 or C]`."""
        return np.atleast_1d(np.maximum(self.up, self.down))

    @property
    def largest(self) -> float:
        """The largest bound of any channel."""
        return float(self.each.max())


def expand_gain(gain: np.ndarray) -> np.ndarray:
    """Return a gain `[T, ..., C]` as weights `[T ..., 1, C]`, one synapse for each sum."""
    return gain.reshape(-1, 1, gain.shape[-1])


def measure_growth(structure: Sequence[Structure]) -> int:
    """Return the largest possible ratio of an output of `structure` to its largest input."""
    return math.prod(step.growth() for step in structure)


def find_largest(x: np.ndarray) -> np.ndarray:
    """Return the largest absolute value in each channel, the last axis."""
    channels: np.ndarray = abs(x).reshape(-1, x.shape[-1]).max(0)
    return channels


def is_signed(graph: Sequence[folded.Node], source: int) -> bool:
    """Return whether the values of a node can be below 0."""
    match graph[source]:
        case folded.Spikes() as spikes:
            return spikes.firing.signed
        case folded.Product() as product:
            return is_signed(graph, product.first) or (
                not product.silent and is_signed(graph, product.second)
            )
    return True


def bound_values(graph: Sequence[folded.Node], pixels: float) -> list[Sides]:
    """Return the bounds of each node's values in real numbers, for inputs of at most `pixels`."""
    values: list[Sides] = []
    for node in graph:
        match node:
            case folded.Pixels():
                values.append(Sides(pixels))
            case folded.Spikes():
                values.append(Sides(float(node.firing.levels)))
            case folded.Product():
                # |k1 k2| <= D1 D2; with `silent` a spike of the first passes or does not.
                first, second = values[node.first].largest, values[node.second].largest
                values.append(Sides(first * (1 if node.silent else second)))
            case folded.LinearAttention():
                values.append(Sides(_bound_attention(node, values)))
            case folded.Accumulator():
                values.append(_bound_sum(graph, node.value, values))
    return values


def _bound_sum(graph: Sequence[folded.Node], value: folded.Value, values: Sequence[Sides]) -> Sides:
    sides = Sides(find_largest(value.bias))
    for synapse in value.synapses:
        # A pool that sums m places multiplies the bound of its input by m.
        bound = values[synapse.source].largest * measure_growth(synapse.structure)
        if synapse.weight is not None:
            kernel = synapse.weight.kernel
        elif synapse.mixing is not None:
            kernel = np.swapaxes(synapse.mixing, 1, 2) * synapse.gain[:, None, :]
        else:
            kernel = expand_gain(synapse.gain)
        sides += Sides.from_weight(kernel, bound, is_signed(graph, synapse.source))
    return sides


def _bound_attention(node: folded.LinearAttention, values: Sequence[Sides]) -> float:
    """Return the bound of q (w kᵀ v): |q w k v| summed over tokens and the channels of a head."""
    query, key, value = (values[s].largest for s in (node.query, node.key, node.value))
    largest = float(abs(node.weight).max()) * (node.weight.shape[-1] // node.heads)
    return query * key * value * math.prod(node.shape[:-1]) * largest


def bound_synapse(synapse: nodes.Synapse, count: int, both_signs: bool) -> Sides:
    """Return the bounds of what a synapse adds, if its source is at most `count`."""
    bound = count * measure_growth(synapse.structure)
    if synapse.weight is None:
        return Sides(bound)
    weight = expand_gain(synapse.weight) if synapse.kind == "diagonal" else synapse.weight
    # round(x / 2^shift) <= floor(x / 2^shift) + 1.
    bound = (bound >> synapse.shift) + (synapse.shift > 0)
    sides = Sides.from_weight(weight, bound, both_signs)
    if not synapse.extra:
        return sides
    # round(x / 2^extra) <= floor(x / 2^extra) + 1. As the quantizer keeps this below 2^24, x itself
    # and the half added to round it stay int32: x + 2^(extra - 1) < 2^31 for extra <= 7.
    return Sides(*(side // 2**synapse.extra + 1 for side in (sides.up, sides.down)))


def cast_int32(numbers: np.ndarray, name: str, largest: int = 2**31 - 1) -> np.ndarray:
    """Return whole numbers as int32; raises NotFoldable for one beyond `largest`, or NaN."""
    # `astype` would wrap such a number around. `not <=` is true for NaN too.
    farthest = float(abs(numbers).max(initial=0))
    if not farthest <= largest:
        raise NotFoldable(
            f"{name} can reach {farthest:.3g} as an integer; at most {largest} fits.",
            "Bring the scales of the layer's channels and steps closer together, or set those near "
            "0 to 0.",
        )
    return numbers.astype(np.int32)


serve_old_names(__name__)
