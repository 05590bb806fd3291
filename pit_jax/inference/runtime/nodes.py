"""The nodes of a program: a folded network whose numbers are integers.

Each class has the same name as its counterpart in real numbers in `compiler.folded`. Both modules
are imported as a whole, so that code says `nodes.Spikes` or `folded.Spikes`.
"""

from dataclasses import dataclass

import numpy as np

from pit_jax.inference.runtime.fixed_point import FixedNeuron
from pit_jax.inference.runtime.reductions import Shape, Structure
from pit_jax.old_names import serve_old_names

# float32 represents every integer up to 2^24: sums of integers that stay below it are exact in any
# order, also with fused multiply-adds.
EXACT = 2**24
# Bits of a pixel without its sign.
PIXEL_BITS = 15


@dataclass(frozen=True)
class Synapse:
    """Integer weights of one source of an accumulator; without weights its current is added.

    `kind` and the shape of the weights are `conv` `[1 or T, h, w, C_in / groups, C_out]`, `dense`
    `[1 or T, C_in, C_out]`, `diagonal` `[1 or T, ...]` (one synapse for each value), or `pass`.
    If the source is multiplied (a current or pixels), its last `shift` bits are rounded off before
    the sum, and the last `extra` bits of the sum after it.
    """

    source: int
    structure: tuple[Structure, ...]
    weight: np.ndarray | None
    kind: str
    path: str
    strides: Shape = ()
    padding: tuple[tuple[int, int], ...] = ()
    groups: int = 1
    shift: int = 0
    extra: int = 0


@dataclass(frozen=True)
class Accumulator:
    """A sum of synapses and a bias `[1 or T, ...]` in `unit` `[1 or T, 1 or C]`, up to `bound`."""

    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    unit: np.ndarray
    bound: int
    shape: Shape
    path: str


@dataclass(frozen=True)
class Pixels:
    """The input, in integers of `unit` that are clipped to -bound..bound."""

    unit: float
    bound: int
    shape: Shape


@dataclass(frozen=True)
class Spikes:
    """A layer of neurons that reads the current of one accumulator and fires counts."""

    accumulator: int
    neuron: FixedNeuron
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
    """The current query (weight keyᵀ value) of three layers' spikes; `weight` is `[T, C]`."""

    query: int
    key: int
    value: int
    heads: int
    weight: np.ndarray
    unit: np.ndarray
    bound: int
    shape: Shape
    path: str


Node = Pixels | Accumulator | Spikes | Product | LinearAttention


serve_old_names(__name__)
