"""The nodes of a program: what a folded network is once its numbers are integers."""

from dataclasses import dataclass

import numpy as np

from pit_jax.inference.fixed import FixedNeuron
from pit_jax.inference.graph import Product
from pit_jax.inference.structure import Shape, Structure


@dataclass(frozen=True)
class Synapse:
    """Integer weights of one source: `[1 or T, h, w, C_in / groups, C_out]` of a convolution,
    `[1 or T, C_in, C_out]` of a linear layer, `[1 or T, ...]` of one synapse each (`diagonal`).

    Without weights the current passes on. Of a current that is multiplied the last `shift` bits are
    rounded off before, and the last `extra` of the product after; likewise of pixels.
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
class Summed:
    """An accumulator: its synapses, its bias `[1 or T, ...]`, its unit `[1 or T, 1 or C]`."""

    synapses: tuple[Synapse, ...]
    bias: np.ndarray
    unit: np.ndarray
    bound: int
    shape: Shape
    path: str


@dataclass(frozen=True)
class Sampled:
    """Pixels in units of `unit`, not beyond `bound` of them."""

    unit: float
    bound: int
    shape: Shape


@dataclass(frozen=True)
class Fired:
    """A layer of neurons at the current of one accumulator."""

    accumulator: int
    neuron: FixedNeuron
    shape: Shape
    path: str


@dataclass(frozen=True)
class Attended:
    """`Attention` with integer weights; its current counts in `unit`."""

    query: int
    key: int
    value: int
    heads: int
    weight: np.ndarray
    unit: np.ndarray
    bound: int
    shape: Shape
    path: str


Integer = Sampled | Summed | Fired | Product | Attended
