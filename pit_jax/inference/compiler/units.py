"""The unit of each accumulator: the finest power of two in which all of its sums stay exact.

A sum of weights w_i times counts is computed as one of integers round(w_i / unit). With |sum| <= B
in real numbers (`bounds`) and unit = 2^-p it stays within the limit L if B 2^p <= L, so that
p = floor(log2(L / B)). L is

- 2^24, as float32 has every integer up to there (`nodes.EXACT`), and
- 2^29 / T, as a membrane adds up currents of T steps and shall stay below 2^29 (`quantize_neuron`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.bounds import bound_values, find_largest
from pit_jax.inference.runtime import nodes

# Sums of products of pixels, or of currents, have this many bits more than their accumulator, to
# which they are rounded.
#
# A pixel x < 2^15 is summed in two halves, x = high 2^HALF + low (`runtime.step`), with HALF = 7:
# |high| <= 2^8 and low < 2^7. As sum |w| 2^15 <= 2^24 2^EXTRA_BITS, sum |w| <= 2^16, so that each
# half sums up to at most 2^24, which float32 has, and high 2^7 + low is below 2^31. With another
# bit sum |w| 2^8 would pass 2^24: EXTRA_BITS must not be larger than HALF.
EXTRA_BITS = 7
# Currents over all steps, and so membranes, stay below it.
MOST_OVER_TIME = 2**29


@dataclass
class Units:
    """The units 2^-p of the accumulators that weights enter.

    `group` maps each of them to the first of those that share its unit, and `exponents` that one
    to p, `[1 or C]`. `pixel` is the unit of pixels, which go up to `largest_input`. Sums stay below
    `limit`.
    """

    pixel: float
    largest_input: float
    limit: int
    group: dict[int, int]
    exponents: dict[int, np.ndarray]


def choose_units(
    graph: Sequence[folded.Node], num_steps: int, largest_input: float, bits: int | None
) -> Units:
    """Return the finest units; with `bits` they are as coarse as weights of `bits` bits need."""
    # Pixels are integers of PIXEL_BITS bits: largest_input / unit <= 2^15.
    pixel = 2.0 ** (math.ceil(math.log2(largest_input)) - nodes.PIXEL_BITS)
    limit = min(nodes.EXACT, MOST_OVER_TIME // num_steps)
    group = _group_accumulators(graph)
    # A pixel is rounded to its unit, by less than one of it.
    values = bound_values(graph, largest_input + pixel)
    exponents: dict[int, np.ndarray] = {}
    for number, first in group.items():
        # B 2^p <= limit.
        p = np.floor(np.log2(limit / np.maximum(values[number].each, 1e-30)))
        if bits:
            p = np.minimum(p, _fit_weights(graph, get_value(graph, number), bits, pixel))
        if not _has_unit_per_channel(graph, number, group):
            p = p.min(keepdims=True)
        # Those of one group have the coarsest unit that one of them needs.
        exponents[first] = np.minimum(p, exponents.get(first, p)).astype(int)
    return Units(pixel, largest_input, limit, group, exponents)


def get_value(graph: Sequence[folded.Node], number: int) -> folded.Value:
    """Return the value that an accumulator sums up."""
    node = graph[number]
    assert isinstance(node, folded.Accumulator)
    return node.value


def is_current(graph: Sequence[folded.Node], source: int) -> bool:
    """Return whether a node gives currents."""
    return isinstance(graph[source], folded.Accumulator | folded.LinearAttention)


def passes_current(graph: Sequence[folded.Node], synapse: folded.Synapse) -> bool:
    """Return whether a synapse adds the current of its source, without weights."""
    return synapse.weight is None and is_current(graph, synapse.source)


def is_rescaling(graph: Sequence[folded.Node], value: folded.Value) -> bool:
    """Return whether a value is one current times a gain: the same integers in another unit."""
    return len(value.synapses) == 1 and passes_current(graph, value.synapses[0])


def _group_accumulators(graph: Sequence[folded.Node]) -> dict[int, int]:
    """Return the accumulators that weights enter, each with the first of those it must share a
    unit with, as one adds the current of another."""
    parent = list(range(len(graph)))

    def find_root(i: int) -> int:
        return i if parent[i] == i else find_root(parent[i])

    with_weights = [
        i
        for i, node in enumerate(graph)
        if isinstance(node, folded.Accumulator) and not is_rescaling(graph, node.value)
    ]
    for i in with_weights:
        for synapse in get_value(graph, i).synapses:
            source = graph[synapse.source]
            if synapse.weight is None and isinstance(source, folded.Accumulator):
                parent[find_root(i)] = find_root(synapse.source)
    return {i: find_root(i) for i in with_weights}


def _has_unit_per_channel(graph: Sequence[folded.Node], number: int, group: dict[int, int]) -> bool:
    """Return whether only neurons read an accumulator, each its own channel: these may differ."""
    for node in graph:
        match node:
            case folded.Spikes() if node.accumulator == number and node.firing.mixing is not None:
                return False
            case folded.Accumulator() if any(s.source == number for s in node.value.synapses):
                return False
    alone = sum(first == group[number] for first in group.values()) == 1
    # Logits of all classes are compared with each other.
    return alone and number < len(graph) - 1


def _fit_weights(
    graph: Sequence[folded.Node], value: folded.Value, bits: int, pixel: float
) -> np.ndarray:
    """Return the largest p `[1 or C]` with |w| 2^p <= 2^(bits - 1) - 1 for all weights w."""
    largest = np.full(1, 1e-30)
    for synapse in value.synapses:
        if synapse.weight is not None:
            # The integer weights of pixels count unit / 2^EXTRA_BITS / pixel.
            pixels = isinstance(graph[synapse.source], folded.Pixels)
            unit = pixel * 2**EXTRA_BITS if pixels else 1.0
            largest = np.maximum(largest, find_largest(synapse.weight.kernel) * unit)
        elif not is_current(graph, synapse.source):
            weight = synapse.gain if synapse.mixing is None else synapse.mixing
            largest = np.maximum(largest, find_largest(weight))
    return np.floor(np.log2((2 ** (bits - 1) - 1) / largest))
