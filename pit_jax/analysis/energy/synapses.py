"""The synapses of a folded network, counted from shapes: their sources, numbers and weights.

How many accumulators a spike adds to is computed in pit_jax/inference/fan_out.py; layers.py turns
the counts into energy.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.fan_out import FanOut, Window, count_attention, count_fan_out
from pit_jax.inference.runtime.reductions import Shape
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class Synapses:
    """The synapses from one source to an accumulator, or a product of spikes.

    `kind` is `conv`, `linear`, `shortcut` (one synapse for each input), `current` (a sum that is
    added to the next one unchanged), `attention` or `product`. `reads` is `spikes`, with counts up
    to `levels`, `pixels` or `currents`. `stream` numbers the sources that share weights. They run
    in `steps` steps of a sample.

    In one step: numbers of `inputs` and `outputs`; `macs`, the products of a convolution or linear
    layer as papers count them, with padding; `connections`, the synapses, without padding; and
    `biases`, the additions of a bias. `copies` of `weights` numbers are stored.

    Summed over all samples and steps: `counted`, the sum of the source's |count|; `spikes`, those
    that send it; `accumulations`, the sum over spikes of the synapses they reach; and `products`,
    of pixels that are not 0. `by_sample` has the accumulations of each sample in float32 precision.
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


# The fan-out of sources that are not added, such as a product of spikes.
NOTHING = FanOut((), np.zeros((), np.int64))


@dataclass(frozen=True)
class SynapseRow:
    """Synapses with the index of their source node and its fan-out."""

    synapses: Synapses
    source: int
    fan: FanOut = NOTHING


def synapses_at(
    nodes: Sequence[folded.Node], number: int, num_steps: int, frames: bool
) -> list[SynapseRow]:
    """Return the synapses of one node.

    The pixels of images are multiplied once, those of `frames` at every step.
    """
    node = nodes[number]
    match node:
        case folded.Accumulator():
            return _list_synapses(nodes, node, num_steps, frames)
        case folded.LinearAttention():
            return [_trace_attention(nodes, node, num_steps)]
        case folded.Product():
            return [_trace_product(nodes, number, node, num_steps)]
    return []


def shape_of(node: folded.Node) -> Shape:
    """Return the shape of a node's output for one sample and step."""
    return node.value.shape if isinstance(node, folded.Accumulator) else node.shape


def _list_synapses(
    nodes: Sequence[folded.Node], node: folded.Accumulator, num_steps: int, frames: bool
) -> list[SynapseRow]:
    outputs = math.prod(node.value.shape)
    streams: Counter[str] = Counter()
    rows = []
    for synapse in node.value.synapses:
        traced = _trace_synapse(nodes, synapse, node)
        source, synapses = nodes[synapse.source], traced.synapses
        # An image is the same at every step, so its products are computed once.
        steps = 1 if isinstance(source, folded.Pixels) and not frames else num_steps
        synapses = replace(synapses, steps=steps, outputs=outputs)
        # A layer that reads a sum of several neurons has a synapse for each, with the same path.
        if synapse.weight is not None:
            synapses = replace(synapses, stream=streams[synapse.path])
            streams[synapse.path] += 1
        rows.append(replace(traced, synapses=synapses))
    # The accumulator adds its bias once for each output, whatever the number of sources.
    if np.any(node.value.bias):
        with_bias = replace(rows[0].synapses, biases=outputs)
        rows[0] = replace(rows[0], synapses=with_bias)
    return rows


def _trace_synapse(
    nodes: Sequence[folded.Node], synapse: folded.Synapse, node: folded.Accumulator
) -> SynapseRow:
    source = nodes[synapse.source]
    shape = shape_of(source)
    match source:
        case folded.Spikes() | folded.Product():
            reads = "spikes"
        case folded.Pixels():
            reads = "pixels"
        case _:
            reads = "currents"
    kind, kernel, weight = _read_weight(synapse)
    fan = count_fan_out(synapse.structure, shape, weight, spiking=reads == "spikes")
    macs = 0
    # h · w · C_in / groups · C_out products at each output place, those with padding included.
    if synapse.weight is not None:
        macs = math.prod(kernel.shape[1:]) * math.prod(node.value.shape[:-1])
    # The compiled program puts a positive gain of a current into its unit and multiplies nothing;
    # a gain of 0 or below is charged as a product.
    passes = reads == "currents" and kind == "shortcut" and bool(np.all(np.sign(synapse.gain) == 1))
    synapses = Synapses(
        path=(synapse.path or node.path) if not passes else node.path,
        kind="current" if passes else kind,
        reads=reads,
        source=getattr(source, "path", ""),
        steps=1,
        inputs=math.prod(shape),
        outputs=0,
        connections=fan.connections,
        levels=folded.count_levels(nodes, synapse.source),
        macs=macs,
        weights=0 if passes else math.prod(kernel.shape[1:]),
        copies=1 if passes else len(kernel),
    )
    return SynapseRow(synapses, synapse.source, fan)


def _read_weight(synapse: folded.Synapse) -> tuple[str, np.ndarray, Window | int | None]:
    """Return the kind of a synapse, the numbers that it stores, and its weights for a fan-out."""
    match synapse.weight:
        case folded.Conv(kernel, strides, padding, groups):
            return "conv", kernel, Window(kernel.shape[1:], strides, padding, groups)
        case folded.Dense(kernel):
            return "linear", kernel, kernel.shape[-1]
    if synapse.mixing is not None:
        return "shortcut", synapse.mixing, synapse.mixing.shape[-1]
    return "shortcut", synapse.gain, None


def _trace_attention(
    nodes: Sequence[folded.Node], node: folded.LinearAttention, num_steps: int
) -> SynapseRow:
    sources = node.query, node.key, node.value
    synapses = Synapses(
        path=node.path,
        kind="attention",
        reads="currents",
        source=" ".join(getattr(nodes[each], "path", "") for each in sources),
        steps=num_steps,
        inputs=sum(math.prod(shape_of(nodes[each])) for each in sources),
        outputs=math.prod(node.shape),
        connections=count_attention(node.shape, node.heads, node.weight.shape[-1]),
        weights=node.weight.shape[-1],
        copies=len(node.weight),
    )
    return SynapseRow(synapses, node.query)


def _trace_product(
    nodes: Sequence[folded.Node], number: int, node: folded.Product, num_steps: int
) -> SynapseRow:
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
        levels=folded.count_levels(nodes, number),
    )
    return SynapseRow(synapses, number)


serve_old_names(__name__)
