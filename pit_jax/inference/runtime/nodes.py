"""The nodes of a program: a folded network whose numbers are integers.

Each class has the name of its counterpart in real numbers in `compiler.folded`; this module is
imported as a whole, so that one reads `nodes.Spikes` here and `folded.Spikes` there.
"""

from dataclasses import dataclass

import numpy as np

from pit_jax.inference.runtime.fixed_point import FixedNeuron
from pit_jax.inference.runtime.reductions import Shape, Structure
from pit_jax.old_names import serve_old_names

# float32 has every integer up to 2^24, so sums of integers that stay below are exact in any order.
EXACT = 2**24
# A pixel is an integer of at most this many bits.
PIXEL_BITS = 15


@dataclass(frozen=True)
class Synapse:
    """Integer weights of one source: `[1 or T, h, w, C_in / groups, C_out]` of a convolution,
    `[1 or T, C_in, C_out]` of a linear layer, `[1 or T, ...]` of one synapse each (`diagonal`).

    Without weights the current passes on. Where the source is multiplied, because it is a current
    or pixels, its last `shift` bits are rounded off before and the last `extra` of the sum after.
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
    """An accumulator: its synapses, its bias `[1 or T, ...]`, its unit `[1 or T, 1 or C]`."""

    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    unit: np.ndarray
    bound: int
    shape: Shape
    path: str


@dataclass(frozen=True)
class Pixels:
    """Pixels in units of `unit`, not beyond `bound` of them."""

    unit: float
    bound: int
    shape: Shape


@dataclass(frozen=True)
class Spikes:
    """A layer of neurons at the current of one accumulator: the counts that it fires."""

    accumulator: int
    neuron: FixedNeuron
    shape: Shape
    path: str


@dataclass(frozen=True)
class Product:
    """The products of two spikes: where both fire, or with `silent` where only the first does.

    `pools` are the maxima over places after each of the two sources.
    """

    first: int
    second: int
    shape: Shape
    path: str
    silent: bool = False
    pools: tuple[tuple[Structure, ...], tuple[Structure, ...]] = ((), ())


@dataclass(frozen=True)
class LinearAttention:
    """query (weight keyᵀ value) of three spikes, a current in `unit`; `weight` is `[T, C]`."""

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
