"""A builder of ONNX graphs with exact integer arithmetic.

Tensors are double, which represents every integer up to 2^53; a right shift is a product and a
floor. Only layers of weights are float, because runtimes have no double convolutions; inputs whose
sums could exceed 2^24 pass through them in parts.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx

from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Shape, Structure, Sum

NCHW, NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


class Graph:
    """Nodes and initializers; the methods add operators and return the names of their outputs."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._names: dict[Any, str] = {}

    def emit(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add one operator with one output."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """Add an initializer; equal values share one."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._names:
            self._names[key] = f"constant_{len(self._names)}"
            self.initializers.append(onnx.numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def scale(self, x: str, factor: Any) -> str:
        """Return x times a number, or times an array that broadcasts against its last axes."""
        return x if np.all(factor == 1) else self.emit("Mul", x, self.constant(factor))

    def add(self, x: str, number: Any) -> str:
        """Return x plus a number, or plus an array that broadcasts against its last axes."""
        return self.emit("Add", x, self.constant(number)) if np.any(number) else x

    def shift_right(self, x: str, bits: int) -> str:
        """Return floor(x / 2^bits); negative `bits` shift left."""
        x = self.scale(x, 2.0**-bits)
        return self.emit("Floor", x) if bits > 0 else x

    def round_shift(self, x: str, bits: int) -> str:
        """Return x / 2^bits, rounded half up."""
        return self.emit("Floor", self.add(self.scale(x, 2.0**-bits), 0.5)) if bits else x

    def sum(self, parts: list[str]) -> str:
        """Return the sum of one or more tensors."""
        whole = parts[0]
        for part in parts[1:]:
            whole = self.emit("Add", whole, part)
        return whole

    def cast_to_double(self, x: str) -> str:
        """Return numbers as doubles, and booleans as 1 and 0."""
        return self.emit("Cast", x, to=onnx.TensorProto.DOUBLE)

    def cast_to_float(self, x: str) -> str:
        """Return doubles as floats, rounded to nearest."""
        return self.emit("Cast", x, to=onnx.TensorProto.FLOAT)

    def reshape(self, x: str, *shape: int) -> str:
        """Return the values in another shape; -1 is inferred, 0 keeps an axis."""
        return self.emit("Reshape", x, self.constant(shape, np.int64))

    def apply_structure(
        self, x: str, structure: tuple[Structure, ...], shape: Shape, bound: int
    ) -> tuple[str, int]:
        """Apply pools, sums and reshapes to x of `shape` with |x| <= `bound`.

        Return the result and its bound.
        """
        channels = shape[-1]
        for each in structure:
            match each:
                case Pool(largest=True):
                    window = _make_window(each.window, each.strides, each.padding)
                    x = self._emit_channels_first("MaxPool", x, **window)
                case Pool():
                    x = self._sum_windows(x, each, channels, bound)
                case Sum():
                    # `axes` count from the first axis of a sample; here the batch comes first.
                    axes = self.constant([axis + 1 for axis in each.axes], np.int64)
                    x = self.emit("ReduceSum", x, axes, keepdims=0)
                case Reshape():
                    x, channels = self.reshape(x, -1, *each.shape), each.shape[-1]
                case Cells():
                    x = self._sum_cells(x, each)
            bound *= each.growth()
        return x, bound

    def apply_weights(
        self, x: str, synapse: nodes.Synapse, weight: np.ndarray | None, bound: int
    ) -> str:
        """Return integers x with |x| <= `bound` times the weights of one step."""
        if weight is None:
            return x
        if synapse.kind == "diagonal":
            return self.scale(x, weight)
        largest = int(abs(weight.astype(np.int64)).sum(_list_leading_axes(weight)).max())
        return self._apply_in_parts(x, bound, largest, self._make_layer(synapse, weight))

    def apply_weights_to_spikes(
        self, x: str, synapse: nodes.Synapse, weight: np.ndarray | None, bound: int
    ) -> str:
        """Return sums of spikes 0 <= x <= `bound` times the weights of one step."""
        if weight is not None and synapse.kind != "diagonal":
            # Spikes are not negative: every partial sum is between the sums of the negative and of
            # the positive weights, which the grid keeps below 2^24. Ternary spikes may be -1, but
            # their weights are so small that the sum of all |weights| is below 2^24.
            wide = weight.astype(np.int64)
            sides = (
                np.maximum(sign * wide, 0).sum(_list_leading_axes(wide)).max() for sign in (1, -1)
            )
            if int(max(sides)) * bound < nodes.EXACT:
                return self.cast_to_double(self._make_layer(synapse, weight)(self.cast_to_float(x)))
        return self.apply_weights(x, synapse, weight, bound)

    def _make_layer(self, synapse: nodes.Synapse, weight: np.ndarray) -> Callable[[str], str]:
        """Return the weights of one step as a function of a float tensor."""
        if synapse.kind == "dense":
            matrix = self.constant(weight, np.float32)
            return lambda x: self.emit("MatMul", x, matrix)
        kernel = self.constant(weight.transpose(3, 2, 0, 1), np.float32)
        window = _make_window(weight.shape, synapse.strides, synapse.padding)
        return lambda x: self._emit_channels_first(
            "Conv", x, kernel, **window, group=synapse.groups
        )

    def _apply_in_parts(self, x: str, bound: int, largest: int, layer: Callable[[str], str]) -> str:
        """Apply a float layer exactly to x with |x| <= `bound`.

        A sum of the layer is at most `largest` times its largest input. If it can reach 2^24, split
            x = high 2^bits + low, 0 <= low < 2^bits, largest 2^bits < 2^24,
        apply the layer to `low`, recurse for `high`, and add 2^bits times that result in double.
        """
        if largest * bound < nodes.EXACT:
            return self.cast_to_double(layer(self.cast_to_float(x)))
        # One bit less than fits, so that a logarithm rounded up cannot break the inequality.
        bits = math.floor(math.log2(nodes.EXACT / largest)) - 1
        if bits < 1:
            raise ValueError(f"sums of weights reach {largest:,}, too large for exact float32.")
        high = self.shift_right(x, bits)
        low = self.emit("Sub", x, self.scale(high, 2.0**bits))
        # floor(-bound / 2^bits) can be one further from 0 than bound >> bits.
        parts = self._apply_in_parts(high, (bound >> bits) + 1, largest, layer)
        rest = self.cast_to_double(layer(self.cast_to_float(low)))
        return self.emit("Add", self.scale(parts, 2.0**bits), rest)

    def _emit_channels_first(self, kind: str, x: str, *inputs: str, **attributes: Any) -> str:
        # ONNX's convolutions and pools take channels first only.
        x = self.emit("Transpose", x, perm=NCHW)
        return self.emit("Transpose", self.emit(kind, x, *inputs, **attributes), perm=NHWC)

    def _sum_windows(self, x: str, pool: Pool, channels: int, bound: int) -> str:
        """Return sums over windows as a convolution with ones; ONNX has no sum pool."""
        ones = np.ones((*pool.window[:2], 1, channels), np.int32)
        strides, padding = pool.strides[:2], pool.padding[:2]
        synapse = nodes.Synapse(0, (), ones, "conv", "", strides, padding, groups=channels)
        return self.apply_weights(x, synapse, ones, bound)

    def _sum_cells(self, x: str, cells: Cells) -> str:
        """Return sums over cells as a product with a matrix; row i has ones in cell i."""
        places = cells.height * cells.width
        each = jnp.eye(places).reshape(places, cells.height, cells.width, 1)
        matrix = np.asarray(cells(each)).reshape(places, -1).T
        flat = self.reshape(x, 0, places, -1)
        summed = self.emit("MatMul", self.constant(matrix), flat)
        return self.reshape(summed, 0, cells.size, cells.size, -1)


def _list_leading_axes(weight: np.ndarray) -> tuple[int, ...]:
    return tuple(range(weight.ndim - 1))


def _make_window(
    window: Shape, strides: Shape, padding: tuple[tuple[int, int], ...]
) -> dict[str, Any]:
    (top, bottom), (left, right) = padding[:2]
    pads = [top, left, bottom, right]
    return {"kernel_shape": list(window[:2]), "strides": list(strides[:2]), "pads": pads}
