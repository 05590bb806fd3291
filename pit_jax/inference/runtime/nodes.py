"""The nodes of a program: what a folded network is once its numbers are integers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime.fixed_point import FixedNeuron
from pit_jax.inference.runtime.reductions import Pool, Shape, Structure


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
    """A layer of neurons at the current of one accumulator."""

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


def check_code(nodes: Sequence[Node]) -> None:
    """Raises NotFoldable where slots of unlike worth meet a maximum or a product: they add up, but
    neither of these says anything of them one by one."""

    def refuse(source: int, what: str) -> None:
        node = nodes[source]
        if isinstance(node, Spikes) and max(node.neuron.slots) > 1:
            raise NotFoldable(
                f"{what} reads the slots of {node.path} one by one, which the bitwise code does "
                'not allow; compile with code="thermometer".'
            )

    for node in nodes:
        match node:
            case Accumulator():
                for synapse in node.synapses:
                    if any(isinstance(s, Pool) and s.largest for s in synapse.structure):
                        refuse(synapse.source, f"the max-pool before {synapse.path}")
            case Product():
                for source in (node.first, node.second):
                    refuse(source, f"the product {node.path}")
            case LinearAttention():
                for source in (node.query, node.key, node.value):
                    refuse(source, f"the attention {node.path}")
