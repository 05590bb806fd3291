"""Fold a network into accumulators and neurons: norms and scales are merged into the weights.

A trained network is followed equation by equation (`trace`). Each value in it is a sum of synapses
that read nodes (`folded.Value`), and `_RULES` maps each operation to a function from the values
that it reads to the value that it returns.

A BatchNorm is merged into the weights before it: `fold_weights.fold_norm` returns its gain and
bias, `Builder.scale` multiplies the weights. The scale of spikes is merged into the weights after
them: `Builder.apply_layer` calls `fold_weights.fold_weight`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.linen as nn
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.builder import Builder, has_weights, read
from pit_jax.inference.compiler.fold_weights import add_biases, fold_norm
from pit_jax.inference.compiler.neuron_rules import find_rule
from pit_jax.inference.compiler.trace import (
    NAMED,
    ModelLayer,
    Outline,
    count_uses,
    describe_place,
    get_name,
    get_path,
    get_tail,
)
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Structure, Sum
from pit_jax.jaxprs import find_inner, get_shape, is_in
from pit_jax.old_names import accept_old_keywords


@accept_old_keywords
def fold(outline: Outline) -> list[folded.Node]:
    """Return the nodes in the order in which they run; the last one accumulates the logits.

    Raises NotFoldable for parts of a network that cannot be written as accumulators and neurons.
    """
    jaxpr = outline.jaxpr.jaxpr
    walk = _NetworkWalk(jaxpr, outline.layers)
    (pixels,), (logits,) = jaxpr.invars, jaxpr.outvars
    shape = get_shape(pixels)[1 if len(get_shape(pixels)) == 4 else 2 :]
    walk.known[pixels] = read(folded.Synapse(walk.builder.add(folded.Pixels(shape))), shape)
    walk.constants |= dict(zip(jaxpr.constvars, outline.jaxpr.consts, strict=True))
    for equation in jaxpr.eqns:
        if any(v in walk.uses for v in equation.outvars):
            walk.follow(equation)
    if logits not in walk.known:
        raise NotFoldable("the logits are the same whatever the input is; nothing depends on it.")
    walk.builder.add(folded.Accumulator(walk.known[logits], "logits"))
    return walk.builder.nodes


class _NetworkWalk:
    """The values of a network so far: those that depend on the input, and `constants`."""

    def __init__(self, jaxpr: Jaxpr, layers: dict[str, ModelLayer]) -> None:
        self.builder, self.jaxpr = Builder(), jaxpr
        self.known: dict[Any, folded.Value] = {}
        self.constants: dict[Any, Any] = {}
        self.layers, self.uses = layers, count_uses(jaxpr)

    def follow(self, equation: JaxprEqn) -> None:
        """Add the value of the one output of an equation to `known`, or all to `constants`."""
        if not any(is_in(v, self.known) for v in equation.invars):
            # All operands are constants: evaluate the equation now.
            given = [v for v in equation.invars if not isinstance(v, Literal)]
            program = self.jaxpr.replace(
                constvars=[], invars=given, outvars=equation.outvars, eqns=[equation]
            )
            evaluate = jaxpr_as_fun(ClosedJaxpr(program, []))
            made = evaluate(*map(self.get_constant, given))
            self.constants |= zip(equation.outvars, made, strict=True)
            return
        operands = [None if isinstance(v, Literal) else self.known.get(v) for v in equation.invars]
        try:
            value = _find_rule(equation)(self, equation, *operands)
        except NotFoldable as error:
            error.path = equation.params.get("path") or get_path(equation)
            raise
        (out,) = equation.outvars
        # Otherwise each reader of a layer would get its own copy and run the layer again.
        if self.uses.get(out, 0) > 1 and has_weights(value):
            value = self.builder.accumulate(value)
        self.known[out] = value

    def get_constant(self, v: Any) -> Any:
        return v.val if isinstance(v, Literal) else self.constants[v]

    def split(
        self, equation: JaxprEqn, a: folded.Value | None, b: folded.Value | None
    ) -> tuple[folded.Value, np.ndarray]:
        """Return the value and the constant `[1 or T, ...]` that a binary operation reads."""
        value, at = (b, 0) if a is None else (a, 1)
        assert value is not None
        constant = np.asarray(self.get_constant(equation.invars[at]), np.float64)
        # A constant is the same for all samples: drop the axis of the batch.
        return value, constant[0] if constant.ndim > 2 else np.full((1, 1), constant)

    def reduce(self, equation: JaxprEqn, value: folded.Value, structure: Structure) -> folded.Value:
        return self.builder.reduce(value, structure, get_tail(equation), describe_place(equation))


def _find_rule(equation: JaxprEqn) -> Callable[..., folded.Value]:
    name = get_name(equation)
    rule = _RULES.get(name) if len(equation.outvars) == 1 else None
    # A user's jitted function can have the name of a rule, such as `add`; it needs its own rule.
    if rule is None or (name != equation.primitive.name and name not in NAMED):
        raise NotFoldable(
            f"no rule for {name}, {describe_place(equation)}; there are rules for nn.Conv, "
            "nn.Dense, norms, neurons, pools, sums, products of spikes and reshapes."
        )
    return rule


def _fold_layer(walk: _NetworkWalk, equation: JaxprEqn, value: folded.Value) -> folded.Value:
    """Fold a layer: weights apply to their input, norms scale it, neurons add a node of spikes."""
    layer = walk.layers[equation.params["path"]]
    given = get_shape(equation.invars[0])
    if given[2:] != value.shape:
        raise NotFoldable(
            f"{layer.path} reads {given}, without a time axis; repeat images over time before it, "
            "to [B, T, H, W, C]."
        )
    if isinstance(layer.module, nn.Conv | nn.Dense):
        return walk.builder.apply_layer(layer, value, equation.params["shape"][2:])
    norm = fold_norm(layer)
    if norm is not None:
        return walk.builder.scale(value, *norm, layer.path)
    return walk.builder.add_neurons(layer, find_rule(layer), value)


def _fold_add(
    walk: _NetworkWalk, equation: JaxprEqn, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    if a is None or b is None:
        value, constant = walk.split(equation, a, b)
        return replace(value, bias=value.bias + constant)
    return folded.Value((*a.synapses, *b.synapses), add_biases(a, b), a.shape)


def _fold_sub(
    walk: _NetworkWalk, equation: JaxprEqn, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    if b is not None:
        b = walk.builder.scale(b, np.array([[-1.0]]), 0.0, get_path(equation))
        return _fold_add(walk, equation, a, b)
    value, constant = walk.split(equation, a, b)
    return replace(value, bias=value.bias - constant)


def _fold_mul(
    walk: _NetworkWalk, equation: JaxprEqn, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    path = get_path(equation)
    if a is None or b is None:
        value, constant = walk.split(equation, a, b)
        return walk.builder.scale(value, constant, 0.0, path)
    return walk.builder.multiply_spikes(a, b, get_tail(equation), path)


def _fold_div(
    walk: _NetworkWalk, equation: JaxprEqn, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    if a is None or b is not None:
        raise NotFoldable(f"a division by activations, {describe_place(equation)}.")
    value, constant = walk.split(equation, a, b)
    return walk.builder.scale(value, 1 / constant, 0.0, get_path(equation))


def _fold_pool(walk: _NetworkWalk, equation: JaxprEqn, value: folded.Value) -> folded.Value:
    p = equation.params
    if any(n != 1 for n in (*p["window_dilation"], *p["base_dilation"])):
        raise NotFoldable(f"a pool with dilation, {describe_place(equation)}.")
    window, strides = p["window_dimensions"][2:], p["window_strides"][2:]
    largest = equation.primitive.name == "reduce_window_max"
    return walk.reduce(equation, value, Pool(window, strides, tuple(p["padding"][2:]), largest))


def _fold_sum(walk: _NetworkWalk, equation: JaxprEqn, value: folded.Value) -> folded.Value:
    axes = tuple(axis - 2 for axis in equation.params["axes"])
    if min(axes) < 0:
        raise NotFoldable(
            f"a sum over samples or time, {describe_place(equation)}; return logits [B, T, K], "
            "whose mean over time the program computes."
        )
    count = int(np.prod([value.shape[axis] for axis in axes]))
    return walk.reduce(equation, value, Sum(axes, count))


def _fold_reshape(walk: _NetworkWalk, equation: JaxprEqn, value: folded.Value) -> folded.Value:
    shape = get_tail(equation)
    if np.prod(shape) != np.prod(value.shape):
        raise NotFoldable(
            f"a reshape that mixes samples and time with space, {describe_place(equation)}; leave "
            "[B, T, ...] in front; layers and pools of Flax accept it."
        )
    return walk.reduce(equation, value, Reshape(shape))


def _fold_broadcast(walk: _NetworkWalk, equation: JaxprEqn, value: folded.Value) -> folded.Value:
    shape = get_tail(equation)
    if shape == value.shape:  # Only an axis of time is new, or repeated: the same at all steps.
        return value
    if np.prod(shape) != np.prod(value.shape):
        place = describe_place(equation)
        raise NotFoldable(
            f"{value.shape} becomes {shape} by repetition, {place}; for an image at every step "
            "there is pit_jax.layers.repeat_over_time."
        )
    return walk.reduce(equation, value, Reshape(shape))


def _fold_adaptive_pool(
    walk: _NetworkWalk, equation: JaxprEqn, value: folded.Value
) -> folded.Value:
    # mean = sum / size: integers are summed, and the divisors of the cells are a gain.
    cells = Cells(get_tail(equation)[0], *value.shape[:2])
    value = walk.reduce(equation, value, cells)
    gain = 1 / np.asarray(cells.sizes(), np.float64)[None, :, :, None]
    return walk.builder.scale(value, gain, 0.0, get_path(equation))


def _fold_attention(walk: _NetworkWalk, equation: JaxprEqn, *values: folded.Value) -> folded.Value:
    program = find_inner(equation)
    assert program is not None
    product = next(e for e in program.jaxpr.eqns if e.primitive.name == "dot_general")
    heads = get_shape(product.invars[0])[3]
    return walk.builder.attend(values, heads, get_tail(equation), get_path(equation))


def _keep(walk: _NetworkWalk, equation: JaxprEqn, value: folded.Value) -> folded.Value:
    return value


# By the name of a primitive, or of a jitted function in NAMED.
_RULES: dict[str, Callable[..., folded.Value]] = {
    "layer": _fold_layer,
    "add": _fold_add,
    "add_any": _fold_add,
    "sub": _fold_sub,
    "mul": _fold_mul,
    "div": _fold_div,
    "reduce_window_sum": _fold_pool,
    "reduce_window_max": _fold_pool,
    "reduce_sum": _fold_sum,
    "reshape": _fold_reshape,
    "broadcast_in_dim": _fold_broadcast,
    "adaptive_avg_pool": _fold_adaptive_pool,
    "linear_attention": _fold_attention,
    "convert_element_type": _keep,
    "copy": _keep,
    "stop_gradient": _keep,
}
