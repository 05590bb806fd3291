"""Write the nodes of a program as ONNX operators, step by step."""

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
from pit_jax.old_names import serve_old_names


class NeuronTensors(NamedTuple):
    """The names of a layer's state tensors between steps; None before the first step."""

    membrane: str | None = None
    slow: str | None = None


Output = str | list[str]


class StepWriter:
    """A writer of the steps of a program, one after the other.

    The output of a spike node is a list of its slots; of other nodes it is one tensor `[B, ...]`.
    With a `table` `[256, C]`, pixels are uint8 and enter as its entries.
    """

    def __init__(
        self,
        graph: Graph,
        program: Sequence[nodes.Node],
        num_steps: int,
        table: np.ndarray | None = None,
    ) -> None:
        self.graph, self.nodes, self.num_steps, self.table = graph, program, num_steps, table
        self.states: dict[int, NeuronTensors] = {}
        self.outputs: list[Output] = []

    def add_step(self, pixels: str, t: int) -> str:
        """Write step `t`; return its last current, the logits."""
        self.outputs = []
        for number, node in enumerate(self.nodes):
            match node:
                case nodes.Pixels():
                    self.outputs.append(self._sample(node, pixels))
                case nodes.Accumulator():
                    parts = [
                        self._compute_current(synapse, node.shape, t) for synapse in node.synapses
                    ]
                    total = self.graph.sum(parts)
                    self.outputs.append(self.graph.add(total, select_step(node.bias, t)))
                case nodes.Spikes():
                    state = self.states.get(number, NeuronTensors())
                    current = self._get_tensor(node.accumulator)
                    self.states[number], slots = self._fire(node.neuron, state, current, t)
                    self.outputs.append(slots)
                case nodes.Product():
                    self.outputs.append(self._multiply_spikes(node))
                case nodes.LinearAttention():
                    self.outputs.append(self._attend(node, t))
        return self._get_tensor(len(self.nodes) - 1)

    def _get_tensor(self, number: int) -> str:
        output = self.outputs[number]
        assert isinstance(output, str)
        return output

    def _get_slots(self, number: int) -> list[str]:
        output = self.outputs[number]
        assert isinstance(output, list)
        return output

    def _sample(self, node: nodes.Pixels, pixels: str) -> str:
        g = self.graph
        if self.table is not None:
            # Byte x of channel c is entry 256 c + x.
            first = 256 * np.arange(self.table.shape[1])
            at = g.emit("Cast", pixels, to=onnx.TensorProto.INT64)
            at = g.emit("Add", at, g.constant(first, np.int64)) if first.any() else at
            return g.emit("Gather", g.constant(self.table.T.reshape(-1)), at)
        pixels = g.emit("Where", g.emit("IsNaN", pixels), g.constant(0, np.float32), pixels)
        # ONNX and jnp.round both round half to even.
        # The unit is a power of two, so the product is exact.
        integers = g.emit("Round", g.scale(g.cast_to_double(pixels), 1 / node.unit))
        return g.emit("Clip", integers, g.constant(-node.bound), g.constant(node.bound))

    def _compute_current(self, synapse: nodes.Synapse, shape: Shape, t: int) -> str:
        g, source = self.graph, self.nodes[synapse.source]
        weight = None if synapse.weight is None else select_step(synapse.weight, t)
        if isinstance(source, nodes.Spikes | nodes.Product):
            return self._compute_spike_current(synapse, weight, shape)
        x, bound = self._get_tensor(synapse.source), source.bound
        x, bound = g.apply_structure(x, synapse.structure, source.shape, bound)
        if weight is None or synapse.kind == "diagonal" and not isinstance(source, nodes.Pixels):
            return g.apply_weights(x, synapse, weight, bound)
        # As in the program, currents and pixels lose bits before and after the weights, which keeps
        # sums exact.
        x = g.round_shift(x, synapse.shift)
        bound = (bound >> synapse.shift) + (synapse.shift > 0)
        return g.round_shift(g.apply_weights(x, synapse, weight, bound), synapse.extra)

    def _compute_spike_current(
        self, synapse: nodes.Synapse, weight: np.ndarray | None, shape: Shape
    ) -> str:
        """Return the current of a spike source; its slots pass the weights as one larger batch."""
        g, source, slots = self.graph, self.nodes[synapse.source], self._get_slots(synapse.source)
        assert isinstance(source, nodes.Spikes | nodes.Product)
        x = slots[0] if len(slots) == 1 else g.emit("Concat", *slots, axis=0)
        x, bound = g.apply_structure(x, synapse.structure, source.shape, 1)
        x = g.apply_weights_to_spikes(x, synapse, weight, bound)
        if len(slots) == 1:
            return x
        # A slot counts as `slots[d]` spikes; weight and sum them per sample.
        each = g.reshape(x, len(slots), -1, *shape)
        if isinstance(source, nodes.Spikes):
            each = g.scale(each, np.reshape(source.neuron.slots, (-1, *(1,) * (len(shape) + 1))))
        return g.emit("ReduceSum", each, g.constant([0], np.int64), keepdims=0)

    def _fire(
        self, neuron: FixedNeuron, state: NeuronTensors, current: str, t: int
    ) -> tuple[NeuronTensors, list[str]]:
        """Return the next state and the spikes of each slot, as `FixedNeuron.fire_slots` does."""
        g = self.graph
        u = g.scale(current, 2.0**neuron.guard)
        if state.membrane is not None:
            u = g.emit("Add", state.membrane, u)
        first, step = (select_step(x, t).astype(np.float64) for x in (neuron.first, neuron.step))
        potential = u
        # If the slots can sum to more than `levels` (bitwise code), clip the potential.
        if sum(neuron.slots) > neuron.levels:
            highest = g.constant(first + (neuron.levels - 1) * step)
            potential = g.emit("Min", u, highest)
        slots = []
        for worth in neuron.slots:
            # A slot worth w fires if at least w levels are left, and then takes w of them away.
            threshold = first + (worth - 1) * step
            spike = g.cast_to_double(g.emit("GreaterOrEqual", potential, g.constant(threshold)))
            if neuron.signed:
                below = g.cast_to_double(g.emit("LessOrEqual", potential, g.constant(-threshold)))
                spike = g.emit("Sub", spike, below)
            slots.append(spike)
            # The potential after the last slot is unused.
            if len(slots) < len(neuron.slots):
                potential = g.emit("Sub", potential, g.scale(spike, worth * step))
        return self._reset(neuron, state, u, slots, t), slots

    def _reset(
        self, neuron: FixedNeuron, state: NeuronTensors, u: str, slots: list[str], t: int
    ) -> NeuronTensors:
        """Return the state for the next step, as `FixedNeuron` computes it.

        All products have less than 53 bits, so doubles are exact.
        """
        g = self.graph
        # No state is needed after the last step.
        if t + 1 == self.num_steps:
            return NeuronTensors()
        worth = zip(slots, neuron.slots, strict=True)
        k = g.sum([g.scale(spike, levels) for spike, levels in worth])
        dropped, slow = g.scale(k, select_step(neuron.drop, t)), None
        if neuron.one is not None:
            assert neuron.slowness is not None
            scaled = g.shift_right(self._multiply_fixed(u, neuron.slowness, t), neuron.slow_shift)
            slow = g.scale(k, 2.0**LEAK_BITS)
            if state.slow is not None:
                kept = g.emit("Mul", state.slow, self._look_up_sigmoid(scaled))
                slow = g.emit("Add", g.shift_right(kept, LEAK_BITS), slow)
            deepening = self._look_up_sigmoid(g.shift_right(slow, LEAK_BITS - TABLE_STEP_BITS))
            deeper = self._multiply_fixed(deepening, neuron.one, t)
            dropped = g.emit("Add", dropped, g.emit("Mul", deeper, k))
        left = g.emit("Sub", u, dropped)
        if neuron.carry is not None:
            mixed = g.shift_right(left, neuron.carry_shift)
            mixed = g.emit("MatMul", mixed, g.constant(neuron.carry[t]))
            left = g.shift_right(mixed, LEAK_BITS - neuron.carry_shift)
        # A neuron that fires may keep another share of its membrane (hard reset: none).
        kept = self._multiply_fixed(left, neuron.leak, t)
        if not np.array_equal(neuron.leak, neuron.leak_fired):
            silent = g.emit("Equal", k, g.constant(0))
            kept = g.emit("Where", silent, kept, self._multiply_fixed(left, neuron.leak_fired, t))
        return NeuronTensors(kept, slow)

    def _multiply_fixed(self, x: str, number: np.ndarray, t: int) -> str:
        """Return floor(x number / 2^LEAK_BITS)."""
        g, row = self.graph, select_step(number, t) / 2.0**LEAK_BITS
        return x if np.all(row == 1) else g.emit("Floor", g.emit("Mul", x, g.constant(row)))

    def _look_up_sigmoid(self, x: str) -> str:
        g, half = self.graph, TABLE_RANGE << TABLE_STEP_BITS
        table = g.constant(sigmoid_table())
        at = g.add(g.emit("Clip", x, g.constant(-half), g.constant(half)), half)
        return g.emit("Gather", table, g.emit("Cast", at, to=onnx.TensorProto.INT64))

    def _multiply_spikes(self, node: nodes.Product) -> list[str]:
        g = self.graph
        first, second = (
            [
                g.apply_structure(x, pools, self.nodes[source].shape, 1)[0]
                for x in self._get_slots(source)
            ]
            for source, pools in zip((node.first, node.second), node.pools, strict=True)
        )
        if node.silent:
            second = [g.emit("Sub", g.constant(1), spike) for spike in second]
        return [g.emit("Mul", a, b) for a in first for b in second]

    def _attend(self, node: nodes.LinearAttention, t: int) -> str:
        """Return query (weight keyᵀ value) of the counts."""
        g, tokens = self.graph, math.prod(node.shape[:-1])

        def split_heads(source: int, perm: list[int]) -> str:
            split = g.reshape(g.sum(self._get_slots(source)), 0, tokens, node.heads, -1)
            return g.emit("Transpose", split, perm=perm)

        query = split_heads(node.query, [0, 2, 1, 3])
        key, value = split_heads(node.key, [0, 2, 3, 1]), split_heads(node.value, [0, 2, 1, 3])
        weight = select_step(node.weight, t).reshape(node.heads, -1, 1)
        met = g.scale(g.emit("MatMul", key, value), weight)
        mixed = g.emit("Transpose", g.emit("MatMul", query, met), perm=[0, 2, 1, 3])
        return g.reshape(mixed, -1, *node.shape)


serve_old_names(__name__)
