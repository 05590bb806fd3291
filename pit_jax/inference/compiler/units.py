"""The unit of each accumulator: the finest power of two in which all of its sums stay exact.

Sums of counts times weights w_i are computed with the integers round(w_i / unit). If |sum| <= B in
real numbers (`bounds`), the integer sum in the unit 2^-p is at most about B 2^p, which must not
exceed a limit L. So p = floor(log2(L / B)), where L is the smaller of

- 2^24, since float32 represents every integer up to there (`nodes.EXACT`), and
- 2^29 / T, since a membrane adds up the currents of T steps and must stay below 2^29
  (`quantize_neuron`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.bounds import bound_values, find_largest
from pit_jax.inference.runtime import nodes

# Sums of products of pixels, or of currents, have this many bits more than their accumulator, to
# whose unit they are then rounded.
#
# A pixel |x| <= 2^15 is split into two halves, x = high 2^HALF + low (`runtime.step`), HALF = 7:
#     |high| <= 2^8  and  0 <= low < 2^7.
# Its integer weights obey sum |w| 2^15 <= 2^24 2^EXTRA_BITS, so that sum |w| <= 2^16 and
#     |sum w high| <= 2^16 2^8 = 2^24,
# which float32 represents exactly, and high 2^7 + low is below 2^31 in int32. With one bit more
# sum |w| 2^8 could exceed 2^24: EXTRA_BITS must not be larger than HALF.
EXTRA_BITS = 7
# Limit of the currents of all steps together, and so of membranes.
MOST_OVER_TIME = 2**29


@dataclass
class Units:
    """The units 2^-p of the accumulators that weights enter.

    Accumulators that share a unit form a group. `group` maps the number of each accumulator to the
    first of its group, and `exponents` maps this one to p, `[1 or C]`. `pixel` is the unit of
    pixels, which are at most `largest_input`. Sums stay below `limit`.
    """

    pixel: float
    largest_input: float
    limit: int
    group: dict[int, int]
    exponents: dict[int, np.ndarray]


def choose_units(
    graph: Sequence[folded.Node], num_steps: int, largest_input: float, bits: int | None
) -> Units:
    """Return the finest units, or with `bits` the finest in which all weights have `bits` bits."""
    # The finest unit with largest_input / unit <= 2^PIXEL_BITS.
    pixel = 2.0 ** (math.ceil(math.log2(largest_input)) - nodes.PIXEL_BITS)
    limit = min(nodes.EXACT, MOST_OVER_TIME // num_steps)
    group = _group_accumulators(graph)
    # Rounding makes a pixel larger than `largest_input` by less than one unit.
    values = bound_values(graph, largest_input + pixel)
    exponents: dict[int, np.ndarray] = {}
    for number, first in group.items():
        # The largest p with B 2^p <= limit. The 1e-30 is for sums that are always 0.
        p = np.floor(np.log2(limit / np.maximum(values[number].each, 1e-30)))
        if bits:
            p = np.minimum(p, _fit_weights(graph, get_value(graph, number), bits, pixel))
        if not _has_unit_per_channel(graph, number, group):
            p = p.min(keepdims=True)
        # The members of a group share the coarsest unit that one of them needs.
        exponents[first] = np.minimum(p, exponents.get(first, p)).astype(int)
    return Units(pixel, largest_input, limit, group, exponents)


def get_value(graph: Sequence[folded.Node], number: int) -> folded.Value:
    """Return the value that an accumulator sums up."""
    node = graph[number]
    assert isinstance(node, folded.Accumulator)
    return node.value


def is_current(graph: Sequence[folded.Node], source: int) -> bool:
    """Return whether the output of a node is a current."""
    return isinstance(graph[source], folded.Accumulator | folded.LinearAttention)


def passes_current(graph: Sequence[folded.Node], synapse: folded.Synapse) -> bool:
    """Return whether a synapse adds the current of its source, without weights."""
    return synapse.weight is None and is_current(graph, synapse.source)


def is_rescaling(graph: Sequence[folded.Node], value: folded.Value) -> bool:
    """Return whether a value is one current times a gain, the same integers in another unit."""
    return len(value.synapses) == 1 and passes_current(graph, value.synapses[0])


def _group_accumulators(graph: Sequence[folded.Node]) -> dict[int, int]:
    """Map each accumulator that weights enter to the first of its group.

    Accumulators of which one adds the current of another must count in the same unit.
    """
    # A union-find forest: parent[i] leads to the representative of i's group.
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
    """Return whether each channel of an accumulator may have its own unit.

    This holds if only neurons read it, each of them one channel.
    """
    for node in graph:
        match node:
            case folded.Spikes() if node.accumulator == number and node.firing.mixing is not None:
                return False
            case folded.Accumulator() if any(s.source == number for s in node.value.synapses):
                return False
    alone = sum(first == group[number] for first in group.values()) == 1
    # The last accumulator sums the logits; they are compared, so all classes share one unit.
    return alone and number < len(graph) - 1


def _fit_weights(
    graph: Sequence[folded.Node], value: folded.Value, bits: int, pixel: float
) -> np.ndarray:
    """Return the largest p `[1 or C]` with |w| 2^p <= 2^(bits - 1) - 1 for all weights w."""
    largest = np.full(1, 1e-30)
    for synapse in value.synapses:
        if synapse.weight is not None:
            # An integer weight of pixels counts units of 2^-p / 2^EXTRA_BITS / pixel.
            pixels = isinstance(graph[synapse.source], folded.Pixels)
            unit = pixel * 2**EXTRA_BITS if pixels else 1.0
            largest = np.maximum(largest, find_largest(synapse.weight.kernel) * unit)
        elif not is_current(graph, synapse.source):
            weight = synapse.gain if synapse.mixing is None else synapse.mixing
            largest = np.maximum(largest, find_largest(weight))
    return np.floor(np.log2((2 ** (bits - 1) - 1) / largest))
