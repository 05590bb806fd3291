"""Print a program as a table: the source, weights and unit of each accumulator."""

import math
from collections.abc import Sequence

import numpy as np

from pit_jax.inference.runtime import nodes
from pit_jax.old_names import accept_old_keywords, serve_old_names


@accept_old_keywords
def format_table(graph: Sequence[nodes.Node], num_steps: int) -> str:
    """Return a line for each accumulator and each of its sources, neuron layer and product.

    A layer of weights has a line for each stream of spikes that it reads; `x 2 steps` means that
    each of two steps has its own weights. `multiplies` marks layers that read pixels or currents.
    """
    lines = [f"{num_steps} step{'s' * (num_steps > 1)}; counts are sent as binary spikes in slots"]
    for number in range(len(graph)):
        lines.extend(f"{number:3}  {line}" for line in _format_node(graph, number))
    return "\n".join(lines)


def _format_node(graph: Sequence[nodes.Node], number: int) -> list[str]:
    node = graph[number]
    match node:
        case nodes.Pixels():
            return [
                f"input {_format_size(node.shape)} in units of {node.unit:g}, up to {node.bound}"
            ]
        case nodes.Spikes():
            neuron = node.neuron
            worth = ", ".join(map(str, neuron.slots))
            slots = f"{len(neuron.slots)} slot{'s' * (len(neuron.slots) > 1)}"
            slots += f" of {worth} levels" if max(neuron.slots) > 1 else ""
            slots += " of -1, 0, 1" * neuron.signed
            at = graph[node.accumulator]
            assert isinstance(at, nodes.Accumulator | nodes.LinearAttention)
            threshold = _format_range(neuron.first * (at.unit / 2**neuron.guard))
            neurons = f"{node.path}: {_format_size(node.shape)} neurons"
            return [f"{neurons} fire {slots} <- {node.accumulator}, threshold {threshold}"]
        case nodes.Product():
            word = "without" if node.silent else "and"
            return [f"{node.path}: spikes of {node.first} {word} {node.second}"]
        case nodes.LinearAttention():
            return [
                f"{node.path}: {node.query} times ({node.key} times {node.value}), multiplies "
                "currents"
            ]
        case nodes.Accumulator():
            bits = math.ceil(math.log2(node.bound + 1)) + 1
            unit = f"unit {node.unit.flat[0]:.3g}" if node.unit.size == 1 else "a unit per channel"
            head = f"{node.path}: sum {_format_size(node.shape)} of {bits} bits, {unit}"
            return [head, *(f"  {_format_synapse(graph, synapse)}" for synapse in node.synapses)]
    raise TypeError(node)


def _format_synapse(graph: Sequence[nodes.Node], synapse: nodes.Synapse) -> str:
    source = graph[synapse.source]
    if synapse.weight is None:
        return f"<- {synapse.source} passes on"
    copies = f" x {len(synapse.weight)} steps" if len(synapse.weight) > 1 else ""
    reads = " of pixels, multiplies" if isinstance(source, nodes.Pixels) else ""
    if isinstance(source, nodes.Accumulator | nodes.LinearAttention) and synapse.kind != "diagonal":
        reads = " of currents, multiplies"
    size = _format_size(synapse.weight.shape[1:])
    return f"<- {synapse.source} {synapse.kind} {size}{copies}{reads} ({synapse.path})"


def align_columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Format rows as lines, the first `left` columns left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _format_range(x: np.ndarray) -> str:
    low, high = float(x.min()), float(x.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _format_size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


serve_old_names(__name__)
