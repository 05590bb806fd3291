"""The costs of a program: additions for spikes, remaining multiplications, copies of weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pit_jax.display import html_table
from pit_jax.inference.fan_out import (
    Window,
    count_arrivals,
    count_attention,
    count_fan_out,
    split_structure,
)
from pit_jax.inference.listing import align_columns
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.step import collect_weights, run
from pit_jax.old_names import accept_old_keywords


@dataclass(frozen=True)
class Cost:
    """The cost of one source of an accumulator, for one sample over all steps.

    `accumulations` sums over the spikes how many synapses each reaches, borders, strides and groups
    included, averaged over samples. `macs` counts products of pixels or currents, `additions` the
    currents that pass without weights, `dense_macs` the products of the layer if every input were
    one number that is not 0. `weights` is their number in one step, stored in `copies`.
    """

    path: str
    source: str
    accumulations: float = 0.0
    macs: int = 0
    additions: int = 0
    weights: int = 0
    copies: int = 1
    dense_macs: int = 0


@dataclass(frozen=True, repr=False)
class Costs:
    """The costs of a program, one row for each source of each accumulator; `str` is a table."""

    rows: list[Cost]

    def total(self, what: str) -> float:
        """Return the sum of one field over all rows."""
        return float(sum(getattr(row, what) for row in self.rows))

    @property
    def stored_weights(self) -> int:
        """The number of stored weights, all copies for steps and streams included."""
        return sum(row.weights * row.copies for row in self.rows)

    def __str__(self) -> str:
        return "\n".join(align_columns(self._list_cells(), left=2))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._list_cells(), left=2)

    def _list_cells(self) -> list[tuple[str, ...]]:
        """Return the rows of the table as text, with its head and its total."""
        head = ("layer", "reads", "accumulations", "MACs", "weights", "copies", "dense MACs")
        table = [
            (
                *(row.path, row.source, f"{row.accumulations:,.1f}", f"{row.macs:,}"),
                *(f"{row.weights:,}", str(row.copies), f"{row.dense_macs:,}"),
            )
            for row in self.rows
        ]
        accumulations, macs, dense = map(self.total, ("accumulations", "macs", "dense_macs"))
        total = ("total", "", f"{accumulations:,.1f}", f"{macs:,.0f}")
        return [head, *table, (*total, f"{self.stored_weights:,}", "", f"{dense:,.0f}")]


@accept_old_keywords
def costs(graph: Sequence[nodes.Node], num_steps: int, x: Array) -> Costs:
    """Return the costs of a program for inputs `x`: images `[B, ...]` or frames `[B, T, ...]`."""
    if not len(x):
        raise ValueError(
            f"costs are the mean over samples, of which {x.shape} has none; pass at least one."
        )
    # An image that enters at every step is convolved once, and its current is used again.
    pixels = graph[0]
    frames = 1 if x.shape[1:] == getattr(pixels, "shape", None) else num_steps
    spiking = [
        (number, synapse)
        for number, node in enumerate(graph)
        if isinstance(node, nodes.Accumulator)
        for synapse in node.synapses
        if isinstance(graph[synapse.source], nodes.Spikes | nodes.Product)
    ]

    def select_arrivals(outputs: list[Array]) -> list[Array]:
        # int32 suffices: a place gets at most one spike per slot, sample and step.
        return [_count_arrivals(synapse, outputs[synapse.source]) for _, synapse in spiking]

    def sum_arrivals(x: Array) -> list[Array]:
        steps = run(graph, collect_weights(graph), x, num_steps, "slots", select_arrivals)
        return [sum(each[1:], each[0]) for each in zip(*steps, strict=True)]

    arrived = [np.asarray(each, np.int64) for each in jax.jit(sum_arrivals)(x)]
    counted = {id(synapse): each for (_, synapse), each in zip(spiking, arrived, strict=True)}
    rows = []
    for node in graph:
        match node:
            case nodes.Accumulator():
                for synapse in node.synapses:
                    steps = frames if isinstance(graph[synapse.source], nodes.Pixels) else num_steps
                    here = counted.get(id(synapse))
                    rows.append(_cost(graph, synapse, steps, here, len(x), node.path))
            case nodes.LinearAttention():
                rows.append(_attention(node, num_steps))
    return Costs(rows)


def _cost(
    graph: Sequence[nodes.Node],
    synapse: nodes.Synapse,
    steps: int,
    arrived: np.ndarray | None,
    samples: int,
    path: str,
) -> Cost:
    source = graph[synapse.source]
    names = {
        nodes.Pixels: "pixels",
        nodes.Accumulator: "currents",
        nodes.LinearAttention: "currents",
    }
    reads = names.get(type(source)) or f"spikes of {getattr(source, 'path', '')}"
    spiking = arrived is not None
    fan = count_fan_out(synapse.structure, source.shape, _weight(synapse), spiking=spiking)
    dense = fan.connections * steps
    if synapse.weight is None:
        return Cost(path, reads, additions=dense)
    size, copies = math.prod(synapse.weight.shape[1:]), len(synapse.weight)
    if arrived is None:
        return Cost(synapse.path, reads, 0.0, dense, 0, size, copies, dense)
    accumulations = fan.count_additions(arrived) / samples
    return Cost(synapse.path, reads, accumulations, 0, 0, size, copies, dense)


def _weight(synapse: nodes.Synapse) -> Window | int | None:
    if synapse.weight is None or synapse.kind == "diagonal":
        return None
    kernel = synapse.weight.shape[1:]
    if synapse.kind == "dense":
        return kernel[-1]
    return Window(kernel, synapse.strides, synapse.padding, synapse.groups)


def _attention(node: nodes.LinearAttention, steps: int) -> Cost:
    size, copies = node.weight.shape[-1], len(node.weight)
    macs = steps * count_attention(node.shape, node.heads, size)
    return Cost(node.path, "spikes of three", 0.0, macs, 0, size, copies, macs)


def _count_arrivals(synapse: nodes.Synapse, slots: Array) -> Array:
    """Return the spikes of all slots and samples at each position where additions begin."""
    before, _ = split_structure(synapse.structure, spiking=True)
    return jnp.sum(count_arrivals(before, slots.reshape(-1, *slots.shape[2:])), axis=0)
