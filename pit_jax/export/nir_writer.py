"""Convert a program to a NIR graph; parts that NIR cannot express exactly are refused by name.

Edges into the same node are a sum. Currents are integers. A threshold is halfway between two
values that a membrane can have, because some simulators fire at u >= threshold and others at u >
threshold.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import nir
import numpy as np

from pit_jax.export.errors import NotInNIR
from pit_jax.export.nir_units import place_threshold, unify_units
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import LEAK_BITS, FixedNeuron
from pit_jax.inference.runtime.reductions import Pool, Shape, Structure, apply_structure


class Wires(NamedTuple):
    """NIR nodes whose outputs sum to a current or count, and a bias `[...]` still to be added."""

    names: list[str]
    bias: np.ndarray


class Writer:
    """A writer of the NIR nodes and edges of a program.

    `precision` is the float type in which all sums are exact for multiples of `input_step`.
    """

    def __init__(self, graph: Sequence[nodes.Node], num_steps: int, dt: float) -> None:
        self.program_nodes, self.multiples = unify_units(graph)
        self.num_steps, self.dt = num_steps, dt
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []
        self.precision, self.input_step = "float32", 0.0
        self.wires: list[Wires] = []
        for node in self.program_nodes:
            self.wires.append(self._add_node(node))
        self._add_output()

    def _add_node(self, node: nodes.Node) -> Wires:
        none = np.zeros(1)
        match node:
            case nodes.Pixels():
                self.nodes["input"] = nir.Input(np.array(_transpose_shape(node.shape)))
                return Wires(["input"], none)
            case nodes.Accumulator():
                return self._add_accumulator(node)
            case nodes.Spikes():
                return Wires(self._add_neurons(node), none)
            case nodes.Product():
                raise NotInNIR(f"{node.path} multiplies spikes; NIR has no such node.")
            case nodes.LinearAttention():
                raise NotInNIR(f"{node.path} multiplies currents; NIR has no such node.")

    def _add(self, path: str, node: nir.NIRNode, sources: Sequence[str]) -> str:
        """Add a node that reads the sum of `sources`; return its name."""
        if len(set(sources)) < len(sources):
            raise NotInNIR(f"{path} adds a current to itself; NIR has no double edges.")
        base = path.replace("/", ".")
        name, copies = base, 1
        while name in self.nodes or name == "output":
            copies += 1
            name = f"{base}_{copies}"
        self.nodes[name] = node
        self.edges.extend((source, name) for source in sources)
        return name

    def _add_output(self) -> None:
        last, wires = self.program_nodes[-1], self.wires[-1]
        assert isinstance(last, nodes.Accumulator)
        if len(last.shape) != 1:
            raise NotInNIR(f"the logits of a sample must be a vector, got the shape {last.shape}.")
        names = wires.names
        if np.any(wires.bias):
            raise NotInNIR("the logits have a bias but no layer of weights to hold it.")
        if len(names) > 1:  # Not every simulator sums the inputs of the output node.
            names = [self._add("logits", nir.Linear(np.eye(*last.shape, dtype=np.float32)), names)]
        self.nodes["output"] = nir.Output(np.array(last.shape))
        self.edges.extend((name, "output") for name in names)

    # Currents

    def _add_accumulator(self, node: nodes.Accumulator) -> Wires:
        last = node is self.program_nodes[-1]
        # Logits are written in real numbers, all other currents in integers.
        gain = _require_constant(node.unit, node.path, "units").item() if last else 1.0
        # Products with another gain would round.
        if math.frexp(gain)[0] != 0.5:
            raise NotInNIR(f"{node.path} has the unit {gain}, which must be a power of two.")
        bias = np.atleast_1d(_require_constant(node.bias, node.path, "biases") * gain)
        # A layer of weights takes the bias if it can; each call returns what is still to be added.
        names: list[str] = []
        for synapse in node.synapses:
            wires = self._add_synapse(synapse, node, bias, gain)
            names, bias = [*names, *wires.names], wires.bias
        # Twice the bound, because thresholds are half integers and need one more bit.
        if 2 * node.bound > nodes.EXACT:
            self.precision = "float64"
        return Wires(names, bias)

    def _add_synapse(
        self, synapse: nodes.Synapse, node: nodes.Accumulator, bias: np.ndarray, gain: float
    ) -> Wires:
        """Add the nodes of one source; return them and the part of `bias` that they do not add."""
        source, path = self.program_nodes[synapse.source], synapse.path
        names, left = self.wires[synapse.source]
        if np.any(left) and synapse.weight is None and not synapse.structure:
            bias = bias + left * gain
        elif np.any(left):
            raise NotInNIR(f"{path} reads a sum with a bias but no layer of weights to hold it.")
        weight = self._get_weight(synapse, source)
        names, shape, structure = self._add_pools(
            synapse, names, source.shape, len(node.shape) == 1
        )
        if len(node.shape) == 1:
            if weight is None and gain == 1 and not structure:
                return Wires(names, bias)
            return self._add_matrix(
                synapse, names, shape, structure, weight, bias, gain, node.shape
            )
        if structure:
            raise NotInNIR(f"{path} reads {structure[0]}; NIR has no such node.")
        if weight is None:
            return Wires(names, bias)
        if synapse.kind == "diagonal":
            scale = np.broadcast_to(_move_channels_first(weight, 3), _transpose_shape(node.shape))
            return Wires([self._add(path, nir.Scale(scale.astype(np.float32)), names)], bias)
        if synapse.kind == "dense":
            raise NotInNIR(f"{path} is a linear layer on a map; NIR's linear layers read vectors.")
        return self._add_conv(synapse, names, shape, weight, bias)

    def _get_weight(self, synapse: nodes.Synapse, source: nodes.Node) -> np.ndarray | None:
        """Return the weights for spikes, currents or real pixels."""
        if synapse.weight is None:
            return None
        weight = _require_constant(synapse.weight, synapse.path, "weights")
        if isinstance(source, nodes.Pixels):
            # The program rounds `extra` bits of this sum. They are zero for inputs in larger steps.
            self.input_step = source.unit * 2.0**synapse.extra
            return weight / self.input_step
        if (
            isinstance(source, nodes.Accumulator | nodes.LinearAttention)
            and synapse.kind != "diagonal"
        ):
            raise NotInNIR(
                f"{synapse.path} multiplies currents and rounds the result; NIR does not round."
            )
        return weight

    def _add_pools(
        self, synapse: nodes.Synapse, names: list[str], shape: Shape, to_vector: bool
    ) -> tuple[list[str], Shape, tuple[Structure, ...]]:
        """Add nodes for pools until a matrix can express the rest; return that rest too.

        Before a vector only max-pools need nodes, since sums are linear.
        """
        structure = synapse.structure
        while structure and isinstance(structure[0], Pool):
            pool = structure[0]
            later = any(isinstance(s, Pool) and s.largest for s in structure)
            if to_vector and not later:
                break
            if later and not pool.largest:
                raise NotInNIR(f"{synapse.path} takes the maximum of sums; NIR has no such node.")
            shape = apply_structure((pool,), jnp.zeros((1, *shape))).shape[1:]
            names = self._add_pool(synapse, pool, names, shape)
            structure = structure[1:]
        if any(isinstance(s, Pool) and s.largest for s in structure):
            raise NotInNIR(f"{synapse.path} takes the maximum of a reshaped map.")
        return names, shape, structure

    def _add_pool(
        self, synapse: nodes.Synapse, pool: Pool, names: list[str], shape: Shape
    ) -> list[str]:
        path, source = synapse.path, self.program_nodes[synapse.source]
        window = np.array(pool.window[:2]), np.array(pool.strides[:2]), _get_padding(pool, path)
        if not pool.largest:
            return [self._add(f"{path}/pool", nir.SumPool2d(*window), names)]
        if not isinstance(source, nodes.Spikes):
            raise NotInNIR(f"{path} takes the maximum of currents; NIR has no such node.")
        # NIR has no max-pool. For the binary spikes of one level,
        #     max(window) = 1  iff  mean(window) >= 1 / size,
        # so an IF neuron with the threshold 1 / (2 size) after an average pool computes it. The
        # neuron keeps no state: its membrane is 0 without spikes, and firing resets it.
        neuron = self._make_if(np.full(shape, 0.5 / math.prod(pool.window)))
        pools = [self._add(f"{path}/pool", nir.AvgPool2d(*window), [name]) for name in names]
        return [self._add(f"{path}/max", neuron, [name]) for name in pools]

    def _add_conv(
        self,
        synapse: nodes.Synapse,
        names: list[str],
        shape: Shape,
        weight: np.ndarray,
        bias: np.ndarray,
    ) -> Wires:
        path, (height, width) = synapse.path, weight.shape[:2]
        if height != width:
            raise NotInNIR(
                f"{path} has a kernel of {height}x{width}; NIR infers shapes of square kernels."
            )
        own, bias = _split_bias(bias, weight.shape[-1])
        node = nir.Conv2d(
            input_shape=tuple(shape[:2]),
            weight=weight.transpose(3, 2, 0, 1).astype(np.float32),
            stride=tuple(synapse.strides),
            padding=tuple(int(n) for n in _get_padding(synapse, path)),
            dilation=(1, 1),
            groups=synapse.groups,
            bias=own.astype(np.float32),
        )
        return Wires([self._add(path, node, names)], bias)

    def _add_matrix(
        self,
        synapse: nodes.Synapse,
        names: list[str],
        shape: Shape,
        structure: tuple[Structure, ...],
        weight: np.ndarray | None,
        bias: np.ndarray,
        gain: float,
        out: Shape,
    ) -> Wires:
        """Add one matrix for everything linear from the source to a vector."""
        matrix = _make_matrix(shape, structure)
        if weight is None or synapse.kind == "diagonal":
            one = np.ones(out) if weight is None else np.broadcast_to(weight, out)
            matrix = matrix * one
        else:
            matrix = matrix @ weight
        if len(shape) == 3:  # NIR flattens channels first.
            places = matrix.reshape(*shape, -1).transpose(2, 0, 1, 3)
            matrix = places.reshape(len(matrix), -1)
            flatten = nir.Flatten(np.array(_transpose_shape(shape)), start_dim=0, end_dim=-1)
            names = [self._add(f"{synapse.path}/flatten", flatten, names)]
        elif len(shape) != 1:
            raise NotInNIR(f"{synapse.path} reads the shape {shape}; NIR has images and vectors.")
        own, bias = _split_bias(bias, *out)
        matrix = (matrix.T * gain).astype(np.float32)
        return Wires(
            [self._add(synapse.path, nir.Affine(matrix, own.astype(np.float32)), names)], bias
        )

    # Neurons

    def _add_neurons(self, node: nodes.Spikes) -> list[str]:
        """Add a NIR neuron for each level, which fires if the count reaches it."""
        neuron, path = node.neuron, node.path
        names, bias = self.wires[node.accumulator]
        at = self.program_nodes[node.accumulator]
        assert isinstance(at, nodes.Accumulator)
        if neuron.signed:
            raise NotInNIR(f"{path} can fire -1; NIR's neurons fire 0 or 1.")
        first, step = (
            _require_constant(x, path, "thresholds") for x in (neuron.first, neuron.step)
        )
        leak = np.zeros(1)
        if not self._is_memoryless(neuron):
            leak = self._get_leak(node, at.bound)
            if np.any(bias):
                raise NotInNIR(f"{path} has a bias but no layer of weights to hold it.")
        # Membranes are multiples of `finest`, in units of the current: a product with a leak of b
        # fraction bits adds b bits after the point, and there are T - 1 products.
        finest = 2.0 ** -(_count_fraction_bits(leak) * (self.num_steps - 1))
        levels = []
        for level in range(neuron.levels):
            multiple = finest * self.multiples.get(node.accumulator, np.ones(1))
            lowest = np.ceil((first + level * step.astype(np.float64)) / 2**neuron.guard / multiple)
            # A level that no membrane reaches gets a threshold just above the largest membrane.
            unreached = np.ceil((at.bound * self.num_steps + 1) / multiple)
            threshold = place_threshold(np.minimum(lowest, unreached) * multiple, multiple)
            # u + bias >= threshold. This moves the bias only because no membrane is kept: a kept
            # membrane would need the bias in every step, and is refused above.
            threshold = np.broadcast_to(threshold - bias, node.shape)
            levels.append(self._add(path, self._make_neuron(neuron, threshold, leak), names))
        # |u| <= bound * (1 + leak + leak^2 + ...), and a threshold is half a multiple of `finest`.
        reach = at.bound * sum(float(leak.max()) ** i for i in range(self.num_steps))
        if 2 * reach / finest > nodes.EXACT:
            self.precision = "float64"
        return levels

    def _is_memoryless(self, neuron: FixedNeuron) -> bool:
        """Return whether no membrane carries over to the next step."""
        return self.num_steps == 1 or not (neuron.leak.any() or neuron.leak_fired.any())

    def _get_leak(self, node: nodes.Spikes, bound: int) -> np.ndarray:
        """Return the share of a membrane that is kept without a spike; refuse other resets."""
        neuron, path = node.neuron, node.path
        if neuron.levels > 1:
            raise NotInNIR(
                f"{path} fires integers over {self.num_steps} steps; NIR's neurons fire 0 or 1, "
                "and one neuron for each level works only if no membrane is kept."
            )
        if neuron.leak_fired.any():
            raise NotInNIR(f"{path} keeps some of its membrane when it fires; NIR's reset is hard.")
        leak = _require_constant(neuron.leak, path, "decays") / 2**LEAK_BITS
        if np.any(leak == 1) and np.any(leak != 1):
            raise NotInNIR(f"{path} has neurons with and without a leak; NIR needs one kind.")
        # The program keeps `guard` bits after the point and rounds the others; NIR keeps all.
        lost = _count_fraction_bits(leak) * (self.num_steps - 1) - neuron.guard
        if lost > 0:
            raise NotInNIR(
                f"{path} keeps {leak.flat[0]:g} of its membrane: in {self.num_steps} steps the "
                f"program rounds {lost} bits, which NIR does not. Use the decay 1/2, or compile "
                "with weights='int8', which leaves more bits to membranes."
            )
        return np.asarray(leak)

    def _make_neuron(
        self, neuron: FixedNeuron, threshold: np.ndarray, leak: np.ndarray
    ) -> nir.NIRNode:
        if self.num_steps > 1 and self._is_memoryless(neuron):
            # A NIR IF would keep the membrane of a silent neuron; Threshold has no state.
            return nir.Threshold(_move_channels_first(threshold, threshold.ndim))
        if self.num_steps == 1 or np.all(leak == 1):
            return self._make_if(threshold)
        leak = _move_channels_first(np.broadcast_to(leak, threshold.shape), threshold.ndim)
        threshold = _move_channels_first(threshold, threshold.ndim)
        zero = np.zeros(threshold.shape)
        # An Euler step is (1 - dt / tau) v + (r dt / tau) i; with these tau and r it is leak v + i.
        tau = self.dt / (1 - leak)
        return nir.LIF(tau=tau, r=tau / self.dt, v_leak=zero, v_threshold=threshold, v_reset=zero)

    def _make_if(self, threshold: np.ndarray) -> nir.IF:
        threshold = _move_channels_first(threshold, threshold.ndim)
        # An Euler step is v + dt r i, which is v + i.
        r = np.full(threshold.shape, 1 / self.dt)
        return nir.IF(r=r, v_threshold=threshold, v_reset=np.zeros(threshold.shape))


def _require_constant(x: np.ndarray, path: str, what: str) -> np.ndarray:
    """Return the row that all steps share; refuse rows that differ, since NIR has only one."""
    if np.any(x != x[:1]):
        raise NotInNIR(f"{path} has {what} that differ from step to step; NIR's do not.")
    return x[0]


def _count_fraction_bits(leak: np.ndarray) -> int:
    """Return how many bits a product with `leak` adds after the point."""
    return max(float(x).as_integer_ratio()[1].bit_length() - 1 for x in leak.flat)


def _transpose_shape(shape: Shape) -> Shape:
    return (shape[-1], *shape[:-1])


def _move_channels_first(x: np.ndarray, ndim: int) -> np.ndarray:
    """Return `[..., C]` as `[C, ...]`, with `ndim` axes."""
    x = x.reshape((1,) * (ndim - x.ndim) + x.shape)
    return np.ascontiguousarray(np.moveaxis(x, -1, 0))


def _get_padding(layer: Pool | nodes.Synapse, path: str) -> np.ndarray:
    pads = layer.padding[:2]
    if any(before != after for before, after in pads):
        raise NotInNIR(f"{path} pads {pads}; NIR pads both sides equally.")
    return np.array([before for before, _ in pads])


def _split_bias(bias: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a bias that a layer holds, one number per channel, and the rest."""
    if bias.size == bias.shape[-1]:
        return np.broadcast_to(bias.reshape(-1), (channels,)), np.zeros(1)
    return np.zeros(channels), bias


def _make_matrix(shape: Shape, structure: Sequence[Structure]) -> np.ndarray:
    """Return `structure` as a matrix `[prod(shape), K]`, from its outputs for one-hot inputs."""
    places = math.prod(shape)
    rows = []
    # In blocks, because all one-hot inputs together have places^2 values.
    for start in range(0, places, 256):
        one = jnp.eye(min(256, places - start), places, start).reshape(-1, *shape)
        rows.append(np.asarray(apply_structure(structure, one), np.float64).reshape(len(one), -1))
    return np.concatenate(rows)
