"""A program as a table for people: what feeds what, with how many weights, in which unit."""

import math
from collections.abc import Sequence

from pit_jax.inference.graph import Product
from pit_jax.inference.integers import Attended, Fired, Integer, Sampled, Summed, Synapse


def table(nodes: Sequence[Integer], num_steps: int) -> str:
    """One line for each source of an accumulator, each neuron layer and each product.

    A layer of weights is written once for each step whose weights differ and for each stream of
    spikes that it reads; `x 2 steps` says the first. What multiplies, because it reads pixels or
    currents, says so.
    """
    lines = [f"{num_steps} steps; counts are sent as binary spikes, one slot for each level"]
    for number in range(len(nodes)):
        lines.extend(f"{number:3}  {line}" for line in _lines(nodes, number))
    return "\n".join(lines)


def _lines(nodes: Sequence[Integer], number: int) -> list[str]:
    node = nodes[number]
    match node:
        case Sampled():
            return [f"input {_size(node.shape)} in units of {node.unit:g}, up to {node.bound}"]
        case Fired():
            neuron = node.neuron
            what = f"{neuron.levels} slot{'s' * (neuron.levels > 1)}"
            what += " of -1, 0, 1" * neuron.signed
            return [f"{node.path}: {_size(node.shape)} neurons fire {what} <- {node.accumulator}"]
        case Product():
            word = "without" if node.silent else "and"
            return [f"{node.path}: spikes of {node.first} {word} {node.second}"]
        case Attended():
            return [
                f"{node.path}: {node.query} times ({node.key} times {node.value}), multiplies "
                "currents"
            ]
        case Summed():
            bits = math.ceil(math.log2(node.bound + 1)) + 1
            unit = f"unit {node.unit.flat[0]:.3g}" if node.unit.size == 1 else "a unit per channel"
            head = f"{node.path}: sum {_size(node.shape)} of {bits} bits, {unit}"
            return [head, *(f"  {_synapse(nodes, synapse)}" for synapse in node.synapses)]
    raise TypeError(node)


def _synapse(nodes: Sequence[Integer], synapse: Synapse) -> str:
    source = nodes[synapse.source]
    if synapse.weight is None:
        return f"<- {synapse.source} passes on"
    copies = f" x {len(synapse.weight)} steps" if len(synapse.weight) > 1 else ""
    reads = " of pixels, multiplies" if isinstance(source, Sampled) else ""
    if isinstance(source, Summed | Attended) and synapse.kind != "diagonal":
        reads = " of currents, multiplies"
    size = _size(synapse.weight.shape[1:])
    return f"<- {synapse.source} {synapse.kind} {size}{copies}{reads} ({synapse.path})"


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
