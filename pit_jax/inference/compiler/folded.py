"""The nodes of a folded network in real numbers.

A value between layers is a sum of synapses and a bias. A synapse reads a source (pixels, the spikes
of a neuron, or the current of an accumulator) through pools, sums and reshapes, with either a gain
per channel or one layer of weights. `runtime.nodes` has the same nodes in integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.runtime.reductions import Shape, Structure
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class Conv:
    """A convolution with its kernel `[1 or T, h, w, C_in / groups, C_out]`."""

    kernel: np.ndarray
    strides: Shape
    padding: tuple[tuple[int, int], ...]
    groups: int


@dataclass(frozen=True)
class Dense:
    """A linear layer over the last axis with its kernel `[1 or T, C_in, C_out]`."""

    kernel: np.ndarray


Weight = Conv | Dense


@dataclass(frozen=True)
class Synapse:
    """A term of a sum: gain * structure(source), or weight(structure(source)).

    `gain` is `[1 or T, ...]`. `mixing` `[T, C, C]` acts on the channels of the source before the
    structure (PITFull). `path` is the layer with these weights, or the module of a shortcut.
    """

    source: int
    structure: tuple[Structure, ...] = ()
    gain: np.ndarray = field(default_factory=lambda: np.ones((1, 1)))
    mixing: np.ndarray | None = None
    weight: Weight | None = None
    path: str = ""


@dataclass(frozen=True)
class Value:
    """A sum of synapses and a bias `[1 or T, ...]`; `shape` is one sample at one step."""

    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    shape: Shape


@dataclass(frozen=True)
class Pixels:
    """The input."""

    shape: Shape


@dataclass(frozen=True)
class Accumulator:
    """An accumulator: its output is the sum `value`, computed once per step."""

    value: Value
    path: str


@dataclass(frozen=True)
class Spikes:
    """A layer of neurons that reads the current of one accumulator and fires counts."""

    accumulator: int
    firing: FiringRule
    shape: Shape
    path: str


@dataclass(frozen=True)
class Product:
    """The product of two spikes: 1 where both fire, or with `silent` where only the first fires.

    `pools` are the max-pools between each of the two sources and the product.
    """

    first: int
    second: int
    shape: Shape
    path: str
    silent: bool = False
    pools: tuple[tuple[Structure, ...], tuple[Structure, ...]] = ((), ())


@dataclass(frozen=True)
class LinearAttention:
    """The current query (weight keyᵀ value) of the spikes of three layers; `weight` is `[T, C]`."""

    query: int
    key: int
    value: int
    heads: int
    weight: np.ndarray
    shape: Shape
    path: str


Node = Pixels | Accumulator | Spikes | Product | LinearAttention


def count_levels(nodes: Sequence[Node], source: int) -> int:
    """Return the largest count of spikes or their product, or 0 for pixels and currents."""
    node = nodes[source]
    match node:
        case Spikes():
            return node.firing.levels
        case Product():
            first = count_levels(nodes, node.first)
            return first if node.silent else first * count_levels(nodes, node.second)
    return 0


serve_old_names(__name__)
