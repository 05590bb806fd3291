"""What a program costs: additions for spikes, multiplications that are left, copies of weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

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
    """What one source of an accumulator costs, for one sample over all steps.

    `accumulations` is the mean over the samples of each spike times the synapses that it reaches,
    borders, strides and groups included; `macs` counts products of pixels or currents,
    `additions` currents that pass on, `dense_macs` what the layer would take with no spike silent
    and a count in one slot. `weights` are those of one step, kept in `copies`.
    """

    path: str
    source: str
    accumulations: float = 0.0
    macs: int = 0
    additions: int = 0
    weights: int = 0
    copies: int = 1
    dense_macs: int = 0


@dataclass(frozen=True)
class Costs:
    """The costs of a program, a row for each source of each accumulator; `str` is their table."""

    rows: list[Cost]

    def total(self, what: str) -> float:
        """The sum of one field of all rows."""
        return float(sum(getattr(row, what) for row in self.rows))

    @property
    def stored_weights(self) -> int:
        """The numbers of all copies of the weights, for each step and each stream."""
        return sum(row.weights * row.copies for row in self.rows)

    def __str__(self) -> str:
        head = ("layer", "reads", "accumulations", "MACs", "weights", "copies", "dense MACs")
        table = [
            (
                *(row.path, row.source, f"{row.accumulations:,.1f}", f"{row.macs:,}"),
                *(f"{row.weights:,}", str(row.copies), f"{row.dense_macs:,}"),
            )
            for row in self.rows
        ]
        accumulations, macs, dense = map(self.total, ("accumulations", "macs", "dense_macs"))
        total = ("in all", "", f"{accumulations:,.1f}", f"{macs:,.0f}")
        table.append((*total, f"{self.stored_weights:,}", "", f"{dense:,.0f}"))
        return "\n".join(align_columns([head, *table], left=2))


@accept_old_keywords
def costs(graph: Sequence[nodes.Node], num_steps: int, x: Array) -> Costs:
    """The costs of a program for the images `[B, H, W, C]` or frames `[B, T, H, W, C]` `x`."""
    if not len(x):
        raise ValueError(
            f"costs are the mean over samples, of which {x.shape} has none; give some."
        )
    frames = num_steps if x.ndim == 5 else 1  # An image that stays is convolved once.
    spiking = [
        (number, synapse)
        for number, node in enumerate(graph)
        if isinstance(node, nodes.Accumulator)
        for synapse in node.synapses
        if isinstance(graph[synapse.source], nodes.Spikes | nodes.Product)
    ]

    def show(outputs: list[Array]) -> list[Array]:
        # Spikes of each place, of all slots and samples: 2^31 of them are far.
        return [_count_arrivals(synapse, outputs[synapse.source]) for _, synapse in spiking]

    def spikes(x: Array) -> list[Array]:
        steps = run(graph, collect_weights(graph), x, num_steps, "slots", show)
        return [sum(each[1:], each[0]) for each in zip(*steps, strict=True)]

    arrived = [np.asarray(each, np.int64) for each in jax.jit(spikes)(x)]
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
    spikes = fan.count_additions(arrived) / samples
    return Cost(synapse.path, reads, spikes, 0, 0, size, copies, dense)


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
    """Return the spikes of all slots and samples at each place where additions begin."""
    before, _ = split_structure(synapse.structure, spiking=True)
    return jnp.sum(count_arrivals(before, slots.reshape(-1, *slots.shape[2:])), axis=0)
