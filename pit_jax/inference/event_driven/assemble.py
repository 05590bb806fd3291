"""Assemble the nodes of a program into a tape of instructions and two arrays of constants.

The assembler decides once where everything is; the interpreter only follows offsets:

    memory    int32, overwritten at each step: outputs of nodes, partial sums, lists of spikes
    state     int32, kept between steps: membranes, and the second potentials of CLIF
    numbers   int32 constants: biases, thresholds, leaks, weights that need more than 16 bits
    shorts    int16 constants: all other weights of convolutions and linear layers

For the nodes Pixels, Accumulator, Spikes, Accumulator (the logits) the tape is

    SAMPLE    pixels               clip and round the input
    BIAS      current              current = bias
    CLEAR     sum                  products of pixels have more bits: they are summed apart
    LIST      pixels               list the inputs that are not 0
    CONV      pixels -> sum        sum += weights of the listed inputs, or of all
    ROUND     sum -> current       current += sum, rounded
    FIRE      current -> counts    charge the membranes, count thresholds, reset
    BIAS      logits               logits = bias
    LIST      counts
    CONV      counts -> logits     logits += counts times weights
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pit_jax.inference.event_driven import instructions as ops
from pit_jax.inference.event_driven.convolution import compute_list_size
from pit_jax.inference.event_driven.instructions import Numbers
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import FixedNeuron
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Shape, Structure, Sum
from pit_jax.old_names import serve_old_names

# Bytes of a cache line. Arrays begin at a line, since a vector across two lines needs two loads.
# Sizes are rounded up to a multiple of LINE entries, which is a whole number of lines too.
LINE = 64


@dataclass(frozen=True)
class WeightLayer:
    """A layer of weights with the kernel `[h, w, C_in / groups, C_out]`.

    `conv` and `lister` are the rows of the tape that add its currents and list its spikes; `inputs`
    and `pixels` are its numbers of inputs and of output pixels.
    """

    conv: int
    lister: int
    path: str
    kernel: Shape
    groups: int
    inputs: int
    pixels: int

    @property
    def kind(self) -> str:
        """`conv` or, where each channel has its own weights, `depthwise`."""
        return "depthwise" if self.groups == self.kernel[3] > 1 else "conv"

    @property
    def size(self) -> tuple[int, int, int, int]:
        """Input channels per output, features, output pixels, pixels of the kernel."""
        kh, kw, deep, features = self.kernel
        return deep, features, self.pixels, kh * kw


@dataclass(frozen=True)
class Tape:
    """Instructions with their constants, `numbers` (int32) and `shorts` (int16).

    `unit` is the unit of pixels, `memory` and `state` are the entries that one sample needs, and
    `logits` is the offset of the logits in the memory.
    """

    code: np.ndarray
    numbers: np.ndarray
    shorts: np.ndarray
    unit: np.float32
    memory: int
    state: int
    logits: int
    layers: list[WeightLayer]


def assemble(graph: Sequence[nodes.Node]) -> Tape:
    """Return the tape of the nodes `graph`; it is the same for every batch size."""
    return _Assembler(graph).make_tape()


def allocate(size: int, dtype: Any) -> np.ndarray:
    """Return zeros whose first entry begins a cache line."""
    # LINE bytes too many, of which the first ones up to a line are skipped.
    raw = np.zeros(size * np.dtype(dtype).itemsize + LINE, np.uint8)
    return raw[-raw.ctypes.data % LINE :][: size * np.dtype(dtype).itemsize].view(dtype)


def _round_up(size: int) -> int:
    return -(-size // LINE) * LINE


class _ConstantPool:
    """Constants of one dtype; each array begins a cache line."""

    def __init__(self, dtype: Any) -> None:
        self.parts: list[np.ndarray] = []
        self.begins: list[int] = []
        self.size, self.dtype = 0, dtype

    def add(self, x: np.ndarray) -> int:
        """Add an array and return its offset."""
        begin, self.size = self.size, _round_up(self.size + x.size)
        self.parts.append(np.ascontiguousarray(x, self.dtype).reshape(-1))
        self.begins.append(begin)
        return begin

    def add_steps(self, x: np.ndarray) -> Numbers:
        """Add constants `[1 or T, ...]` of an instruction."""
        size = math.prod(x.shape[1:])
        return Numbers(self.add(x), size if len(x) > 1 else 0, size)

    def join(self) -> np.ndarray:
        """Return all constants as one array."""
        joined = allocate(self.size + LINE, self.dtype)
        for begin, part in zip(self.begins, self.parts, strict=True):
            joined[begin : begin + part.size] = part
        return joined


class _Assembler:
    def __init__(self, graph: Sequence[nodes.Node]) -> None:
        self.nodes = graph
        self.code: list[ops.Op] = []
        self.numbers, self.shorts = _ConstantPool(np.int32), _ConstantPool(np.int16)
        self.memory = self.state = 0
        self.layers: list[WeightLayer] = []
        # The offset of each node's output. Pools and lists that several synapses read are computed
        # once: `structures` has the offset and shape of each pooled source, `lists` the row of the
        # LIST instruction and the offset of each list.
        self.values: list[int] = []
        self.structures: dict[tuple[int, tuple[Structure, ...]], tuple[int, Shape]] = {}
        self.lists: dict[tuple[int, Shape, int], tuple[int, int]] = {}
        for node in graph:
            self._add_node(node)

    def make_tape(self) -> Tape:
        pixels = self.nodes[0]
        assert isinstance(pixels, nodes.Pixels)
        return Tape(
            ops.encode(self.code), self.numbers.join(), self.shorts.join(), np.float32(pixels.unit),
            self.memory, self.state, self.values[-1], self.layers,
        )  # fmt: skip

    def _emit(self, op: ops.Op) -> int:
        """Append an instruction and return its row."""
        self.code.append(op)
        return len(self.code) - 1

    def _reserve(self, size: int) -> int:
        """Reserve memory for `size` values and return its offset."""
        begin, self.memory = self.memory, _round_up(self.memory + size)
        return begin

    def _reserve_state(self, size: int) -> int:
        begin, self.state = self.state, _round_up(self.state + size)
        return begin

    def _add_row(self, x: np.ndarray, shape: Shape) -> Numbers:
        """Add constants `[1 or T, ...]` of a node, one for each channel or for each value."""
        # [1 or T, 1 or C] needs C entries only: the interpreter repeats them over the places.
        if x.ndim == 2:
            x = np.broadcast_to(x, (len(x), shape[-1]))
        else:
            ones = (1,) * (len(shape) + 1 - x.ndim)
            x = np.broadcast_to(x.reshape(len(x), *ones, *x.shape[1:]), (len(x), *shape))
        return self.numbers.add_steps(x)

    def _add_node(self, node: nodes.Node) -> None:
        size = math.prod(node.shape)
        to = self._reserve(size)
        self.values.append(to)
        match node:
            case nodes.Pixels():
                self._emit(ops.SampleOp(to=to, size=size, bound=node.bound))
            case nodes.Accumulator():
                bias = self._add_row(node.bias, node.shape)
                self._emit(ops.BiasOp(to=to, size=size, numbers=bias))
                for synapse in node.synapses:
                    self._add_synapse(synapse, to, node.shape)
            case nodes.Spikes():
                self._add_neuron(node, to)
            case nodes.Product():
                self._add_product(node, to)
            case nodes.LinearAttention():
                self._emit(
                    ops.AttentionOp(
                        query=self.values[node.query], key=self.values[node.key],
                        value=self.values[node.value], to=to, size=size,
                        channels=node.weight.shape[-1], features=node.shape[-1], heads=node.heads,
                        numbers=self._add_row(node.weight, node.weight.shape[-1:]),
                    )
                )  # fmt: skip

    def _add_product(self, node: nodes.Product, to: int) -> None:
        (first, first_shape), (second, shape) = map(
            self._apply_structure, (node.first, node.second), node.pools
        )
        period = math.prod(shape)
        # The second may be a gate of shape [1, 1, C], which is one for all places.
        assert first_shape == node.shape, node.path
        assert shape == node.shape or period == node.shape[-1], node.path
        self._emit(
            ops.ProductOp(
                first=first, second=second, to=to,
                size=math.prod(node.shape), period=period, silent=node.silent,
            )
        )  # fmt: skip

    def _add_synapse(self, synapse: nodes.Synapse, to: int, shape: Shape) -> None:
        source, source_shape = self._apply_structure(synapse.source, synapse.structure)
        size = math.prod(shape)
        assert synapse.kind in ("conv", "dense") or math.prod(source_shape) == size, synapse.path
        if synapse.weight is None:
            self._emit(ops.RoundOp(source=source, to=to, size=size, adds=True))
            return
        # Diagonal weights of a current are signs (compiler/quantize.py): there is nothing to round.
        currents = isinstance(self.nodes[synapse.source], nodes.Accumulator | nodes.LinearAttention)
        extra = 0 if currents and synapse.kind == "diagonal" else synapse.extra
        if synapse.kind == "diagonal":
            weight = self._add_row(synapse.weight, shape)
            self._emit(
                ops.DiagonalOp(source=source, to=to, size=size, numbers=weight, shift=extra)
            )  # fmt: skip
            return
        if synapse.shift:
            inputs = math.prod(source_shape)
            low = self._reserve(inputs)
            self._emit(ops.RoundOp(source=source, to=low, size=inputs, shift=synapse.shift))
            source = low
        if not extra:
            self._add_conv(synapse, source, source_shape, to, shape)
            return
        # Only the sum of this synapse is rounded, so it cannot be added to `to` term by term: it is
        # computed in memory of its own and added after rounding.
        own = self._reserve(size)
        self._emit(ops.ClearOp(to=own, size=size))
        self._add_conv(synapse, source, source_shape, own, shape)
        self._emit(ops.RoundOp(source=own, to=to, size=size, shift=extra, adds=True))

    def _add_conv(
        self, synapse: nodes.Synapse, source: int, source_shape: Shape, to: int, shape: Shape
    ) -> None:
        """Add a convolution; a linear layer is a 1x1 convolution over a row of tokens."""
        weight = synapse.weight
        assert weight is not None
        strides, padding, groups = synapse.strides, synapse.padding, synapse.groups
        if synapse.kind == "dense":
            source_shape, shape = ((1, math.prod(s[:-1]), s[-1]) for s in (source_shape, shape))
            weight = weight[:, None, None]
            strides, padding, groups = (1, 1), ((0, 0), (0, 0)), 1
        kh, kw, deep, features = weight.shape[1:]
        is_depthwise = groups > 1 and deep == 1 and features == groups
        # A layer that waits for its weights takes half the time with half the bytes.
        is_int16 = bool(abs(weight).max() < 2**15)
        pool = self.shorts if is_int16 else self.numbers
        # Spikes of a depthwise convolution are listed as one group, all channels of a pixel next to
        # each other: a group for each channel would need a begin for every value.
        list_groups = 1 if is_depthwise else groups
        numbers = pool.add_steps(weight)
        lister, spikes = self._list_spikes(source, source_shape, list_groups)
        conv = self._emit(
            ops.ConvOp(
                source=source, to=to, spikes=spikes, lister=lister,
                height=source_shape[0], width=source_shape[1], channels=source_shape[2],
                out_height=shape[0], out_width=shape[1], features=features,
                kernel_height=kh, kernel_width=kw, stride_y=strides[0], stride_x=strides[1],
                pad_top=padding[0][0], pad_left=padding[1][0], groups=list_groups,
                is_depthwise=is_depthwise, is_int16=is_int16, numbers=numbers,
            )
        )  # fmt: skip
        inputs, pixels = math.prod(source_shape), math.prod(shape[:2])
        kernel = kh, kw, deep, features
        self.layers.append(WeightLayer(conv, lister, synapse.path, kernel, groups, inputs, pixels))

    def _list_spikes(self, source: int, shape: Shape, groups: int) -> tuple[int, int]:
        """Return the row of the instruction that lists a source's spikes, and the list's offset."""
        key = (source, shape, groups)
        if key not in self.lists:
            height, width, channels = shape
            spikes = self._reserve(compute_list_size(height, width, channels, groups))
            lister = self._emit(
                ops.ListOp(
                    source=source, spikes=spikes,
                    height=height, width=width, channels=channels, groups=groups,
                )
            )  # fmt: skip
            self.lists[key] = lister, spikes
        return self.lists[key]

    def _apply_structure(self, source: int, steps: tuple[Structure, ...]) -> tuple[int, Shape]:
        """Return the offset and the shape of a source after its structure."""
        if not steps:
            return self.values[source], self.nodes[source].shape
        if (source, steps) not in self.structures:
            # Recursion over prefixes, so that structures with a common beginning share its memory.
            at, shape = self._apply_structure(source, steps[:-1])
            self.structures[source, steps] = self._apply(steps[-1], at, shape)
        return self.structures[source, steps]

    def _apply(self, step: Structure, source: int, shape: Shape) -> tuple[int, Shape]:
        match step:
            case Reshape():
                return source, step.shape
            case Sum():
                return self._sum(step, source, shape)
            case Cells():
                out = step.size, step.size, shape[2]
                to = self._reserve(math.prod(out))
                self._emit(
                    ops.CellsOp(
                        source=source, to=to, height=shape[0], width=shape[1], channels=shape[2],
                        out_height=out[0], out_width=out[1],
                    )
                )  # fmt: skip
                return to, out
            case Pool():
                return self._pool(step, source, shape)

    def _sum(self, step: Sum, source: int, shape: Shape) -> tuple[int, Shape]:
        # From the last axis to the first, so that the numbers of the remaining axes stay valid.
        for axis in sorted(step.axes, reverse=True):
            outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
            to = self._reserve(outer * inner)
            self._emit(
                ops.SumOp(source=source, to=to, outer=outer, length=shape[axis], inner=inner)
            )  # fmt: skip
            source, shape = to, shape[:axis] + shape[axis + 1 :]
        return source, shape

    def _pool(self, step: Pool, source: int, shape: Shape) -> tuple[int, Shape]:
        assert step.window[2:] == (1,), step
        height, width = (
            (n + sum(pad) - k) // stride + 1
            for n, pad, k, stride in zip(
                shape[:2], step.padding, step.window, step.strides, strict=False
            )
        )
        to = self._reserve(height * width * shape[2])
        self._emit(
            ops.PoolOp(
                source=source, to=to, height=shape[0], width=shape[1], channels=shape[2],
                out_height=height, out_width=width,
                kernel_height=step.window[0], kernel_width=step.window[1],
                stride_y=step.strides[0], stride_x=step.strides[1],
                pad_top=step.padding[0][0], pad_left=step.padding[1][0], takes_max=step.largest,
            )
        )  # fmt: skip
        return to, (height, width, shape[2])

    def _add_neuron(self, node: nodes.Spikes, to: int) -> None:
        neuron, channels, size = node.neuron, node.shape[-1], math.prod(node.shape)
        # [rows, C] for each step: `levels` thresholds, then DROP, LEAK, LEAK_FIRED (ONE, SLOWNESS).
        rows = {ops.DROP: neuron.drop, ops.LEAK: neuron.leak, ops.LEAK_FIRED: neuron.leak_fired}
        if neuron.one is not None and neuron.slowness is not None:
            rows |= {ops.ONE: neuron.one, ops.SLOWNESS: neuron.slowness}
        rule = [*_list_thresholds(neuron), *(rows[row] for row in sorted(rows))]
        steps = max(map(len, rule))
        numbers = self.numbers.add_steps(
            np.stack([np.broadcast_to(row, (steps, channels)) for row in rule], 1)
        )
        has_slow, carry = neuron.one is not None, neuron.carry
        membrane = self._reserve_state(size)
        self._emit(
            ops.FireOp(
                source=self.values[node.accumulator], to=to, size=size, channels=channels,
                membrane=membrane, levels=neuron.levels, guard=neuron.guard, signed=neuron.signed,
                numbers=numbers,
                has_slow=has_slow, slow=self._reserve_state(size) if has_slow else 0,
                slow_shift=neuron.slow_shift,
                has_carry=carry is not None, carry=0 if carry is None else self.numbers.add(carry),
                carry_shift=neuron.carry_shift,
            )
        )  # fmt: skip


def _list_thresholds(neuron: FixedNeuron) -> list[np.ndarray]:
    """Return the smallest membranes with a count of at least 1, 2, ..., `levels`."""
    # In int64, since first + level step can exceed int32; no membrane reaches the clipped ones.
    first, step = neuron.first.astype(np.int64), neuron.step.astype(np.int64)
    return [
        np.minimum(first + level * step, 2**31 - 1).astype(np.int32)
        for level in range(neuron.levels)
    ]


serve_old_names(__name__)
