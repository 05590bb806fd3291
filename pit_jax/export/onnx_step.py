"""The nodes of a program, step by step, as ONNX operators: spikes are conditions on membranes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx

from pit_jax.export.onnx_graph import Graph
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import (
    LEAK_BITS,
    TABLE_RANGE,
    TABLE_STEP_BITS,
    FixedNeuron,
    sigmoid_table,
)
from pit_jax.inference.runtime.reductions import Shape
from pit_jax.inference.runtime.step import select_step


class State(NamedTuple):
    """What a layer keeps between steps, as names of tensors; none are there before the first."""

    membrane: str | None = None
    slow: str | None = None


Output = str | list[str]


class Steps:
    """Writes one step of a program after the other.

    A node of spikes gives the names of its slots, all others that of one tensor `[B, ...]`.
    """

    def __init__(self, graph: Graph, program: Sequence[nodes.Node], num_steps: int) -> None:
        self.graph, self.nodes, self.num_steps = graph, program, num_steps
        self.states: dict[int, State] = {}
        self.outputs: list[Output] = []

    def step(self, pixels: str, t: int) -> str:
        """The last current at step `t`."""
        self.outputs = []
        for number, node in enumerate(self.nodes):
            match node:
                case nodes.Pixels():
                    self.outputs.append(self._sampled(node, pixels))
                case nodes.Accumulator():
                    parts = [self._current(synapse, node.shape, t) for synapse in node.synapses]
                    total = self.graph.total(parts)
                    self.outputs.append(self.graph.plus(total, select_step(node.bias, t)))
                case nodes.Spikes():
                    state = self.states.get(number, State())
                    current = self._of(node.accumulator)
                    self.states[number], slots = self._fired(node.neuron, state, current, t)
                    self.outputs.append(slots)
                case nodes.Product():
                    self.outputs.append(self._product(node))
                case nodes.LinearAttention():
                    self.outputs.append(self._attended(node, t))
        return self._of(len(self.nodes) - 1)

    def _of(self, number: int) -> str:
        output = self.outputs[number]
        assert isinstance(output, str)
        return output

    def _slots(self, number: int) -> list[str]:
        output = self.outputs[number]
        assert isinstance(output, list)
        return output

    def _sampled(self, node: nodes.Pixels, pixels: str) -> str:
        g = self.graph
        pixels = g.op("Where", g.op("IsNaN", pixels), g.constant(0, np.float32), pixels)
        integers = g.op("Round", g.scaled(g.as_double(pixels), 1 / node.unit))
        return g.op("Clip", integers, g.constant(-node.bound), g.constant(node.bound))

    def _current(self, synapse: nodes.Synapse, shape: Shape, t: int) -> str:
        g, source = self.graph, self.nodes[synapse.source]
        weight = None if synapse.weight is None else select_step(synapse.weight, t)
        if isinstance(source, nodes.Spikes | nodes.Product):
            return self._from_spikes(synapse, weight, shape)
        x, bound = self._of(synapse.source), source.bound
        x, bound = g.structured(x, synapse.structure, source.shape, bound)
        if weight is None or synapse.kind == "diagonal" and not isinstance(source, nodes.Pixels):
            return g.weighed(x, synapse, weight, bound)
        x = g.rounded(x, synapse.shift)
        bound = (bound >> synapse.shift) + (synapse.shift > 0)
        return g.rounded(g.weighed(x, synapse, weight, bound), synapse.extra)

    def _from_spikes(self, synapse: nodes.Synapse, weight: np.ndarray | None, shape: Shape) -> str:
        """All slots go through the weights at once, as so much more batch."""
        g, source, slots = self.graph, self.nodes[synapse.source], self._slots(synapse.source)
        assert isinstance(source, nodes.Spikes | nodes.Product)
        x = slots[0] if len(slots) == 1 else g.op("Concat", *slots, axis=0)
        x, bound = g.structured(x, synapse.structure, source.shape, 1)
        x = g.weighed_spikes(x, synapse, weight, bound)
        if len(slots) == 1:
            return x
        each = g.reshaped(x, len(slots), -1, *shape)
        if isinstance(source, nodes.Spikes):
            each = g.scaled(each, np.reshape(source.neuron.slots, (-1, *(1,) * (len(shape) + 1))))
        return g.op("ReduceSum", each, g.constant([0], np.int64), keepdims=0)

    def _fired(
        self, neuron: FixedNeuron, state: State, current: str, t: int
    ) -> tuple[State, list[str]]:
        """As `FixedNeuron.fire_slots`."""
        g = self.graph
        u = g.scaled(current, 2.0**neuron.guard)
        if state.membrane is not None:
            u = g.op("Add", state.membrane, u)
        first, step = (select_step(x, t).astype(np.float64) for x in (neuron.first, neuron.step))
        potential = u
        if sum(neuron.slots) > neuron.levels:
            highest = g.constant(first + (neuron.levels - 1) * step)
            potential = g.op("Min", u, highest)
        slots = []
        for worth in neuron.slots:
            threshold = first + (worth - 1) * step
            spike = g.as_double(g.op("GreaterOrEqual", potential, g.constant(threshold)))
            if neuron.signed:
                below = g.as_double(g.op("LessOrEqual", potential, g.constant(-threshold)))
                spike = g.op("Sub", spike, below)
            slots.append(spike)
            if len(slots) < len(neuron.slots):
                potential = g.op("Sub", potential, g.scaled(spike, worth * step))
        return self._rest(neuron, state, u, slots, t), slots

    def _rest(self, neuron: FixedNeuron, state: State, u: str, slots: list[str], t: int) -> State:
        """As `FixedNeuron` leaves it for the next step; products of doubles have all their bits."""
        g = self.graph
        if t + 1 == self.num_steps:
            return State()
        worth = zip(slots, neuron.slots, strict=True)
        k = g.total([g.scaled(spike, levels) for spike, levels in worth])
        dropped, slow = g.scaled(k, select_step(neuron.drop, t)), None
        if neuron.one is not None:
            assert neuron.slowness is not None
            scaled = g.shifted(self._multiplied(u, neuron.slowness, t), neuron.slow_shift)
            slow = g.scaled(k, 2.0**LEAK_BITS)
            if state.slow is not None:
                kept = g.op("Mul", state.slow, self._sigmoid(scaled))
                slow = g.op("Add", g.shifted(kept, LEAK_BITS), slow)
            deepening = self._sigmoid(g.shifted(slow, LEAK_BITS - TABLE_STEP_BITS))
            deeper = self._multiplied(deepening, neuron.one, t)
            dropped = g.op("Add", dropped, g.op("Mul", deeper, k))
        left = g.op("Sub", u, dropped)
        if neuron.carry is not None:
            mixed = g.shifted(left, neuron.carry_shift)
            mixed = g.op("MatMul", mixed, g.constant(neuron.carry[t]))
            left = g.shifted(mixed, LEAK_BITS - neuron.carry_shift)
        kept = self._multiplied(left, neuron.leak, t)
        if not np.array_equal(neuron.leak, neuron.leak_fired):
            silent = g.op("Equal", k, g.constant(0))
            kept = g.op("Where", silent, kept, self._multiplied(left, neuron.leak_fired, t))
        return State(kept, slow)

    def _multiplied(self, x: str, number: np.ndarray, t: int) -> str:
        """floor(x number / 4096)."""
        g, row = self.graph, select_step(number, t) / 2.0**LEAK_BITS
        return x if np.all(row == 1) else g.op("Floor", g.op("Mul", x, g.constant(row)))

    def _sigmoid(self, x: str) -> str:
        g, half = self.graph, TABLE_RANGE << TABLE_STEP_BITS
        table = g.constant(sigmoid_table())
        at = g.plus(g.op("Clip", x, g.constant(-half), g.constant(half)), half)
        return g.op("Gather", table, g.op("Cast", at, to=onnx.TensorProto.INT64))

    def _product(self, node: nodes.Product) -> list[str]:
        g = self.graph
        first, second = (
            [g.structured(x, pools, self.nodes[source].shape, 1)[0] for x in self._slots(source)]
            for source, pools in zip((node.first, node.second), node.pools, strict=True)
        )
        if node.silent:
            second = [g.op("Sub", g.constant(1), spike) for spike in second]
        return [g.op("Mul", a, b) for a in first for b in second]

    def _attended(self, node: nodes.LinearAttention, t: int) -> str:
        """query (weight keyᵀ value), of counts: what reads them multiplies."""
        g, tokens = self.graph, math.prod(node.shape[:-1])

        def heads(source: int, perm: list[int]) -> str:
            split = g.reshaped(g.total(self._slots(source)), 0, tokens, node.heads, -1)
            return g.op("Transpose", split, perm=perm)

        query = heads(node.query, [0, 2, 1, 3])
        key, value = heads(node.key, [0, 2, 3, 1]), heads(node.value, [0, 2, 1, 3])
        weight = select_step(node.weight, t).reshape(node.heads, -1, 1)
        met = g.scaled(g.op("MatMul", key, value), weight)
        mixed = g.op("Transpose", g.op("MatMul", query, met), perm=[0, 2, 1, 3])
        return g.reshaped(mixed, -1, *node.shape)
