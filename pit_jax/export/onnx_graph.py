"""An ONNX graph under construction, and the arithmetic in it that is exact.

Tensors are double, which has every integer up to 2^53: a shift to the right is a product and a
floor. Only layers of weights are float, as runtimes have no other convolutions; what could exceed
its integers goes through them in parts.
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
    """Nodes and initializers; its methods add operators and return the names of their outputs."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._names: dict[Any, str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One operator with one output."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """An initializer, the same one for the same numbers."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._names:
            self._names[key] = f"constant_{len(self._names)}"
            self.initializers.append(onnx.numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def scaled(self, x: str, factor: Any) -> str:
        """x times a number, or numbers of x's last axes."""
        return x if np.all(factor == 1) else self.op("Mul", x, self.constant(factor))

    def plus(self, x: str, number: Any) -> str:
        """x plus a number, or numbers of x's last axes."""
        return self.op("Add", x, self.constant(number)) if np.any(number) else x

    def shifted(self, x: str, bits: int) -> str:
        """floor(x / 2^bits); to the left where `bits` is negative."""
        x = self.scaled(x, 2.0**-bits)
        return self.op("Floor", x) if bits > 0 else x

    def rounded(self, x: str, bits: int) -> str:
        """x / 2^bits, rounded half up."""
        return self.op("Floor", self.plus(self.scaled(x, 2.0**-bits), 0.5)) if bits else x

    def total(self, parts: list[str]) -> str:
        """The sum of one tensor or more."""
        whole = parts[0]
        for part in parts[1:]:
            whole = self.op("Add", whole, part)
        return whole

    def as_double(self, x: str) -> str:
        """Numbers, or 1 and 0 of conditions, as doubles."""
        return self.op("Cast", x, to=onnx.TensorProto.DOUBLE)

    def as_float(self, x: str) -> str:
        """Doubles as floats, rounded to nearest."""
        return self.op("Cast", x, to=onnx.TensorProto.FLOAT)

    def reshaped(self, x: str, *shape: int) -> str:
        """Another shape for the same values; -1 is what is left, 0 an axis that stays."""
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def structured(
        self, x: str, structure: tuple[Structure, ...], shape: Shape, bound: int
    ) -> tuple[str, int]:
        """What a source of `shape`, not beyond `bound`, is behind its pools, sums and reshapes, and
        how large it can be there."""
        channels = shape[-1]
        for each in structure:
            match each:
                case Pool(largest=True):
                    window = _window(each.window, each.strides, each.padding)
                    x = self._channels_first("MaxPool", x, **window)
                case Pool():
                    x = self._summed(x, each, channels, bound)
                case Sum():
                    axes = self.constant([axis + 1 for axis in each.axes], np.int64)
                    x = self.op("ReduceSum", x, axes, keepdims=0)
                case Reshape():
                    x, channels = self.reshaped(x, -1, *each.shape), each.shape[-1]
                case Cells():
                    x = self._in_cells(x, each)
            bound *= each.growth()
        return x, bound

    def weighed(self, x: str, synapse: nodes.Synapse, weight: np.ndarray | None, bound: int) -> str:
        """Integers x, not beyond `bound`, times the weights of one step."""
        if weight is None:
            return x
        if synapse.kind == "diagonal":
            return self.scaled(x, weight)
        largest = int(abs(weight.astype(np.int64)).sum(_but_last(weight)).max())
        return self._in_parts(x, bound, largest, self._layer(synapse, weight))

    def weighed_spikes(
        self, x: str, synapse: nodes.Synapse, weight: np.ndarray | None, bound: int
    ) -> str:
        """As `weighed`, of sums of spikes.

        They are 0 or more, unless ternary, whose weights are so much smaller: what counts is the
        sum of one sign only, which the grid keeps below 2^24.
        """
        if weight is not None and synapse.kind != "diagonal":
            wide = weight.astype(np.int64)
            sides = (np.maximum(sign * wide, 0).sum(_but_last(wide)).max() for sign in (1, -1))
            if int(max(sides)) * bound < nodes.EXACT:
                return self.as_double(self._layer(synapse, weight)(self.as_float(x)))
        return self.weighed(x, synapse, weight, bound)

    def _layer(self, synapse: nodes.Synapse, weight: np.ndarray) -> Callable[[str], str]:
        """Weights of one step as a function of a float tensor."""
        if synapse.kind == "dense":
            matrix = self.constant(weight, np.float32)
            return lambda x: self.op("MatMul", x, matrix)
        kernel = self.constant(weight.transpose(3, 2, 0, 1), np.float32)
        window = _window(weight.shape, synapse.strides, synapse.padding)
        return lambda x: self._channels_first("Conv", x, kernel, **window, group=synapse.groups)

    def _in_parts(self, x: str, bound: int, largest: int, layer: Callable[[str], str]) -> str:
        """A layer whose outputs are at most `largest` times the inputs, in float, of so few bits of
        x at once that no sum reaches 2^24."""
        if largest * bound < nodes.EXACT:
            return self.as_double(layer(self.as_float(x)))
        bits = math.floor(math.log2(nodes.EXACT / largest)) - 1
        if bits < 1:
            raise ValueError(f"weights whose sums reach {largest:,} are too large to be float.")
        high = self.shifted(x, bits)
        low = self.op("Sub", x, self.scaled(high, 2.0**bits))
        parts = self._in_parts(high, (bound >> bits) + 1, largest, layer)
        rest = self.as_double(layer(self.as_float(low)))
        return self.op("Add", self.scaled(parts, 2.0**bits), rest)

    def _channels_first(self, kind: str, x: str, *inputs: str, **attributes: Any) -> str:
        x = self.op("Transpose", x, perm=NCHW)
        return self.op("Transpose", self.op(kind, x, *inputs, **attributes), perm=NHWC)

    def _summed(self, x: str, pool: Pool, channels: int, bound: int) -> str:
        """The sums over windows, which have no operator: a convolution with ones."""
        ones = np.ones((*pool.window[:2], 1, channels), np.int32)
        strides, padding = pool.strides[:2], pool.padding[:2]
        synapse = nodes.Synapse(0, (), ones, "conv", "", strides, padding, groups=channels)
        return self.weighed(x, synapse, ones, bound)

    def _in_cells(self, x: str, cells: Cells) -> str:
        """A matrix whose rows are 1 in one cell each."""
        places = cells.height * cells.width
        each = jnp.eye(places).reshape(places, cells.height, cells.width, 1)
        matrix = np.asarray(cells(each)).reshape(places, -1).T
        flat = self.reshaped(x, 0, places, -1)
        summed = self.op("MatMul", self.constant(matrix), flat)
        return self.reshaped(summed, 0, cells.size, cells.size, -1)


def _but_last(weight: np.ndarray) -> tuple[int, ...]:
    return tuple(range(weight.ndim - 1))


def _window(window: Shape, strides: Shape, padding: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    (top, bottom), (left, right) = padding[:2]
    pads = [top, left, bottom, right]
    return {"kernel_shape": list(window[:2]), "strides": list(strides[:2]), "pads": pads}
