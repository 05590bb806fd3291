"""A program as a NIR graph: what NIR says exactly is written, all else refused by name.

Sums at a node are edges into it. Currents count in integers; a threshold lies half way between two
values that a membrane can have, so that it does not matter whether a simulator fires at a threshold
or above it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import nir
import numpy as np

from pit_jax.export.errors import NotInNIR
from pit_jax.export.nir_units import between, in_one_unit
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import LEAK_BITS, FixedNeuron
from pit_jax.inference.runtime.reductions import Pool, Shape, Structure, apply_structure


class Wires(NamedTuple):
    """NIR nodes whose outputs add up to a current or count, and a bias `[...]` that none adds."""

    names: list[str]
    bias: np.ndarray


class Writer:
    """The nodes and edges of a program.

    `precision` is the float in which all sums are exact for inputs in multiples of `input_step`.
    """

    def __init__(self, graph: Sequence[nodes.Node], num_steps: int, dt: float) -> None:
        self.integers, self.multiples = in_one_unit(graph)
        self.num_steps, self.dt = num_steps, dt
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []
        self.precision, self.input_step = "float32", 0.0
        self.wires: list[Wires] = []
        for node in self.integers:
            self.wires.append(self._node(node))
        self._output()

    def _node(self, node: nodes.Node) -> Wires:
        none = np.zeros(1)
        match node:
            case nodes.Pixels():
                self.nodes["input"] = nir.Input(np.array(_first(node.shape)))
                return Wires(["input"], none)
            case nodes.Accumulator():
                return self._summed(node)
            case nodes.Spikes():
                return Wires(self._fired(node), none)
            case nodes.Product():
                raise NotInNIR(f"{node.path} multiplies spikes, which no NIR node does.")
            case nodes.LinearAttention():
                raise NotInNIR(f"{node.path} multiplies currents, which no NIR node does.")

    def _add(self, path: str, node: nir.NIRNode, sources: Sequence[str]) -> str:
        """Adds a node that reads the sum of `sources`."""
        if len(set(sources)) < len(sources):
            raise NotInNIR(f"{path} adds a current to itself; NIR has one edge between two nodes.")
        base = path.replace("/", ".")
        name, copies = base, 1
        while name in self.nodes or name == "output":
            copies += 1
            name = f"{base}_{copies}"
        self.nodes[name] = node
        self.edges.extend((source, name) for source in sources)
        return name

    def _output(self) -> None:
        last, wires = self.integers[-1], self.wires[-1]
        assert isinstance(last, nodes.Accumulator)
        if len(last.shape) != 1:
            raise NotInNIR(f"the logits have the shape {last.shape}; they must be a vector.")
        names = wires.names
        if np.any(wires.bias):
            raise NotInNIR("the logits have a bias that no weights carry.")
        if len(names) > 1:  # Not every simulator adds up what enters the output.
            names = [self._add("logits", nir.Linear(np.eye(*last.shape, dtype=np.float32)), names)]
        self.nodes["output"] = nir.Output(np.array(last.shape))
        self.edges.extend((name, "output") for name in names)

    # Currents.

    def _summed(self, node: nodes.Accumulator) -> Wires:
        last = node is self.integers[-1]
        gain = _steady(node.unit, node.path, "units").item() if last else 1.0
        if math.frexp(gain)[0] != 0.5:
            raise NotInNIR(f"{node.path} counts logits in units of {gain}, no power of two.")
        bias = np.atleast_1d(_steady(node.bias, node.path, "biases") * gain)
        names: list[str] = []
        for synapse in node.synapses:
            wires = self._synapse(synapse, node, bias, gain)
            names, bias = [*names, *wires.names], wires.bias
        if 2 * node.bound > nodes.EXACT:
            self.precision = "float64"
        return Wires(names, bias)

    def _synapse(
        self, synapse: nodes.Synapse, node: nodes.Accumulator, bias: np.ndarray, gain: float
    ) -> Wires:
        """The nodes of one source, and what of `bias` they did not add."""
        source, path = self.integers[synapse.source], synapse.path
        names, left = self.wires[synapse.source]
        if np.any(left) and synapse.weight is None and not synapse.structure:
            bias = bias + left * gain
        elif np.any(left):
            raise NotInNIR(f"{path} reads a sum with a bias that no weights carry.")
        weight = self._weight(synapse, source)
        names, shape, structure = self._pooled(synapse, names, source.shape, len(node.shape) == 1)
        if len(node.shape) == 1:
            if weight is None and gain == 1 and not structure:
                return Wires(names, bias)
            return self._vector(synapse, names, shape, structure, weight, bias, gain, node.shape)
        if structure:
            raise NotInNIR(f"{path} reads {structure[0]}, which has no node in NIR.")
        if weight is None:
            return Wires(names, bias)
        if synapse.kind == "diagonal":
            scale = np.broadcast_to(_channels_first(weight, 3), _first(node.shape))
            return Wires([self._add(path, nir.Scale(scale.astype(np.float32)), names)], bias)
        if synapse.kind == "dense":
            raise NotInNIR(f"{path} is a linear layer at every place; NIR's take vectors only.")
        return self._conv(synapse, names, shape, weight, bias)

    def _weight(self, synapse: nodes.Synapse, source: nodes.Node) -> np.ndarray | None:
        """The weights as numbers of what enters: spikes, currents, or real pixels."""
        if synapse.weight is None:
            return None
        weight = _steady(synapse.weight, synapse.path, "weights")
        if isinstance(source, nodes.Pixels):  # What the program rounds off of such steps is 0.
            self.input_step = source.unit * 2.0**synapse.extra
            return weight / self.input_step
        if (
            isinstance(source, nodes.Accumulator | nodes.LinearAttention)
            and synapse.kind != "diagonal"
        ):
            raise NotInNIR(
                f"{synapse.path} multiplies currents and rounds them; NIR does not round."
            )
        return weight

    def _pooled(
        self, synapse: nodes.Synapse, names: list[str], shape: Shape, to_vector: bool
    ) -> tuple[list[str], Shape, tuple[Structure, ...]]:
        """Pools as nodes, up to the last that a matrix cannot say; and the structure after it."""
        structure = synapse.structure
        while structure and isinstance(structure[0], Pool):
            pool = structure[0]
            later = any(isinstance(s, Pool) and s.largest for s in structure)
            if to_vector and not later:
                break
            if later and not pool.largest:
                raise NotInNIR(f"{synapse.path} takes the maximum of sums; NIR has none.")
            shape = apply_structure((pool,), jnp.zeros((1, *shape))).shape[1:]
            names = self._pool(synapse, pool, names, shape)
            structure = structure[1:]
        if any(isinstance(s, Pool) and s.largest for s in structure):
            raise NotInNIR(f"{synapse.path} takes the maximum of a reshaped source.")
        return names, shape, structure

    def _pool(
        self, synapse: nodes.Synapse, pool: Pool, names: list[str], shape: Shape
    ) -> list[str]:
        path, source = synapse.path, self.integers[synapse.source]
        window = np.array(pool.window[:2]), np.array(pool.strides[:2]), _padding(pool, path)
        if not pool.largest:
            return [self._add(f"{path}/pool", nir.SumPool2d(*window), names)]
        if not isinstance(source, nodes.Spikes):
            raise NotInNIR(f"{path} takes the maximum of currents; NIR has none.")
        # The maximum of spikes, one level at a time, is a spike where their mean is above 0: there
        # this neuron fires, which clears its membrane, so that it remembers nothing.
        neuron = self._if(np.full(shape, 0.5 / math.prod(pool.window)))
        pools = [self._add(f"{path}/pool", nir.AvgPool2d(*window), [name]) for name in names]
        return [self._add(f"{path}/max", neuron, [name]) for name in pools]

    def _conv(
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
                f"{path} has a window of {height}x{width}; NIR infers shapes of squares."
            )
        own, bias = _per_channel(bias, weight.shape[-1])
        node = nir.Conv2d(
            input_shape=tuple(shape[:2]),
            weight=weight.transpose(3, 2, 0, 1).astype(np.float32),
            stride=tuple(synapse.strides),
            padding=tuple(int(n) for n in _padding(synapse, path)),
            dilation=(1, 1),
            groups=synapse.groups,
            bias=own.astype(np.float32),
        )
        return Wires([self._add(path, node, names)], bias)

    def _vector(
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
        """All that is linear, up to a vector, as one matrix."""
        matrix = _matrix(shape, structure)
        if weight is None or synapse.kind == "diagonal":
            one = np.ones(out) if weight is None else np.broadcast_to(weight, out)
            matrix = matrix * one
        else:
            matrix = matrix @ weight
        if len(shape) == 3:  # Flattened with the channels first.
            places = matrix.reshape(*shape, -1).transpose(2, 0, 1, 3)
            matrix = places.reshape(len(matrix), -1)
            flatten = nir.Flatten(np.array(_first(shape)), start_dim=0, end_dim=-1)
            names = [self._add(f"{synapse.path}/flatten", flatten, names)]
        elif len(shape) != 1:
            raise NotInNIR(f"{synapse.path} reads the shape {shape}; NIR has images and vectors.")
        own, bias = _per_channel(bias, *out)
        matrix = (matrix.T * gain).astype(np.float32)
        return Wires(
            [self._add(synapse.path, nir.Affine(matrix, own.astype(np.float32)), names)], bias
        )

    # Neurons.

    def _fired(self, node: nodes.Spikes) -> list[str]:
        """A neuron for each level, which fires if the count reaches it."""
        neuron, path = node.neuron, node.path
        names, bias = self.wires[node.accumulator]
        at = self.integers[node.accumulator]
        assert isinstance(at, nodes.Accumulator)
        if neuron.signed:
            raise NotInNIR(f"{path} fires -1 too; NIR's neurons fire 0 or 1.")
        first, step = (_steady(x, path, "thresholds") for x in (neuron.first, neuron.step))
        leak = np.zeros(1)
        if not self._forgets(neuron):
            leak = self._leak(node, at.bound)
            if np.any(bias):
                raise NotInNIR(f"{path} adds a bias that no weights carry.")
        # Values of a membrane are multiples of `finest` of a current's unit.
        finest = 2.0 ** -(_bits_behind(leak) * (self.num_steps - 1))
        graph = []
        for level in range(neuron.levels):
            multiple = finest * self.multiples.get(node.accumulator, np.ones(1))
            lowest = np.ceil((first + level * step.astype(np.float64)) / 2**neuron.guard / multiple)
            unreached = np.ceil((at.bound * self.num_steps + 1) / multiple)
            threshold = between(np.minimum(lowest, unreached) * multiple, multiple)
            threshold = np.broadcast_to(threshold - bias, node.shape)
            graph.append(self._add(path, self._neuron(neuron, threshold, leak), names))
        reach = at.bound * sum(float(leak.max()) ** i for i in range(self.num_steps))
        if 2 * reach / finest > nodes.EXACT:
            self.precision = "float64"
        return graph

    def _forgets(self, neuron: FixedNeuron) -> bool:
        return self.num_steps == 1 or not (neuron.leak.any() or neuron.leak_fired.any())

    def _leak(self, node: nodes.Spikes, bound: int) -> np.ndarray:
        """What a membrane that has not fired keeps of itself, if that is all that it does."""
        neuron, path = node.neuron, node.path
        if neuron.levels > 1:
            raise NotInNIR(
                f"{path} fires integers over {self.num_steps} steps; NIR's neurons fire 0 or 1, "
                "and one neuron for each level is the same only where no membrane is kept."
            )
        if neuron.leak_fired.any():
            raise NotInNIR(f"{path} keeps some of its membrane when it fires; NIR's reset is hard.")
        leak = _steady(neuron.leak, path, "decays") / 2**LEAK_BITS
        if np.any(leak == 1) and np.any(leak != 1):
            raise NotInNIR(f"{path} has neurons with a leak and neurons without.")
        lost = _bits_behind(leak) * (self.num_steps - 1) - neuron.guard
        if lost > 0:
            raise NotInNIR(
                f"{path} keeps {leak.flat[0]:g} of its membrane: the program rounds {lost} bits of "
                f"it off in {self.num_steps} steps, and NIR does not; keep 1/2, or compile with "
                "weights='int8', which leave a membrane more bits."
            )
        return np.asarray(leak)

    def _neuron(self, neuron: FixedNeuron, threshold: np.ndarray, leak: np.ndarray) -> nir.NIRNode:
        if self.num_steps > 1 and self._forgets(neuron):
            return nir.Threshold(_channels_first(threshold, threshold.ndim))
        if self.num_steps == 1 or np.all(leak == 1):
            return self._if(threshold)
        leak = _channels_first(np.broadcast_to(leak, threshold.shape), threshold.ndim)
        threshold = _channels_first(threshold, threshold.ndim)
        zero = np.zeros(threshold.shape)
        tau = self.dt / (1 - leak)
        return nir.LIF(tau=tau, r=tau / self.dt, v_leak=zero, v_threshold=threshold, v_reset=zero)

    def _if(self, threshold: np.ndarray) -> nir.IF:
        threshold = _channels_first(threshold, threshold.ndim)
        r = np.full(threshold.shape, 1 / self.dt)
        return nir.IF(r=r, v_threshold=threshold, v_reset=np.zeros(threshold.shape))


def _steady(x: np.ndarray, path: str, what: str) -> np.ndarray:
    """The row of all steps; NIR's numbers do not change over time."""
    if np.any(x != x[:1]):
        raise NotInNIR(f"{path} has {what} that differ from step to step; NIR's do not change.")
    return x[0]


def _bits_behind(leak: np.ndarray) -> int:
    """How many bits a product with `leak` adds behind the point."""
    return max(float(x).as_integer_ratio()[1].bit_length() - 1 for x in leak.flat)


def _first(shape: Shape) -> Shape:
    return (shape[-1], *shape[:-1])


def _channels_first(x: np.ndarray, ndim: int) -> np.ndarray:
    """`[..., C]` as `[C, ...]`, of so many axes."""
    x = x.reshape((1,) * (ndim - x.ndim) + x.shape)
    return np.ascontiguousarray(np.moveaxis(x, -1, 0))


def _padding(layer: Pool | nodes.Synapse, path: str) -> np.ndarray:
    pads = layer.padding[:2]
    if any(before != after for before, after in pads):
        raise NotInNIR(f"{path} pads {pads}; NIR pads both sides alike.")
    return np.array([before for before, _ in pads])


def _per_channel(bias: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """A bias as one of a layer of weights, and what is left of it."""
    if bias.size == bias.shape[-1]:
        return np.broadcast_to(bias.reshape(-1), (channels,)), np.zeros(1)
    return np.zeros(channels), bias


def _matrix(shape: Shape, structure: Sequence[Structure]) -> np.ndarray:
    """`structure` as `[prod(shape), K]`, from what it does to each place alone."""
    places = math.prod(shape)
    rows = []
    for start in range(0, places, 256):
        one = jnp.eye(min(256, places - start), places, start).reshape(-1, *shape)
        rows.append(np.asarray(apply_structure(structure, one), np.float64).reshape(len(one), -1))
    return np.concatenate(rows)
