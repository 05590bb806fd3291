"""The synapses of a folded network, counted from shapes: what reads what, and how often.

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


# Of what is not added, such as a product of spikes.
NOTHING = FanOut((), np.zeros((), np.int64))


@dataclass(frozen=True)
class SynapseRow:
    """Synapses with the number of their source and its fan-out."""

    synapses: Synapses
    source: int
    fan: FanOut = NOTHING


def synapses_at(
    nodes: Sequence[folded.Node], number: int, num_steps: int, frames: bool
) -> list[SynapseRow]:
    """The synapses of one node, for images, whose pixels are multiplied once, or for `frames`."""
    node = nodes[number]
    match node:
        case folded.Accumulator():
            return _of_accumulator(nodes, node, num_steps, frames)
        case folded.LinearAttention():
            return [_of_attention(nodes, node, num_steps)]
        case folded.Product():
            return [_of_product(nodes, number, node, num_steps)]
    return []


def shape_of(node: folded.Node) -> Shape:
    """The shape of one sample and step of what a node gives."""
    return node.value.shape if isinstance(node, folded.Accumulator) else node.shape


def _of_accumulator(
    nodes: Sequence[folded.Node], node: folded.Accumulator, num_steps: int, frames: bool
) -> list[SynapseRow]:
    outputs = math.prod(node.value.shape)
    streams: Counter[str] = Counter()
    rows = []
    for synapse in node.value.synapses:
        traced = _of_synapse(nodes, synapse, node)
        source, synapses = nodes[synapse.source], traced.synapses
        steps = 1 if isinstance(source, folded.Pixels) and not frames else num_steps
        synapses = replace(synapses, steps=steps, outputs=outputs)
        if synapse.weight is not None:
            synapses = replace(synapses, stream=streams[synapse.path])
            streams[synapse.path] += 1
        rows.append(replace(traced, synapses=synapses))
    if np.any(node.value.bias):
        with_bias = replace(rows[0].synapses, biases=outputs)
        rows[0] = replace(rows[0], synapses=with_bias)
    return rows


def _of_synapse(
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
    if synapse.weight is not None:
        macs = math.prod(kernel.shape[1:]) * math.prod(node.value.shape[:-1])
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


def _of_attention(
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


def _of_product(
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
