"""From the nodes of a program to a tape of instructions, with all their numbers side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pit_jax.inference.event_driven import instructions as op
from pit_jax.inference.event_driven.simd import LANES
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import FixedNeuron
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Shape, Structure, Sum

SHORT = 2**15
# Bytes of a line of the cache, and so many entries are whole lines too.
LINE = 64


@dataclass(frozen=True)
class Layer:
    """A layer of weights `[h, w, C_in / groups, C_out]`: its instruction, that which lists its
    spikes, and how many inputs and output pixels it has."""

    at: int
    events: int
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
        """Input channels that an output reads, features, output pixels, pixels of the kernel."""
        kh, kw, wide, features = self.kernel
        return wide, features, self.pixels, kh * kw


@dataclass(frozen=True)
class Tape:
    """Instructions, their numbers, the unit of pixels, and how much memory a sample takes."""

    code: np.ndarray
    numbers: np.ndarray
    shorts: np.ndarray
    unit: np.float32
    memory: int
    state: int
    logits: int
    layers: list[Layer]


def write(graph: Sequence[nodes.Node], num_steps: int) -> Tape:
    """The tape of `nodes`; it is the same for every batch size."""
    return _Writer(graph, num_steps).tape()


def aligned(size: int, dtype: Any) -> np.ndarray:
    """Zeros that begin at a line of the cache: a register that lies in two is read twice."""
    raw = np.zeros(size * np.dtype(dtype).itemsize + LINE, np.uint8)
    return raw[-raw.ctypes.data % LINE :][: size * np.dtype(dtype).itemsize].view(dtype)


def _lined(size: int) -> int:
    return -(-size // LINE) * LINE


class _Numbers:
    """Arrays of one dtype, each from a line of the cache on."""

    def __init__(self, dtype: Any) -> None:
        self.parts: list[np.ndarray] = []
        self.begins: list[int] = []
        self.size, self.dtype = 0, dtype

    def add(self, x: np.ndarray) -> int:
        """Where `x` begins."""
        begin, self.size = self.size, _lined(self.size + x.size)
        self.parts.append(np.ascontiguousarray(x, self.dtype).reshape(-1))
        self.begins.append(begin)
        return begin

    def whole(self) -> np.ndarray:
        whole = aligned(self.size + LINE, self.dtype)
        for begin, part in zip(self.begins, self.parts, strict=True):
            whole[begin : begin + part.size] = part
        return whole


class _Writer:
    def __init__(self, graph: Sequence[nodes.Node], num_steps: int) -> None:
        self.nodes, self.steps = graph, num_steps
        self.code: list[dict[str, int]] = []
        self.numbers, self.shorts = _Numbers(np.int32), _Numbers(np.int16)
        self.memory = self.state = 0
        self.layers: list[Layer] = []
        # Where the values of each node lie, of each structure of them, and of lists of spikes.
        self.values: list[int] = []
        self.structured: dict[tuple[int, tuple[Structure, ...]], tuple[int, Shape]] = {}
        self.lists: dict[tuple[int, Shape, int], tuple[int, int]] = {}
        for number, node in enumerate(graph):
            self._node(number, node)

    def tape(self) -> Tape:
        code = np.zeros(len(self.code), op.INSTRUCTION)
        for row, fields in zip(code, self.code, strict=True):
            for name, value in fields.items():
                row[name] = value
        first = self.nodes[0]
        assert isinstance(first, nodes.Pixels)
        return Tape(
            code, self.numbers.whole(), self.shorts.whole(), np.float32(first.unit),
            self.memory, self.state, self.values[-1], self.layers,
        )  # fmt: skip

    def _write(self, what: int, **fields: int) -> int:
        self.code.append({"op": what, **{name: int(value) for name, value in fields.items()}})
        return len(self.code) - 1

    def _room(self, shape: Sequence[int]) -> int:
        begin, self.memory = self.memory, _lined(self.memory + math.prod(shape))
        return begin

    def _row(self, x: np.ndarray, shape: Shape) -> dict[str, int]:
        """Numbers `[1 or T, ...]` of a node of `shape`: one for each channel, or for each value."""
        if x.ndim == 2:
            x = np.broadcast_to(x, (len(x), shape[-1]))
        else:
            x = np.broadcast_to(x.reshape(len(x), *(1,) * (len(shape) + 1 - x.ndim), *x.shape[1:]),
                                (len(x), *shape))  # fmt: skip
        return self._copies(self.numbers, x)

    def _copies(self, numbers: _Numbers, x: np.ndarray) -> dict[str, int]:
        period = math.prod(x.shape[1:])
        copies = period if len(x) > 1 else 0
        return {"weight": numbers.add(x), "copies": copies, "period": period}

    def _node(self, number: int, node: nodes.Node) -> None:
        to, size = self._room(node.shape), math.prod(node.shape)
        self.values.append(to)
        match node:
            case nodes.Pixels():
                self._write(op.SAMPLE, to=to, size=size, bound=node.bound)
            case nodes.Accumulator():
                self._write(op.START, to=to, size=size, **self._row(node.bias, node.shape))
                for synapse in node.synapses:
                    self._synapse(synapse, to, node.shape)
            case nodes.Spikes():
                self._fired(node, to, size)
            case nodes.Product():
                first, second = self.values[node.first], self.values[node.second]
                other = self.nodes[node.second].shape
                # The second may be one for all places.
                assert self.nodes[node.first].shape == node.shape, node.path
                assert other == node.shape or math.prod(other) == node.shape[-1], node.path
                self._write(
                    op.PRODUCT, source=first, second=second, to=to, size=size, silent=node.silent,
                    period=math.prod(other),
                )  # fmt: skip
            case nodes.LinearAttention():
                source, second, third = (self.values[i] for i in (node.query, node.key, node.value))
                self._write(
                    op.ATTEND,
                    source=source, second=second, third=third, to=to, size=size,
                    channels=node.weight.shape[-1], features=node.shape[-1], groups=node.heads,
                    **self._row(node.weight, node.weight.shape[-1:]),
                )  # fmt: skip

    def _synapse(self, synapse: nodes.Synapse, to: int, shape: Shape) -> None:
        source, given = self._structured(synapse.source, synapse.structure)
        size = math.prod(shape)
        assert synapse.kind in ("conv", "dense") or math.prod(given) == size, synapse.path
        if synapse.weight is None:
            self._write(op.ROUND, source=source, to=to, size=size, adds=1)
            return
        currents = isinstance(self.nodes[synapse.source], nodes.Accumulator | nodes.LinearAttention)
        extra = 0 if currents and synapse.kind == "diagonal" else synapse.extra
        if synapse.kind == "diagonal":
            row = self._row(synapse.weight, shape)
            self._write(op.SCALE, source=source, to=to, size=size, shift=extra, **row)
            return
        if synapse.shift:
            rounded, many = self._room(given), math.prod(given)
            self._write(op.ROUND, source=source, to=rounded, size=many, shift=synapse.shift)
            source = rounded
        if not extra:
            self._weighed(synapse, source, given, to, shape)
            return
        part = self._room(shape)
        self._write(op.CLEAR, to=part, size=size)
        self._weighed(synapse, source, given, part, shape)
        self._write(op.ROUND, source=part, to=to, size=size, shift=extra, adds=1)

    def _weighed(
        self, synapse: nodes.Synapse, source: int, given: Shape, to: int, shape: Shape
    ) -> None:
        """A convolution; a linear layer is one over its tokens side by side."""
        weight = synapse.weight
        assert weight is not None
        strides, padding, groups = synapse.strides, synapse.padding, synapse.groups
        if synapse.kind == "dense":
            given, shape = ((1, math.prod(s[:-1]), s[-1]) for s in (given, shape))
            weight = weight[:, None, None]
            strides, padding, groups = (1, 1), ((0, 0), (0, 0)), 1
        kh, kw, wide, features = weight.shape[1:]
        depthwise = groups > 1 and wide == 1 and features == groups
        short = bool(abs(weight).max() < SHORT)
        place: dict[str, int] = {"short": short, "depthwise": depthwise}
        place |= self._copies(self.shorts if short else self.numbers, weight)
        events, listed = self._listed(source, given, 1 if depthwise else groups)
        at = self._write(
            op.CONV,
            source=source, to=to, listed=listed, events=events,
            height=given[0], width=given[1], channels=given[2],
            out_height=shape[0], out_width=shape[1], features=features, kh=kh, kw=kw,
            down=strides[0], right=strides[1], top=padding[0][0], left=padding[1][0],
            groups=1 if depthwise else groups, **place,
        )  # fmt: skip
        self.layers.append(
            Layer(
                at,
                events,
                synapse.path,
                (kh, kw, wide, features),
                groups,
                math.prod(given),
                math.prod(shape[:2]),
            )  # fmt: skip
        )

    def _listed(self, source: int, given: Shape, groups: int) -> tuple[int, int]:
        """The instruction that lists the spikes of a source, and where."""
        key = (source, given, groups)
        if key not in self.lists:
            height, width, channels = given
            rows = groups * height * (width + 1)
            listed = self._room((2 * (math.prod(given) + LANES) + rows,))
            events = self._write(
                op.LIST,
                source=source, listed=listed, groups=groups,
                height=height, width=width, channels=channels,
            )  # fmt: skip
            self.lists[key] = events, listed
        return self.lists[key]

    def _structured(self, source: int, steps: tuple[Structure, ...]) -> tuple[int, Shape]:
        """Where a source lies behind its structure, and in which shape."""
        if not steps:
            return self.values[source], self.nodes[source].shape
        if (source, steps) not in self.structured:
            at, shape = self._structured(source, steps[:-1])
            self.structured[source, steps] = self._step(steps[-1], at, shape)
        return self.structured[source, steps]

    def _step(self, step: Structure, at: int, shape: Shape) -> tuple[int, Shape]:
        match step:
            case Reshape():
                return at, step.shape
            case Sum():
                for axis in sorted(step.axes, reverse=True):
                    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
                    to = self._room((outer, inner))
                    self._write(
                        op.SUM, source=at, to=to, size=outer * inner,
                        height=outer, width=shape[axis], channels=inner,
                    )  # fmt: skip
                    at, shape = to, shape[:axis] + shape[axis + 1 :]
                return at, shape
            case Cells():
                after: Shape = (step.size, step.size, shape[2])
                return self._over_space(op.CELLS, at, shape, after), after
            case Pool():
                assert step.window[2:] == (1,), step
                after = (
                    *((n + sum(p) - k) // s + 1 for n, p, k, s in
                      zip(shape[:2], step.padding, step.window, step.strides, strict=False)),
                    shape[2],
                )  # fmt: skip
                (top, _), (left, _) = step.padding[:2]
                return self._over_space(
                    op.POOL, at, shape, after, largest=step.largest, kh=step.window[0],
                    kw=step.window[1], down=step.strides[0], right=step.strides[1],
                    top=top, left=left,
                ), after  # fmt: skip

    def _over_space(self, what: int, at: int, shape: Shape, after: Shape, **fields: int) -> int:
        to = self._room(after)
        self._write(
            what, source=at, to=to, size=math.prod(after), height=shape[0], width=shape[1],
            channels=shape[2], out_height=after[0], out_width=after[1], **fields,
        )  # fmt: skip
        return to

    def _fired(self, node: nodes.Spikes, to: int, size: int) -> None:
        neuron, channels = node.neuron, node.shape[-1]
        rows = [*_thresholds(neuron), neuron.drop, neuron.leak, neuron.leak_fired]
        if neuron.one is not None and neuron.slowness is not None:
            rows += [neuron.one, neuron.slowness]
        steps = max(map(len, rows))
        table = np.stack([np.broadcast_to(row, (steps, channels)) for row in rows], 1)
        fields = self._copies(self.numbers, table)
        membrane, self.state = self.state, _lined(self.state + size)
        if neuron.one is not None:
            fields |= {"slowed": 1, "slow": self.state, "slow_shift": neuron.slow_shift}
            self.state = _lined(self.state + size)
        if neuron.carry is not None:
            fields |= {"carries": 1, "carry": self.numbers.add(neuron.carry)}
            fields["carry_shift"] = neuron.carry_shift
        self._write(
            op.FIRE, source=self.values[node.accumulator], to=to, size=size, channels=channels,
            membrane=membrane, levels=neuron.levels, guard=neuron.guard, signed=neuron.signed,
            **fields,
        )  # fmt: skip


def _thresholds(neuron: FixedNeuron) -> list[np.ndarray]:
    """Membranes from which a count is at least 1, 2, ..."""
    first, step = neuron.first.astype(np.int64), neuron.step.astype(np.int64)
    return [
        np.minimum(first + level * step, 2**31 - 1).astype(np.int32)
        for level in range(neuron.levels)
    ]
