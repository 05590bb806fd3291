"""The layers and networks of benchmarks.event_driven in PyTorch: dense, in float32 and int8."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.reductions import Reshape, Sum

# The resolution of int8 sums that are added to others, in counts of their neuron, and the zero
# point of signed values in quint8.
PART, MIDDLE = 1 / 16, 128
LEVELS = 4
INT8, COUNT = torch.qint8, torch.quint8


def make_convolution(
    weight: np.ndarray, stride: int, padding: int, groups: int
) -> tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]:
    """Return a layer in float32, and one of counts in int8, of inputs [B, C, H, W].

    `weight` is [h, w, C_in / groups, C_out].
    """
    kernel = _move_channels_first(weight)
    packed = torch.ops.quantized.conv2d_prepack(
        _quantize_int8(kernel), None, [stride] * 2, [padding] * 2, [1, 1], groups
    )
    # The largest sum of a channel of binary inputs fits into 255 steps.
    scale = float(abs(kernel).sum((1, 2, 3)).max()) / 255
    floats = kernel.contiguous(memory_format=torch.channels_last)

    def in_float32(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, floats, None, stride, padding, 1, groups)

    def in_int8(x: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.conv2d(x, packed, scale, MIDDLE)

    return in_float32, in_int8


def convert_counts(x: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return counts [B, H, W, C] in float32 and int8 as [B, C, H, W], channels last in memory."""
    floats = torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2)
    floats = floats.contiguous(memory_format=torch.channels_last)
    return floats, torch.quantize_per_tensor(floats, 1.0, 0, COUNT)


class Float32(torch.nn.Module):
    """A program of one step, dense in floats; counts are rounded half to even."""

    def __init__(self, graph: Sequence[nodes.Node]) -> None:
        super().__init__()
        self.nodes = graph
        self.kernels = {id(s): _make_kernel(s, graph, 1.0) for s in _list_synapses(graph)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: list[torch.Tensor] = []
        for node in self.nodes:
            match node:
                case nodes.Pixels():
                    values.append(x / node.unit)
                case nodes.Spikes():
                    # The sum over the neuron's step is the count before rounding.
                    size = torch.from_numpy(_read_step(node))
                    count = torch.round(values[node.accumulator] / _align_channels(size))
                    values.append(torch.clamp(count, 0, node.neuron.levels))
                case nodes.Accumulator():
                    total: Any = _align_channels(torch.from_numpy(node.bias[0].astype(np.float32)))
                    for synapse in node.synapses:
                        given = _apply_structure(synapse, values[synapse.source])
                        total = total + self._convolve(synapse, given)
                    values.append(total)
        return values[-1].flatten(1)

    def _convolve(self, synapse: nodes.Synapse, x: torch.Tensor) -> torch.Tensor:
        kernel = self.kernels[id(synapse)]
        groups = kernel.shape[0] if synapse.kind == "diagonal" else synapse.groups
        stride, padding = _read_geometry(synapse)
        return F.conv2d(x, kernel, None, stride, padding, 1, groups)


class Int8(torch.nn.Module):
    """A program of one step with weights and sums of 8 bits, in PyTorch's quantized layers."""

    def __init__(self, graph: Sequence[nodes.Node], largest: float) -> None:
        super().__init__()
        self.nodes, self.pixel = graph, largest / 127
        self.names: dict[int, str] = {}
        for node in graph:
            if not isinstance(node, nodes.Accumulator):
                continue
            # Sums are in units of a count of the next neuron, or relative to the largest logit.
            step = self._find_unit(node)
            for at, synapse in enumerate(node.synapses):
                kernel = _make_kernel(synapse, graph, step)
                if isinstance(graph[synapse.source], nodes.Pixels):
                    kernel = kernel / graph[synapse.source].unit
                bias = torch.from_numpy((node.bias[0] / step).astype(np.float32)).reshape(-1)
                bias = bias.expand(kernel.shape[0]).contiguous() if at == 0 else None
                stride, padding = _read_geometry(synapse)
                groups = kernel.shape[0] if synapse.kind == "diagonal" else synapse.groups
                packed = torch.ops.quantized.conv2d_prepack(
                    _quantize_int8(kernel), bias, list(stride), list(padding), [1, 1], groups
                )
                # Tracing finds packed weights only if they are attributes of the module.
                self.names[id(synapse)] = f"layer{len(self.names)}"
                setattr(self, self.names[id(synapse)], packed)

    def _find_unit(self, node: nodes.Accumulator) -> np.ndarray:
        fired = [
            n
            for n in self.nodes
            if isinstance(n, nodes.Spikes) and self.nodes[n.accumulator] is node
        ]
        return _read_step(fired[0]) if fired else np.full(1, node.bound / 127, np.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: list[torch.Tensor] = []
        for node in self.nodes:
            match node:
                case nodes.Pixels():
                    values.append(torch.quantize_per_tensor(x, self.pixel, MIDDLE, COUNT))
                case nodes.Spikes():
                    values.append(torch.clamp(values[node.accumulator], 0, node.neuron.levels))
                case nodes.Accumulator():
                    last = node is self.nodes[-1]
                    whole = (1.0, MIDDLE) if last else (1.0, 0)
                    parts = []
                    for synapse in node.synapses:
                        given = _apply_structure(synapse, values[synapse.source])
                        out = whole if len(node.synapses) == 1 else (PART, MIDDLE)
                        packed = getattr(self, self.names[id(synapse)])
                        parts.append(torch.ops.quantized.conv2d(given, packed, *out))
                    total = parts[0]
                    for part in parts[1:]:
                        total = torch.ops.quantized.add(total, part, *whole)
                    values.append(total)
        return values[-1].dequantize().flatten(1)


def freeze(module: torch.nn.Module, x: torch.Tensor) -> Any:
    """Trace `module` into one graph, so that Python does not run between its layers."""
    with torch.inference_mode():
        return torch.jit.freeze(torch.jit.trace(module.eval(), x, check_trace=False).eval())


def convert_images(x: np.ndarray) -> torch.Tensor:
    """Return images [B, H, W, C] as [B, C, H, W], channels last in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(x, np.float32)).permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=torch.channels_last)


def _list_synapses(graph: Sequence[nodes.Node]) -> list[nodes.Synapse]:
    return [
        synapse
        for node in graph
        if isinstance(node, nodes.Accumulator)
        for synapse in node.synapses
    ]


def _make_kernel(synapse: nodes.Synapse, graph: Sequence[nodes.Node], step: Any) -> torch.Tensor:
    weight = synapse.weight
    assert weight is not None and len(weight) == 1, "only programs of one step are supported"
    weight = weight[0] / 2.0**synapse.extra / step
    if synapse.kind == "diagonal":
        channels = graph[synapse.source].shape[-1]
        weight = np.broadcast_to(weight, (1, 1, 1, channels))
    elif synapse.kind == "dense":
        weight = weight[None, None]
    return _move_channels_first(weight).contiguous(memory_format=torch.channels_last)


def _move_channels_first(weight: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(weight, np.float32)).permute(3, 2, 0, 1)


def _quantize_int8(kernel: torch.Tensor) -> torch.Tensor:
    scales = abs(kernel).amax((1, 2, 3)).clamp(min=1e-9).double() / 127
    zero = torch.zeros(len(scales), dtype=torch.int64)
    return torch.quantize_per_channel(kernel.contiguous(), scales, zero, 0, INT8)


def _read_step(node: nodes.Spikes) -> np.ndarray:
    neuron = node.neuron
    assert np.array_equal(2 * neuron.first, neuron.step), "only neurons that round are supported"
    step = neuron.step[0] / 2.0**neuron.guard
    return np.broadcast_to(step, node.shape[-1:]).astype(np.float32)


def _read_geometry(synapse: nodes.Synapse) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if synapse.kind != "conv":
        return (1, 1), (0, 0)
    assert all(a == b for a, b in synapse.padding), "only equal padding on both sides is supported"
    return tuple(synapse.strides), tuple(a for a, _ in synapse.padding)


def _apply_structure(synapse: nodes.Synapse, x: torch.Tensor) -> torch.Tensor:
    for step in synapse.structure:
        match step:
            case Sum(axes=(0, 1)):
                size = x.shape[2] * x.shape[3]
                if x.is_quantized:  # The scale of a count would round the sum to few values.
                    x = x.dequantize().sum((2, 3), keepdim=True)
                    x = torch.quantize_per_tensor(x, size * LEVELS / 255, 0, COUNT)
                else:
                    x = x.sum((2, 3), keepdim=True)
            case Reshape():
                assert math.prod(step.shape) == x[0].numel() == x.shape[1]
            case _:
                raise ValueError(f"{step} is not supported here.")
    return x


def _align_channels(row: torch.Tensor) -> torch.Tensor:
    """Return `[C]` in a shape that broadcasts against `[B, C, H, W]`."""
    return row.reshape(1, -1, 1, 1)
