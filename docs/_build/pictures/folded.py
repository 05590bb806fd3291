"""Pictures of parts of a folded network: all operations between two neuron layers."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from docs._build.pictures.graph import Picture, TextNode, make_plain_picture
from pit_jax.inference.compiler.folded import (
    Accumulator,
    Conv,
    Dense,
    LinearAttention,
    Node,
    Pixels,
    Product,
    Spikes,
    Synapse,
)
from pit_jax.inference.runtime.reductions import Pool, Reshape, Structure


def make_part_picture(nodes: Sequence[Node], first: str, last: str) -> Picture:
    """Return the picture from the current of neuron layer `first` to the spikes of `last`.

    Neuron layers that are outside this part but read by it are drawn first, after a single input.
    """
    places = {node.path: i for i, node in enumerate(nodes) if isinstance(node, Spikes)}
    begin, end = nodes[places[first]], places[last]
    assert isinstance(begin, Spikes)
    inside = range(begin.accumulator, end + 1)
    drawing = _Drawing(nodes, inside)
    for number in inside:
        drawing.add(number)
    return make_plain_picture(drawing.boxes)


class _Drawing:
    def __init__(self, nodes: Sequence[Node], inside: range) -> None:
        self.nodes, self.inside = nodes, inside
        self.boxes: list[TextNode] = []
        self.places: dict[int, int] = {}

    def add(self, number: int) -> None:
        """Append the boxes of a node, after the boxes of the nodes that it reads."""
        node = self.nodes[number]
        match node:
            case Accumulator():
                ends = [self._add_synapse(synapse) for synapse in node.value.synapses]
                bias = "+ bias" if np.any(node.value.bias) else ""
                at = self._add_box("accumulator", node.value.shape, ends, below=bias)
            case Spikes():
                slots = f"{node.firing.levels} slot{'s' * (node.firing.levels > 1)}"
                outside = node.accumulator not in self.inside
                sources = [self._find_box(node.accumulator)]
                below = node.path.partition("/")[0] if outside else ""
                at = self._add_box("neuron", node.shape, sources, ("neuron", slots), below)
            case Product():
                sources = [self._find_box(node.first), self._find_box(node.second)]
                at = self._add_box("product", node.shape, sources, below="both fire")
            case LinearAttention():
                sources = [self._find_box(i) for i in (node.query, node.key, node.value)]
                at = self._add_box("attention", node.shape, sources, ("attention", "multiplies"))
            case _:
                raise TypeError(node)
        self.places[number] = at

    def _find_box(self, number: int) -> int:
        """Return the box of a node; add it after the input if the node is outside of the part."""
        if number in self.places:
            return self.places[number]
        node = self.nodes[number]
        # From outside: a neuron is drawn as if it read the input, and currents are the input.
        if isinstance(node, Spikes):
            self._find_input(node.accumulator, node.shape)
            self.add(number)
            return self.places[number]
        assert isinstance(node, Pixels | Accumulator)
        shape = node.shape if isinstance(node, Pixels) else node.value.shape
        return self._find_input(number, shape)

    def _find_input(self, number: int, shape: tuple[int, ...]) -> int:
        if not self.boxes:
            self._add_box("input", shape, [])
        return self.places.setdefault(number, 0)

    def _add_box(
        self,
        kind: str,
        shape: tuple[int, ...],
        inputs: Sequence[int],
        words: tuple[str, str] = ("", ""),
        below: str = "",
    ) -> int:
        whole, dtype = (1, 1, *shape), np.dtype(np.float32)
        self.boxes.append(TextNode("", kind, whole, dtype, tuple(inputs), words=words, below=below))
        return len(self.boxes) - 1

    def _add_synapse(self, synapse: Synapse) -> int:
        at = self._find_box(synapse.source)
        shape = self.boxes[at].shape[2:]
        for structure in synapse.structure:
            if not isinstance(structure, Reshape):
                at = self._add_box(*_describe_pool(structure, shape, at))
        spikes = isinstance(self.nodes[synapse.source], Spikes | Product)
        match synapse.weight:
            case Conv(kernel):
                name, steps = f"conv {kernel.shape[1]}×{kernel.shape[2]}", len(kernel)
            case Dense(kernel):
                name, steps = "linear", len(kernel)
            case None if spikes:
                words = "diagonal", _format_copies(len(synapse.gain)) or f"{shape[-1]} synapses"
                return self._add_box("synapse", shape, [at], words)
            case None:
                return self._add_box("current", shape, [at], ("current", "passes on"))
        detail = (_format_copies(steps) or "folded") if spikes else "multiplies"
        own = synapse.path.rpartition("/")[2]
        return self._add_box(name.partition(" ")[0], shape, [at], (name, detail), own)


def _format_copies(steps: int) -> str:
    return f"×{steps} steps" if steps > 1 else ""


def _describe_pool(
    structure: Structure, shape: tuple[int, ...], at: int
) -> tuple[str, tuple[int, ...], list[int], tuple[str, str]]:
    if not isinstance(structure, Pool):
        return "average pool", shape, [at], ("sum", "all places")
    size = "×".join(map(str, structure.window[:2]))
    if structure.largest:
        return "max pool", shape, [at], (f"max {size}", "of each slot")
    return "average pool", shape, [at], (f"sum {size}", "of spikes")


def count_streams(nodes: Sequence[Node]) -> dict[str, int]:
    """Count the sources that each layer of weights reads, and so its copies, by its path."""
    synapses = chain.from_iterable(n.value.synapses for n in nodes if isinstance(n, Accumulator))
    counted: dict[str, int] = {}
    for synapse in synapses:
        if synapse.weight is not None:
            counted[synapse.path] = counted.get(synapse.path, 0) + 1
    return counted
