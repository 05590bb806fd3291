"""From a network to accumulators and neurons: batch norm and scales end in the weights."""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from pit_jax.inference.compiler.affine import affine
from pit_jax.inference.compiler.folded import (
    Accumulator,
    Dense,
    LinearAttention,
    Node,
    Pixels,
    Product,
    Spikes,
    Synapse,
    Value,
    levels_of,
)
from pit_jax.inference.compiler.neuron_rules import (
    FiringRule,
    firing,
)
from pit_jax.inference.compiler.trace import (
    NAMED,
    ModelLayer,
    Outline,
    name_of,
    path_of,
    tail_of,
    used,
    where,
)
from pit_jax.inference.compiler.weights import (
    behind,
    folded,
    gains_as_kernel,
    plus,
    scaled_weight,
    steps_alike,
    times,
    varies,
)
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Shape, Structure, Sum
from pit_jax.jaxprs import find_inner, get_shape


def fold(outlined: Outline) -> list[Node]:
    """The nodes in the order in which they run; the last one accumulates the logits.

    The accumulators and neurons of a network; raises NotFoldable for what is neither."""
    jaxpr = outlined.jaxpr.jaxpr
    walk = _Walk(outlined.layers, used(jaxpr))
    (pixels,), (logits,) = jaxpr.invars, jaxpr.outvars
    shape = get_shape(pixels)[1 if len(get_shape(pixels)) == 4 else 2 :]
    walk.nodes.append(Pixels(shape))
    walk.known[pixels] = Value((Synapse(0),), np.zeros((1, 1)), shape)
    walk.constants |= dict(zip(jaxpr.constvars, outlined.jaxpr.consts, strict=True))
    for equation in jaxpr.eqns:
        if any(v in walk.uses for v in equation.outvars):
            walk.follow(equation)
    if logits not in walk.known:
        raise NotFoldable("the logits are the same whatever the input is; there is nothing to say.")
    walk.accumulated(walk.known[logits], "logits", always=True)
    return walk.nodes


class _Walk:
    def __init__(self, layers: dict[str, ModelLayer], uses: dict[Any, int]) -> None:
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
        name = name_of(equation)
        rule = getattr(self, f"_{name}", None)
        # Anyone's function can have the name of a rule.
        if rule is None or (name != equation.primitive.name and name not in NAMED):
            raise NotFoldable(
                f"no rule for {name}, {where(equation)}; there are rules for nn.Conv, nn.Dense, "
                "norms, neurons, pools, sums, products of spikes and reshapes."
            )
        operands = [None if isinstance(v, Literal) else self.known.get(v) for v in equation.invars]
        value = rule(equation, *operands)
        if self.uses.get(out, 0) > 1 and any(
            synapse.weight is not None for synapse in value.synapses
        ):
            value = self.carried(value)
        self.known[out] = value

    def constant(self, v: Any) -> Any:
        return v.val if isinstance(v, Literal) else self.constants[v]

    def carried(self, value: Value) -> Value:
        """The current of an accumulator, for more than one reader or to be scaled as a whole."""
        path = next(synapse.path for synapse in reversed(value.synapses) if synapse.path)
        return self.read(self.accumulated(value, path), value.shape)

    def accumulated(self, value: Value, path: str, always: bool = False) -> int:
        """The accumulator of a value: the one it reads if it is nothing but its current."""
        if len(value.synapses) == 1 and not always and not np.any(value.bias):
            (synapse,) = value.synapses
            plain = not synapse.structure and synapse.weight is None and np.all(synapse.gain == 1)
            if plain and self.is_current(synapse.source):
                return synapse.source
        self.nodes.append(Accumulator(value, path))
        return len(self.nodes) - 1

    def is_current(self, source: int) -> bool:
        return isinstance(self.nodes[source], Accumulator | LinearAttention)

    def read(self, node: int, shape: Shape) -> Value:
        return Value((Synapse(node),), np.zeros((1, 1)), shape)

    # Layers.

    def _layer(self, equation: JaxprEqn, value: Value) -> Value:
        layer = self.layers[equation.params["path"]]
        shape = equation.params["shape"][2:]
        if get_shape(equation.invars[0])[2:] != value.shape:
            raise NotFoldable(
                f"{layer.path} reads {get_shape(equation.invars[0])}, without an axis of time; "
                "repeat images in front of it, to [B, T, H, W, C]."
            )
        name = type(layer.module).__name__
        if name in ("Conv", "Dense"):
            return self.weighed(layer, value, shape)
        gain_and_bias = affine(layer)
        if gain_and_bias is not None:
            return self.scaled(value, *gain_and_bias, path=layer.path)
        return self.fired(layer, firing(layer), value)

    def weighed(self, layer: ModelLayer, value: Value, shape: Shape) -> Value:
        if _has_weights(value):
            value = self.carried(value)
        params = {k: np.asarray(x, np.float64) for k, x in layer.variables["params"].items()}
        synapses = tuple(
            replace(
                synapse,
                gain=np.ones((1, 1)),
                mixing=None,
                weight=folded(layer, params["kernel"], synapse, value.shape),
                path=layer.path,
            )
            for synapse in value.synapses
        )
        bias = params.get("bias", np.zeros(1))[None]
        if np.any(value.bias):
            if isinstance(layer.module, nn.Conv):
                raise NotFoldable(
                    f"{layer.path} reads a sum with a bias: beside a border its padding is 0. Add "
                    "it behind, or to the images before the network."
                )
            inputs = (*value.bias.shape[:-1], value.shape[-1])
            bias = np.broadcast_to(value.bias, inputs) @ params["kernel"] + bias
        return Value(synapses, bias, shape)

    def fired(self, layer: ModelLayer, rule: FiringRule, value: Value) -> Value:
        value = self.scaled(value, rule.current_gain, rule.current_bias, path=layer.path)
        mixing = rule.mixing
        if mixing is not None:
            value = self.mixed(value, np.linalg.inv(mixing), layer.path)
        accumulator = self.accumulated(value, layer.path)
        self.nodes.append(Spikes(accumulator, rule, value.shape, layer.path))
        synapse = Synapse(len(self.nodes) - 1, (), rule.gain, mixing, path=layer.path)
        return Value((synapse,), np.zeros((1, 1)), value.shape)

    # Sums and scales.

    def scaled(self, value: Value, gain: np.ndarray, bias: Any, path: str) -> Value:
        """gain * value + bias; both `[1 or T, 1 or C]`."""
        if np.all(gain == 1):
            return replace(value, bias=value.bias + bias)
        reads_current = [
            synapse.weight is None
            and isinstance(self.nodes[synapse.source], Accumulator | LinearAttention)
            for synapse in value.synapses
        ]
        if len(value.synapses) > 1 and any(reads_current):
            value = self.carried(value)
        synapses = []
        for synapse in value.synapses:
            if synapse.weight is None:
                synapses.append(
                    replace(synapse, gain=times(synapse.gain, gain), path=synapse.path or path)
                )
            else:
                synapses.append(replace(synapse, weight=scaled_weight(synapse.weight, gain)))
        return Value(tuple(synapses), times(value.bias, gain) + bias, value.shape)

    def mixed(self, value: Value, matrix: np.ndarray, path: str) -> Value:
        """matrix value, step by step; `matrix` `[T, C, C]`."""
        synapses = []
        for synapse in value.synapses:
            weight = synapse.weight
            if weight is None:
                channels = value.shape[-1]
                kernel = gains_as_kernel(synapse, channels) @ np.swapaxes(matrix, 1, 2)
                structure = synapse.structure
                synapses.append(Synapse(synapse.source, structure, weight=Dense(kernel), path=path))
                continue
            kernel = weight.kernel @ np.swapaxes(matrix, 1, 2).reshape(
                len(matrix), *(1,) * (weight.kernel.ndim - 3), *matrix.shape[1:]
            )
            synapses.append(replace(synapse, weight=replace(weight, kernel=kernel)))
        bias = np.broadcast_to(value.bias, (*value.bias.shape[:-1], value.shape[-1]))
        bias = np.einsum("t...c,tdc->t...d", *steps_alike(bias, matrix))
        return Value(tuple(synapses), bias, value.shape)

    def _add(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if a is None or b is None:
            value, constant = self.with_constant(equation, a, b)
            return replace(value, bias=value.bias + constant)
        return Value((*a.synapses, *b.synapses), plus(a, b), a.shape)

    _add_any = _add

    def _sub(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if b is not None:
            b = self.scaled(b, np.array([[-1.0]]), 0.0, path_of(equation))
            if a is None:
                value, constant = self.with_constant(equation, a, b)
                return replace(value, bias=value.bias + constant)
            return self._add(equation, a, b)
        assert a is not None
        value, constant = self.with_constant(equation, a, b)
        return replace(value, bias=value.bias - constant)

    def _div(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if a is None or b is not None:
            raise NotFoldable(f"a division by activations, {where(equation)}.")
        value, constant = self.with_constant(equation, a, b)
        return self.scaled(value, 1 / constant, 0.0, path_of(equation))

    def _mul(self, equation: JaxprEqn, a: Value | None, b: Value | None) -> Value:
        if a is None or b is None:
            value, constant = self.with_constant(equation, a, b)
            return self.scaled(value, constant, 0.0, path_of(equation))
        return self.multiplied(a, b, equation)

    def multiplied(self, a: Value, b: Value, equation: JaxprEqn) -> Value:
        """The product of two spikes, or of one and what is silent where the other fires."""
        path, shape = path_of(equation), tail_of(equation)
        silent = bool(np.all(b.bias == 1))
        both = (*a.synapses, *b.synapses)
        single = len(a.synapses) == len(b.synapses) == 1 and not np.any(a.bias)
        spikes = all(
            isinstance(self.nodes[t.source], Spikes | Product)
            and all(isinstance(s, Pool) and s.largest for s in t.structure)
            and t.weight is None
            and t.mixing is None
            for t in both
        )
        binary = all(
            levels_of(self.nodes, t.source) == 1 and np.all(abs(t.gain) == 1) for t in both
        )
        if not (single and spikes and (binary or not silent)) or (np.any(b.bias) and not silent):
            raise NotFoldable(
                f"the product {path} is of sums of spikes, of more than one level or scaled; "
                "only that of two neurons' spikes is one of spikes."
            )
        (first,), (second,) = a.synapses, b.synapses
        pools = first.structure, second.structure
        self.nodes.append(Product(first.source, second.source, shape, path, silent, pools))
        gain = first.gain if silent else times(first.gain, second.gain)
        synapse = Synapse(len(self.nodes) - 1, (), gain, path=path)
        return Value((synapse,), np.zeros((1, 1)), shape)

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
        if _has_weights(value):
            value = self.carried(value)
        if np.any(value.bias):
            raise NotFoldable(f"a bias before the pool or sum {path}.")
        largest = isinstance(structure, Pool) and structure.largest
        synapses = []
        for synapse in value.synapses:
            if largest and (len(value.synapses) > 1 or synapse.mixing is not None):
                raise NotFoldable(f"the max-pool {path} is of a sum, not of one neuron's spikes.")
            if (
                largest
                and any(map(_sums, synapse.structure))
                and levels_of(self.nodes, synapse.source) > 1
            ):
                raise NotFoldable(
                    f"the max-pool {path} is of sums of counts: the largest sums of each slot "
                    "are not those of the largest sum. Put the max-pool in front, or use one level."
                )
            if largest and not np.all(synapse.gain > 0):
                raise NotFoldable(
                    f"the max-pool {path} follows a scale that is not above 0: the largest "
                    "spike is not the largest of what it stands for."
                )
            if isinstance(structure, Sum) and varies(synapse.gain, structure.axes):
                synapses.append(self.as_dense(synapse, structure, shape, path))
                continue
            gain = behind(structure, synapse.gain, value.shape, path)
            synapses.append(replace(synapse, structure=(*synapse.structure, structure), gain=gain))
        return Value(tuple(synapses), np.zeros((1, 1)), shape)

    def as_dense(self, synapse: Synapse, structure: Structure, shape: Shape, path: str) -> Synapse:
        """A sum of what has scales of its own, as the vote's, written as a linear layer."""
        source = self.nodes[synapse.source]
        if synapse.mixing is not None or len(shape) != 1 or not isinstance(source, Spikes):
            raise NotFoldable(f"the sum {path} is of what has another scale at each place.")
        inputs = int(np.prod(source.shape))
        one = jnp.eye(inputs).reshape(inputs, *source.shape)
        for step in synapse.structure:
            one = step(one)
        taken = np.asarray(one, np.float64)
        steps = [np.asarray(structure(jnp.asarray(taken * gain[None]))) for gain in synapse.gain]
        return Synapse(
            synapse.source, (Reshape((inputs,)),), weight=Dense(np.stack(steps)), path=path
        )

    def _reduce_window_sum(self, equation: JaxprEqn, value: Value, largest: bool = False) -> Value:
        p = equation.params
        if any(n != 1 for n in (*p["window_dilation"], *p["base_dilation"])):
            raise NotFoldable(f"a pool with dilation, {where(equation)}.")
        pool = Pool(
            p["window_dimensions"][2:], p["window_strides"][2:], tuple(p["padding"][2:]), largest
        )
        return self.structured(value, pool, tail_of(equation), where(equation))

    def _reduce_window_max(self, equation: JaxprEqn, value: Value) -> Value:
        return self._reduce_window_sum(equation, value, largest=True)

    def _reduce_sum(self, equation: JaxprEqn, value: Value) -> Value:
        axes = tuple(axis - 2 for axis in equation.params["axes"])
        if min(axes) < 0:
            raise NotFoldable(
                f"a sum over samples or time, {where(equation)}; logits are [B, T, K], of which a "
                "program takes the mean itself."
            )
        count = int(np.prod([value.shape[axis] for axis in axes]))
        return self.structured(value, Sum(axes, count), tail_of(equation), where(equation))

    def _reshape(self, equation: JaxprEqn, value: Value) -> Value:
        shape = tail_of(equation)
        if np.prod(shape) != np.prod(value.shape):
            raise NotFoldable(
                f"a reshape that mixes samples and time with space, {where(equation)}; leave "
                "[B, T, ...] in front, which Flax's layers and pools take as it is."
            )
        return self.structured(value, Reshape(shape), shape, where(equation))

    def _broadcast_in_dim(self, equation: JaxprEqn, value: Value) -> Value:
        shape = tail_of(equation)
        if shape == value.shape:  # An axis of time, or the same at all steps.
            return value
        if np.prod(shape) != np.prod(value.shape):
            raise NotFoldable(f"{value.shape} becomes {shape} by repetition, {where(equation)}.")
        return self.structured(value, Reshape(shape), shape, where(equation))

    def _adaptive_avg_pool(self, equation: JaxprEqn, value: Value) -> Value:
        shape = tail_of(equation)
        cells = Cells(shape[0], *value.shape[:2])
        value = self.structured(value, cells, shape, where(equation))
        gain = 1 / np.asarray(cells.sizes(), np.float64)[None, :, :, None]
        return self.scaled(value, gain, 0.0, path_of(equation))

    def _convert_element_type(self, equation: JaxprEqn, value: Value) -> Value:
        return value

    _copy = _stop_gradient = _convert_element_type

    def _linear_attention(self, equation: JaxprEqn, *values: Value) -> Value:
        path, shape = path_of(equation), tail_of(equation)
        for value in values:
            synapse = value.synapses[0]
            plain = synapse.weight is None and synapse.mixing is None and not synapse.structure
            if (
                len(value.synapses) > 1
                or not plain
                or not isinstance(self.nodes[synapse.source], Spikes)
            ):
                raise NotFoldable(f"the attention {path} reads other than one neuron's spikes.")
        program = find_inner(equation)
        assert program is not None
        product = next(e for e in program.jaxpr.eqns if e.primitive.name == "dot_general")
        heads = get_shape(product.invars[0])[3]
        query, key, attended = (value.synapses[0] for value in values)
        channels = values[0].shape[-1]
        weight = times(query.gain, key.gain) * np.ones((1, channels))
        sources = query.source, key.source, attended.source
        self.nodes.append(LinearAttention(*sources, heads, weight, shape, path))
        gain = attended.gain * (2 * (channels // heads) ** -0.5)
        return Value((Synapse(len(self.nodes) - 1, (), gain, path=path),), np.zeros((1, 1)), shape)


def _has_weights(value: Value) -> bool:
    return any(synapse.weight is not None for synapse in value.synapses)


def _sums(structure: Structure) -> bool:
    return isinstance(structure, Sum | Cells | Pool) and not getattr(structure, "largest", False)
