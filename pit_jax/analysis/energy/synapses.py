"""The synapses of a folded network, counted from shapes: what reads what, and how often."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

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
    levels_of,
)
from pit_jax.inference.fan_out import count_outputs, find_last_shape, reach, split_structure
from pit_jax.inference.runtime.reductions import Shape, Structure


@dataclass(frozen=True)
class Synapses:
    """What one source of an accumulator, or a product of spikes, takes for `steps` of a sample.

    `kind` is `conv` or `linear`, `shortcut` for one synapse each, `current` for a sum that passes
    on, `attention` or `product`. `reads` says what: `spikes` with counts up to `levels`, or
    `pixels` or `currents`; `stream` is not 0 where the same weights read several sources.

    Of one step: `inputs` and `outputs` are numbers, `macs` the products of a convolution or linear
    layer as papers count them, those with padding too, `connections` the synapses without them,
    `biases` the additions of a bias. `weights` are stored in `copies`.

    Of all samples and steps: the sum of the source's |count|, `counted`, the `spikes` that say it,
    `accumulations`, each of them times the synapses it reaches, and `products` of pixels that are
    not 0. `by_sample` has the accumulations of each sample, rounded as float32 does.
    """

    path: str
    kind: str
    reads: str
    source: str
    steps: int
    inputs: int
    outputs: int
    connections: int
    levels: int = 1
    stream: int = 0
    macs: int = 0
    biases: int = 0
    weights: int = 0
    copies: int = 1
    counted: int = 0
    spikes: int = 0
    accumulations: int = 0
    products: int = 0
    by_sample: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)


@dataclass(frozen=True)
class SynapseRow:
    """Synapses with their source's number, and the `reached` accumulators of each place behind
    `before`, where additions begin."""

    synapses: Synapses
    source: int
    before: Sequence[Structure] = ()
    reached: np.ndarray | int = 0


def synapses_at(
    nodes: Sequence[Node], number: int, num_steps: int, frames: bool
) -> list[SynapseRow]:
    """The synapses of one node, for images, whose pixels are multiplied once, or for `frames`."""
    node = nodes[number]
    match node:
        case Accumulator():
            return _of_accumulator(nodes, node, num_steps, frames)
        case LinearAttention():
            return [_of_attention(nodes, node, num_steps)]
        case Product():
            return [_of_product(nodes, number, node, num_steps)]
    return []


def shape_of(node: Node) -> Shape:
    """The shape of one sample and step of what a node gives."""
    return node.value.shape if isinstance(node, Accumulator) else node.shape


def _of_accumulator(
    nodes: Sequence[Node], node: Accumulator, num_steps: int, frames: bool
) -> list[SynapseRow]:
    outputs = math.prod(node.value.shape)
    streams: Counter[str] = Counter()
    rows = []
    for synapse in node.value.synapses:
        traced = _of_synapse(nodes, synapse, node)
        source, synapses = nodes[synapse.source], traced.synapses
        steps = 1 if isinstance(source, Pixels) and not frames else num_steps
        synapses = replace(synapses, steps=steps, outputs=outputs)
        if synapse.weight is not None:
            synapses = replace(synapses, stream=streams[synapse.path])
            streams[synapse.path] += 1
        rows.append(replace(traced, synapses=synapses))
    if np.any(node.value.bias):
        with_bias = replace(rows[0].synapses, biases=outputs)
        rows[0] = replace(rows[0], synapses=with_bias)
    return rows


def _of_synapse(nodes: Sequence[Node], synapse: Synapse, node: Accumulator) -> SynapseRow:
    source = nodes[synapse.source]
    shape = shape_of(source)
    match source:
        case Spikes() | Product():
            reads = "spikes"
        case Pixels():
            reads = "pixels"
        case _:
            reads = "currents"
    before, behind = split_structure(synapse.structure, reads == "spikes")
    inputs = find_last_shape(synapse.structure, shape)
    fan, kind, kernel = np.ones(inputs, np.int64), "shortcut", synapse.gain
    macs = 0
    if isinstance(synapse.weight, Conv):
        kind, kernel = "conv", synapse.weight.kernel
        window = synapse.weight.strides, synapse.weight.padding, synapse.weight.groups
        fan = count_outputs(inputs, kernel.shape[1:], *window)
    elif isinstance(synapse.weight, Dense):
        kind, kernel = "linear", synapse.weight.kernel
        fan = np.full(inputs, kernel.shape[-1])
    elif synapse.mixing is not None:
        kernel = synapse.mixing
        fan = np.full(inputs, kernel.shape[-1])
    if synapse.weight is not None:
        macs = math.prod(kernel.shape[1:]) * math.prod(node.value.shape[:-1])
    passes = reads == "currents" and kind == "shortcut" and bool(np.all(np.sign(synapse.gain) == 1))
    reached = reach(before, behind, shape, fan)
    synapses = Synapses(
        path=(synapse.path or node.path) if not passes else node.path,
        kind="current" if passes else kind,
        reads=reads,
        source=getattr(source, "path", ""),
        steps=1,
        inputs=math.prod(shape),
        outputs=0,
        connections=int(reached.sum()),
        levels=levels_of(nodes, synapse.source),
        macs=macs,
        weights=0 if passes else math.prod(kernel.shape[1:]),
        copies=1 if passes else len(kernel),
    )
    return SynapseRow(synapses, synapse.source, before, reached)


def _of_attention(nodes: Sequence[Node], node: LinearAttention, num_steps: int) -> SynapseRow:
    # Keys by values, their products scaled, and queries by these.
    channels = node.shape[-1] // node.heads
    macs = node.weight.shape[-1] * channels * (2 * math.prod(node.shape[:-1]) + 1)
    sources = node.query, node.key, node.value
    synapses = Synapses(
        path=node.path,
        kind="attention",
        reads="currents",
        source=" ".join(getattr(nodes[each], "path", "") for each in sources),
        steps=num_steps,
        inputs=sum(math.prod(shape_of(nodes[each])) for each in sources),
        outputs=math.prod(node.shape),
        connections=macs,
        weights=node.weight.shape[-1],
        copies=len(node.weight),
    )
    return SynapseRow(synapses, node.query)


def _of_product(nodes: Sequence[Node], number: int, node: Product, num_steps: int) -> SynapseRow:
    sources = node.first, node.second
    synapses = Synapses(
        path=node.path,
        kind="product",
        reads="spikes",
        source=" ".join(getattr(nodes[each], "path", "") for each in sources),
        steps=num_steps,
        inputs=sum(math.prod(shape_of(nodes[each])) for each in sources),
        outputs=math.prod(node.shape),
        connections=math.prod(node.shape),
        levels=levels_of(nodes, number),
    )
    return SynapseRow(synapses, number)
