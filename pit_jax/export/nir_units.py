"""A program whose currents count in one unit at each accumulator, as NIR's thresholds need it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pit_jax.inference.runtime import nodes
from pit_jax.old_names import accept_old_keywords, serve_old_names


@accept_old_keywords
def unify_units(graph: Sequence[nodes.Node]) -> tuple[list[nodes.Node], dict[int, np.ndarray]]:
    """Return the nodes with the finest unit of any channel at all channels of an accumulator, and
    by accumulator of what the currents of each channel `[C]` are multiples.
    """
    changed: list[nodes.Node] = []
    multiples: dict[int, np.ndarray] = {}
    for number, node in enumerate(graph):
        match node:
            case nodes.Accumulator() if node.unit.size > 1 and _are_powers_of_two(node.unit):
                times = multiples[number] = (node.unit / node.unit.min())[0].astype(np.int64)
                synapses = tuple(
                    s if s.weight is None else replace(s, weight=s.weight * times)
                    for s in node.synapses
                )
                node = replace(
                    node,
                    synapses=synapses,
                    bias=node.bias * times,
                    unit=np.full((1, 1), node.unit.min()),
                    bound=node.bound * int(times.max()),
                )
            case nodes.Spikes() if node.accumulator in multiples:
                times, neuron = multiples[node.accumulator], node.neuron
                first, step = neuron.first * times, neuron.step * times
                node = replace(node, neuron=replace(neuron, first=first, step=step))
        changed.append(node)
    return changed, multiples


def _are_powers_of_two(unit: np.ndarray) -> bool:
    """Return whether units are powers of two, as where weights enter; an accumulator that only
    passes a current on has its gain in its unit."""
    return len(unit) == 1 and bool(np.all(np.frexp(unit)[0] == 0.5))


def place_threshold(lowest: np.ndarray, multiple: np.ndarray) -> np.ndarray:
    """Return thresholds that no membrane has: below the `lowest` that fires, above the one before.

    If one number fits all channels, it is that number.
    """
    below, above = (lowest - multiple).max(), lowest.min()
    if below < above:
        return np.full_like(lowest, (below + above) / 2)
    return lowest - multiple / 2


serve_old_names(__name__)
