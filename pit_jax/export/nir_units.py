"""Give all channels of an accumulator one unit, and choose thresholds for NIR."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pit_jax.inference.runtime import nodes
from pit_jax.old_names import accept_old_keywords, serve_old_names


@accept_old_keywords
def unify_units(graph: Sequence[nodes.Node]) -> tuple[list[nodes.Node], dict[int, np.ndarray]]:
    """Return the nodes with one unit per accumulator, the finest of its channels, and multiples.

    After the change the currents of channel c are multiples of `multiples[accumulator][c]`.
    """
    changed: list[nodes.Node] = []
    multiples: dict[int, np.ndarray] = {}
    for number, node in enumerate(graph):
        match node:
            case nodes.Accumulator() if node.unit.size > 1 and _are_powers_of_two(node.unit):
                # Ratios of powers of two to the smallest one are integers, so weights stay
                # integers.
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
    """Return whether all units are powers of two; an accumulator without weights has its gain in
    its unit."""
    # frexp returns mantissas in [1/2, 1), exactly 1/2 for powers of two.
    return len(unit) == 1 and bool(np.all(np.frexp(unit)[0] == 0.5))


def place_threshold(lowest: np.ndarray, multiple: np.ndarray) -> np.ndarray:
    """Return thresholds between the `lowest` membrane that fires and the next lower `multiple`.

    No membrane equals them, so >= and > are the same test. If one number fits all channels, all
    thresholds are that number, because some simulators read one threshold for a layer.
    """
    # The largest membrane that must stay silent, and the smallest that must fire.
    below, above = (lowest - multiple).max(), lowest.min()
    if below < above:
        return np.full_like(lowest, (below + above) / 2)
    return lowest - multiple / 2


serve_old_names(__name__)
