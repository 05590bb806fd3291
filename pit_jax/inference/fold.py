"""From a network to accumulators: what reaches each neuron, as weights of spikes, in real numbers.

A value between layers is a sum of terms, each a source (pixels, the spikes of a neuron, or the
current of an accumulator) behind structure, a gain per channel and at most one layer of weights,
plus a bias. Batch norm and PIT's scale are gains; so they end in the weights beside them.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from pit_jax.inference.affine import affine
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.firing import Firing, firing
from pit_jax.inference.outline import Layer, Outline, inner, used
from pit_jax.inference.structure import Cells, Pool, Reshape, Shape, Structure, Sum


@dataclass(frozen=True)
class Conv:
    """A convolution with its kernel `[1 or T, h, w, C_in / groups, C_out]`."""

    kernel: np.ndarray
    strides: Shape
    padding: tuple[tuple[int, int], ...]
    groups: int


@dataclass(frozen=True)
class Dense:
    """A linear layer over the last axis with its kernel `[1 or T, C_in, C_out]`."""

    kernel: np.ndarray


Weight = Conv | Dense


@dataclass(frozen=True)
class Term:
    """gain * structure(source), or weight(structure(source)); `gain` is `[1 or T, ...]`.

    `mixing` `[T, C, C]` acts on the channels of the source before the structure (PITFull).
    `path` names the layer whose weights these are, or the module around a shortcut.
    """

    source: int
    structure: tuple[Structure, ...] = ()
    gain: np.ndarray = field(default_factory=lambda: np.ones((1, 1)))
    mixing: np.ndarray | None = None
    weight: Weight | None = None
    path: str = ""


@dataclass(frozen=True)
class Value:
    """A sum of terms and a bias `[1 or T, ...]`; one sample of one step of it has `shape`."""

    terms: tuple[Term, ...]
    bias: np.ndarray
    shape: Shape


@dataclass(frozen=True)
class Pixels:
    """The input."""

    shape: Shape


@dataclass(frozen=True)
class Accumulator:
    """Adds what its value says, once per step."""

    value: Value
    path: str


@dataclass(frozen=True)
class Spikes:
    """The counts that a neuron layer fires at the current of one accumulator."""

    accumulator: int
    firing: Firing
    shape: Shape
    path: str


@dataclass(frozen=True)
class Product:
    """The products of two spikes: where both fire, or with `silent` where only the first does."""

    first: int
    second: int
    shape: Shape
    path: str
    silent: bool = False


@dataclass(frozen=True)
class Attention:
    """query (weight keyᵀ value) of three spikes, a current; `weight` `[T, C]` stays inside."""

    query: int
    key: int
    value: int
    heads: int
    weight: np.ndarray
    shape: Shape
    path: str


Node = Pixels | Accumulator | Spikes | Product | Attention


@dataclass(frozen=True)
class Folded:
    """The nodes in the order in which they run; the last one accumulates the logits."""

    nodes: list[Node]


def fold(outlined: Outline) -> Folded:
    """The accumulators and neurons of a network; raises NotFoldable for what is neither."""
    jaxpr = outlined.jaxpr.jaxpr
    walk = _Walk(outlined.layers, used(jaxpr))
    (pixels,), (logits,) = jaxpr.invars, jaxpr.outvars
    shape = _shape(pixels)[1 if len(_shape(pixels)) == 4 else 2 :]
    walk.nodes.append(Pixels(shape))
    walk.known[pixels] = Value((Term(0),), np.zeros((1, 1)), shape)
    walk.constants |= dict(zip(jaxpr.constvars, outlined.jaxpr.consts, strict=True))
    for equation in jaxpr.eqns:
        if any(v in walk.uses for v in equation.outvars):
            walk.follow(equation)
    walk.accumulated(walk.known[logits], "logits", always=True)
    return Folded(walk.nodes)


class _Walk:
    def __init__(self, layers: dict[str, Layer], uses: dict[Any, int]) -> None:
        self.nodes: list[Node] = []
        self.known: dict[Any, Value] = {}
        self.constants: dict[Any, Any] = {}
        self.layers, self.uses = layers, uses

    def follow(self, equation: JaxprEqn) -> None:
        """Adds the value of the one output of an equation to `known` or to `constants`."""
        (out,) = equation.outvars
        inputs = [v for v in equation.invars if not isinstance(v, Literal) and v in self.known]
        if not inputs:
            values = [self.constant(v) for v in equation.invars]
            self.constants[out] = equation.primitive.bind(*values, **equation.params)
            return
        name = equation.primitive.name
        if name in ("jit", "pjit"):
            name = equation.params["name"]
        rule = getattr(self, f"_{name}", None)
        if rule is None:
            raise NotFoldable(f"no rule for {name}, {_where(equation)}; say what it computes.")
        operands = [None if isinstance(v, Literal) else self.known.get(v) for v in equation.invars]
        value = rule(equation, *operands)
        if self.uses.get(out, 0) > 1 and any(term.weight is not None for term in value.terms):
            value = self.carried(value)
        self.known[out] = value

    def constant(self, v: Any) -> Any:
        return v.val if isinstance(v, Literal) else self.constants[v]

    def carried(self, value: Value) -> Value:
        """The current of an accumulator, for more than one reader or to be scaled as a whole."""
        path = next(term.path for term in reversed(value.terms) if term.path)
        return self.read(self.accumulated(value, path), value.shape)

    def accumulated(self, value: Value, path: str, always: bool = False) -> int:
        """The accumulator of a value: the one it reads if it is nothing but its current."""
        if len(value.terms) == 1 and not always and not np.any(value.bias):
            (term,) = value.terms
            plain = not term.structure and term.weight is None and np.all(term.gain == 1)
            if plain and isinstance(self.nodes[term.source], Accumulator | Attention):
                return term.source
        self.nodes.append(Accumulator(value, path))
        return len(self.nodes) - 1

    def read(self, node: int, shape: Shape) -> Value:
        return Value((Term(node),), np.zeros((1, 1)), shape)

    # Layers.

    def _layer(self, equation: JaxprEqn, value: Value) -> Value:
        layer = self.layers[equation.params["path"]]
        shape = equation.params["shape"][2:]
        name = type(layer.module).__name__
        if name in ("Conv", "Dense"):
            return self.weighed(layer, value, shape)
        gain_and_bias = affine(layer)
        if gain_and_bias is not None:
            return self.scaled(value, *gain_and_bias, path=layer.path)
        return self.fired(layer, firing(layer), value)

    def weighed(self, layer: Layer, value: Value, shape: Shape) -> Value:
        if any(term.weight is not None for term in value.terms):
            value = self.carried(value)
        if np.any(value.bias):
            raise NotFoldable(
                f"{layer.path} reads a sum with a bias: beside a border its padding is 0."
            )
        params = {k: np.asarray(x, np.float64) for k, x in layer.variables["params"].items()}
        terms = tuple(
            replace(
                term,
                gain=np.ones((1, 1)),
                mixing=None,
                weight=_folded(layer, params["kernel"], term),
                path=layer.path,
            )
            for term in value.terms
        )
        bias = params.get("bias", np.zeros(1))
        return Value(terms, bias[None], shape)

    def fired(self, layer: Layer, rule: Firing, value: Value) -> Value:
        value = self.scaled(value, rule.current_gain, rule.current_bias, path=layer.path)
        mixing = rule.mixing
        if mixing is not None:
            value = self.mixed(value, np.linalg.inv(mixing), layer.path)
        accumulator = self.accumulated(value, layer.path)
        self.nodes.append(Spikes(accumulator, rule, value.shape, layer.path))
        term = Term(len(self.nodes) - 1, (), rule.gain, mixing, path=layer.path)
        return Value((term,), np.zeros((1, 1)), value.shape)

    # Sums and scales.

    def scaled(self, value: Value, gain: np.ndarray, bias: Any, path: str) -> Value:
        """gain * value + bias; both `[1 or T, 1 or C]`."""
        if np.all(gain == 1):
            return replace(value, bias=value.bias + bias)
        reads_current = [
            term.weight is None and isinstance(self.nodes[term.source], Accumulator | Attention)
            for term in value.terms
        ]
        if len(value.terms) > 1 and any(reads_current):
            value = self.carried(value)
        terms = []
        for term in value.terms:
            if term.weight is None:
                terms.append(replace(term, gain=_times(term.gain, gain), path=term.path or path))
            else:
                terms.append(replace(term, weight=_scaled_weight(term.weight, gain)))
        return Value(tuple(terms), _times(value.bias, gain) + bias, value.shape)

    def mixed(self, value: Value, matrix: np.ndarray, path: str) -> Value:
        """matrix value, step by step; `matrix` `[T, C, C]`."""
        terms = []
        for term in value.terms:
            weight = term.weight
            if weight is None:
                channels = value.shape[-1]
                kernel = _gains_as_kernel(term, channels) @ np.swapaxes(matrix, 1, 2)
                structure = term.structure
                terms.append(Term(term.source, structure, weight=Dense(kernel), path=path))
                continue
            kernel = weight.kernel @ np.swapaxes(matrix, 1, 2).reshape(
                len(matrix), *(1,) * (weight.kernel.ndim - 3), *matrix.shape[1:]
            )
            terms.append(replace(term, weight=replace(weight, kernel=kernel)))
        bias = np.broadcast_to(value.bias, (*value.bias.shape[:-1], value.shape[-1]))
        bias = np.einsum("t...c,tdc->t...d", *_steps_alike(bias, matrix))
        return Value(tuple(terms), bias, value.shape)

    def _add(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if a is None or b is None:
            value, constant = self.with_constant(equation, a, b)
            return replace(value, bias=value.bias + constant)
        return Value((*a.terms, *b.terms), _plus(a, b), a.shape)

    _add_any = _add

    def _sub(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if b is not None:
            b = self.scaled(b, np.array([[-1.0]]), 0.0, _where(equation))
            if a is None:
                value, constant = self.with_constant(equation, a, b)
                return replace(value, bias=value.bias + constant)
            return self._add(equation, a, b)
        assert a is not None
        value, constant = self.with_constant(equation, a, b)
        return replace(value, bias=value.bias - constant)

    def _div(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if a is None or b is not None:
            raise NotFoldable(f"a division by activations, {_where(equation)}.")
        value, constant = self.with_constant(equation, a, b)
        return self.scaled(value, 1 / constant, 0.0, _where(equation))

    def _mul(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if a is None or b is None:
            value, constant = self.with_constant(equation, a, b)
            return self.scaled(value, constant, 0.0, _where(equation))
        return self.multiplied(a, b, equation)

    def multiplied(self, a: Value, b: Value, equation: JaxprEqn) -> Value:
        """The product of two spikes, or of one and what is silent where the other fires."""
        path, shape = _where(equation), _tail(equation)
        silent = bool(np.all(b.bias == 1))
        both = (*a.terms, *b.terms)
        single = len(a.terms) == len(b.terms) == 1 and not np.any(a.bias)
        spikes = all(
            isinstance(self.nodes[t.source], Spikes | Product)
            and not t.structure
            and t.weight is None
            and t.mixing is None
            for t in both
        )
        binary = all(self.levels(t.source) == 1 and np.all(abs(t.gain) == 1) for t in both)
        if not (single and spikes and (binary or not silent)) or (np.any(b.bias) and not silent):
            raise NotFoldable(
                f"the product {path} is of sums of spikes, of more than one level or scaled; "
                "only that of two neurons' spikes is one of spikes."
            )
        (first,), (second,) = a.terms, b.terms
        self.nodes.append(Product(first.source, second.source, shape, path, silent))
        gain = first.gain if silent else _times(first.gain, second.gain)
        term = Term(len(self.nodes) - 1, (), gain, path=path)
        return Value((term,), np.zeros((1, 1)), shape)

    def levels(self, source: int) -> int:
        """The largest count of spikes or of a product of them."""
        node = self.nodes[source]
        if isinstance(node, Spikes):
            return node.firing.levels
        assert isinstance(node, Product)
        return self.levels(node.first) * (1 if node.silent else self.levels(node.second))

    def with_constant(
        self, equation: JaxprEqn, a: Value | None, b: Value | None
    ) -> tuple[Value, np.ndarray]:
        value, at = (b, 0) if a is None else (a, 1)
        assert value is not None
        constant = np.asarray(self.constant(equation.invars[at]), np.float64)
        # Without the axis of the batch.
        return value, constant[0] if constant.ndim > 2 else np.full((1, 1), constant)

    # Structure.

    def structured(self, value: Value, structure: Structure, shape: Shape, path: str) -> Value:
        if any(term.weight is not None for term in value.terms):
            value = self.carried(value)
        if np.any(value.bias):
            raise NotFoldable(f"a bias before the pool or sum {path}.")
        largest = isinstance(structure, Pool) and structure.largest
        terms = []
        for term in value.terms:
            if largest and (len(value.terms) > 1 or term.mixing is not None):
                raise NotFoldable(f"the max-pool {path} is of a sum, not of one neuron's spikes.")
            if largest and not np.all(term.gain > 0):
                raise NotFoldable(
                    f"the max-pool {path} follows a scale that is not above 0: the largest "
                    "spike is not the largest of what it stands for."
                )
            if isinstance(structure, Sum) and _varies(term.gain, structure.axes):
                terms.append(self.as_dense(term, structure, shape, path))
                continue
            gain = _behind(structure, term.gain, value.shape, path)
            terms.append(replace(term, structure=(*term.structure, structure), gain=gain))
        return Value(tuple(terms), np.zeros((1, 1)), shape)

    def as_dense(self, term: Term, structure: Structure, shape: Shape, path: str) -> Term:
        """A sum of what has scales of its own, as the vote's, written as a linear layer."""
        source = self.nodes[term.source]
        if term.mixing is not None or len(shape) != 1 or not isinstance(source, Spikes):
            raise NotFoldable(f"the sum {path} is of what has another scale at each place.")
        inputs = int(np.prod(source.shape))
        one = jnp.eye(inputs).reshape(inputs, *source.shape)
        for step in term.structure:
            one = step(one)
        taken = np.asarray(one, np.float64)
        steps = [np.asarray(structure(taken * gain[None])) for gain in term.gain]
        return Term(term.source, (Reshape((inputs,)),), weight=Dense(np.stack(steps)), path=path)

    def _reduce_window_sum(self, equation: JaxprEqn, value: Value, largest: bool = False) -> Value:
        p = equation.params
        if any(n != 1 for n in (*p["window_dilation"], *p["base_dilation"])):
            raise NotFoldable(f"a pool with dilation, {_where(equation)}.")
        pool = Pool(
            p["window_dimensions"][2:], p["window_strides"][2:], tuple(p["padding"][2:]), largest
        )
        return self.structured(value, pool, _tail(equation), _where(equation))

    def _reduce_window_max(self, equation: JaxprEqn, value: Value) -> Value:
        return self._reduce_window_sum(equation, value, largest=True)

    def _reduce_sum(self, equation: JaxprEqn, value: Value) -> Value:
        axes = tuple(axis - 2 for axis in equation.params["axes"])
        terms = int(np.prod([value.shape[axis] for axis in axes]))
        return self.structured(value, Sum(axes, terms), _tail(equation), _where(equation))

    def _reshape(self, equation: JaxprEqn, value: Value) -> Value:
        shape = _tail(equation)
        return self.structured(value, Reshape(shape), shape, _where(equation))

    def _broadcast_in_dim(self, equation: JaxprEqn, value: Value) -> Value:
        shape = _tail(equation)
        if shape == value.shape:  # An axis of time, or the same at all steps.
            return value
        if np.prod(shape) != np.prod(value.shape):
            raise NotFoldable(f"{value.shape} becomes {shape} by repetition, {_where(equation)}.")
        return self.structured(value, Reshape(shape), shape, _where(equation))

    def _adaptive_avg_pool(self, equation: JaxprEqn, value: Value) -> Value:
        shape = _tail(equation)
        cells = Cells(shape[0], *value.shape[:2])
        value = self.structured(value, cells, shape, _where(equation))
        gain = 1 / np.asarray(cells.sizes(), np.float64)[None, :, :, None]
        return self.scaled(value, gain, 0.0, _where(equation))

    def _convert_element_type(self, equation: JaxprEqn, value: Value) -> Value:
        return value

    _copy = _stop_gradient = _convert_element_type

    def _linear_attention(self, equation: JaxprEqn, *values: Value) -> Value:
        path, shape = _where(equation), _tail(equation)
        for value in values:
            term = value.terms[0]
            plain = term.weight is None and term.mixing is None and not term.structure
            if len(value.terms) > 1 or not plain or not isinstance(self.nodes[term.source], Spikes):
                raise NotFoldable(f"the attention {path} reads other than one neuron's spikes.")
        program = inner(equation)
        assert program is not None
        product = next(e for e in program.jaxpr.eqns if e.primitive.name == "dot_general")
        heads = _shape(product.invars[0])[3]
        query, key, attended = (value.terms[0] for value in values)
        channels = values[0].shape[-1]
        weight = _times(query.gain, key.gain) * np.ones((1, channels))
        sources = query.source, key.source, attended.source
        self.nodes.append(Attention(*sources, heads, weight, shape, path))
        gain = attended.gain * (2 * (channels // heads) ** -0.5)
        return Value((Term(len(self.nodes) - 1, (), gain, path=path),), np.zeros((1, 1)), shape)


def _tail(equation: JaxprEqn) -> Shape:
    return _shape(equation.outvars[0])[2:]


def _shape(v: Any) -> Shape:
    # What jax's types say of a program's values leaves out their shapes.
    shape: Shape = v.aval.shape
    return shape


def _where(equation: JaxprEqn) -> str:
    return f"in {equation.source_info.name_stack}"


def _steps_alike(*arrays: np.ndarray) -> list[np.ndarray]:
    steps = max(map(len, arrays))
    return [np.broadcast_to(a, (steps, *a.shape[1:])) for a in arrays]


def _aligned(a: np.ndarray, ndim: int) -> np.ndarray:
    """`[T, ...]` with axes of size 1 behind time, so that it has `ndim`."""
    return a.reshape(len(a), *(1,) * (ndim - a.ndim), *a.shape[1:])


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ndim = max(a.ndim, b.ndim)
    return _aligned(a, ndim) * _aligned(b, ndim)


def _plus(a: Value, b: Value) -> np.ndarray:
    ndim = max(a.bias.ndim, b.bias.ndim)
    return _aligned(a.bias, ndim) + _aligned(b.bias, ndim)


def _behind(structure: Structure, gain: np.ndarray, shape: Shape, path: str) -> np.ndarray:
    """The gain `[T, ...]` of an input of `shape` as that of the output."""
    if isinstance(structure, Reshape):
        if gain.size == len(gain):
            return gain.reshape(len(gain), 1)
        whole = np.broadcast_to(_aligned(gain, len(shape) + 1), (len(gain), *shape))
        return whole.reshape(len(gain), *structure.shape)
    if gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable(f"the pool or sum {path} is of what has another scale at each place.")
    if isinstance(structure, Sum) and len(shape) - 1 in structure.axes:
        if np.ptp(gain, axis=-1).any():
            raise NotFoldable(f"the sum {path} is over channels of different scales.")
        return gain.reshape(len(gain), -1)[:, :1]
    return gain.reshape(len(gain), gain.shape[-1])


def _gains_as_kernel(term: Term, channels: int) -> np.ndarray:
    """What a term without weights does to its channels, `[T, C, C]`."""
    gain = np.broadcast_to(term.gain, (len(term.gain), channels))
    if term.mixing is not None:
        return np.swapaxes(term.mixing, 1, 2) * gain[:, None, :]
    return gain[:, :, None] * np.eye(channels)


def _varies(gain: np.ndarray, axes: Shape) -> bool:
    """Whether a gain `[T, ...]` of a shape differs along some of its axes."""
    return gain.ndim > 2 and any(np.ptp(gain, axis=axis + 1).any() for axis in axes)


def _scaled_weight(weight: Weight, gain: np.ndarray) -> Weight:
    if gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable("weights are scaled differently from place to place.")
    gain = gain.reshape(len(gain), gain.shape[-1])
    return replace(weight, kernel=weight.kernel * _aligned(gain, weight.kernel.ndim))


def _folded(layer: Layer, kernel: np.ndarray, term: Term) -> Weight:
    """The weights of `layer` behind the gain and mixing of `term`, which they take in."""
    module = layer.module
    if kernel.ndim == 2:
        return Dense(_on_inputs(kernel[None], term))
    for name in ("kernel_dilation", "input_dilation"):
        if any(n != 1 for n in np.atleast_1d(getattr(module, name))):
            raise NotFoldable(f"{layer.path} has {name}, for which there is no rule.")
    padding = module.padding
    if isinstance(padding, str):
        raise NotFoldable(f"{layer.path} has padding {padding!r}; give numbers.")
    size = len(module.kernel_size)
    padding = padding if not isinstance(padding, int) else (padding,) * size
    padding = tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    strides = module.strides
    strides = (strides,) * size if isinstance(strides, int) else tuple(strides or (1,) * size)
    groups, kernel = module.feature_group_count, kernel[None]
    if term.mixing is not None:  # Every output then reads every input.
        groups, kernel = 1, _ungrouped(kernel, groups)
    return Conv(_on_inputs(kernel, term, groups), strides, padding, groups)


def _ungrouped(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel of a convolution in groups as that of one without, zeros between the groups."""
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    whole = np.zeros((*kernel.shape[:-2], groups * inputs, groups * outputs))
    for g in range(groups):
        out = slice(g * outputs, (g + 1) * outputs)
        whole[..., g * inputs : (g + 1) * inputs, out] = kernel[..., out]
    return whole


def _on_inputs(kernel: np.ndarray, term: Term, groups: int = 1) -> np.ndarray:
    """`kernel` `[1, ..., C_in, C_out]` times a gain `[T, ...]` of its inputs."""
    inputs, gain = kernel.shape[-2], term.gain
    if kernel.ndim == 3:
        gain = gain.reshape(len(gain), -1)
    elif gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable(f"{term.path} feeds a convolution with another scale at each place.")
    gain = gain.reshape(len(gain), -1)
    if groups > 1 and gain.shape[-1] > 1:
        # Each output of a group reads its own inputs: [T, groups, C_in] beside [.., groups, C_out].
        gain = gain.reshape(len(gain), groups, inputs)
        parts = kernel.reshape(*kernel.shape[:-1], groups, -1)
        gain = np.swapaxes(gain, 1, 2)[:, None, None, :, :, None]
        kernel = (parts * gain).reshape(len(gain), *kernel.shape[1:])
    else:
        kernel = kernel * gain.reshape(len(gain), *(1,) * (kernel.ndim - 3), gain.shape[-1], 1)
    if term.mixing is None:
        return kernel
    channels = term.mixing.shape[-1]
    places = kernel.reshape(*kernel.shape[:-2], -1, channels, kernel.shape[-1])
    mixed = np.einsum("t...co,tci->t...io", *_steps_alike(places, term.mixing))
    return mixed.reshape(len(mixed), *kernel.shape[1:])
