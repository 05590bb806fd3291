"""Fold a network into accumulators and neurons: norms and scales are merged into the weights.

A trained network is followed operation by operation (`trace`). Each value in it is a sum of
synapses that read nodes (`folded.Value`). For each operation `_RULES` has a function from the
values that it reads to the value that it returns.

A BatchNorm is merged into the weights before it: `fold_weights.fold_norm` returns its gain and
bias, `Builder.scale` multiplies the weights. The scale of spikes is merged into the weights after
them: `Builder.apply_layer` calls `fold_weights.fold_weight`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.builder import Builder, has_weights, read
from pit_jax.inference.compiler.fold_weights import add_biases, fold_norm
from pit_jax.inference.compiler.neuron_rules import find_rule
from pit_jax.inference.compiler.operations import (
    Operation,
    describe_place,
    get_path,
    get_tail,
    group_readers,
)
from pit_jax.inference.compiler.remedies import explain_missing_rule
from pit_jax.inference.compiler.stages import Stage, find_stage
from pit_jax.inference.compiler.trace import (
    ModelLayer,
    Outline,
    count_uses,
    evaluate,
    read_layer,
    read_value,
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
    walk = _NetworkWalk(outline)
    for operation in outline.operations:
        if any(v in walk.uses for v in operation.outputs):
            walk.follow(operation)
    if not is_in(outline.logits, walk.known):
        raise NotFoldable(
            "the logits are the same whatever the input is.",
            "Return what the network computes from its input.",
        )
    logits = walk.known[outline.logits]
    if len(logits.shape) != 1:
        raise NotFoldable(
            f"the network returns an array of the shape {get_shape(outline.logits)}.",
            "Return logits [B, T, K], or their mean over time [B, K].",
        )
    walk.builder.add(folded.Accumulator(logits, "logits"))
    return walk.builder.nodes


class _NetworkWalk:
    """The values of a network so far: those that depend on the input, and `constants`.

    While a rule runs, `before` and `after` are the stages of what it reads and returns.
    """

    def __init__(self, outline: Outline) -> None:
        self.builder, self.constants = Builder(), dict(outline.constants)
        self.uses = count_uses(outline.operations, outline.logits)
        given = get_shape(outline.pixels)
        self.before = self.after = Stage.IMAGE if len(given) in (2, 4) else Stage.STEP
        shape = given[self.before.leading :]
        pixels = read(folded.Synapse(self.builder.add(folded.Pixels(shape))), shape)
        self.known = {outline.pixels: pixels}
        self.stages = {outline.pixels: self.before}
        self.readers = group_readers(outline.operations)
        self.products = 0  # The products of matrices outside of modules, to name them.

    def follow(self, operation: Operation) -> None:
        """Add the value of the one output of an operation to `known`, or all to `constants`."""
        given = [v for v in operation.inputs if is_in(v, self.known)]
        if not given:
            # All operands are constants: evaluate the operation now.
            made = evaluate(operation, [read_value(v, self.constants) for v in operation.inputs])
            self.constants |= zip(operation.outputs, made, strict=True)
            return
        operands = [self.known[v] if is_in(v, self.known) else None for v in operation.inputs]
        try:
            value = self._apply_rule(operation, operands, {self.stages[v] for v in given})
        except NotFoldable as error:
            error.path = error.path or operation.params.get("path") or get_path(operation)
            raise
        (out,) = operation.outputs
        # Otherwise each reader of a layer would get its own copy and run the layer again.
        if self.uses.get(out, 0) > 1 and has_weights(value):
            value = self.builder.accumulate(value)
        self.known[out], self.stages[out] = value, self.after

    def _apply_rule(
        self, operation: Operation, operands: list[folded.Value | None], stages: set[Stage]
    ) -> folded.Value:
        rule = _RULES.get(operation.name) if len(operation.outputs) == 1 else None
        if rule is None:
            raise explain_missing_rule(operation)
        if len(stages - {Stage.IMAGE}) > 1 or stages == {Stage.IMAGE, Stage.STEP}:
            raise NotFoldable(
                f"{operation.name} combines values with and without a time axis, "
                f"{describe_place(operation)}.",
                "Repeat images with pit_jax.layers.repeat_over_time, and average logits last.",
            )
        self.before = max(stages)
        self.after = find_stage(operation, self.before)
        return rule(self, operation, *operands)

    def get_constant(self, v: Any) -> Any:
        return read_value(v, self.constants)

    def get_tail(self, operation: Operation) -> tuple[int, ...]:
        """Return the shape of an output for one sample at one step."""
        return get_tail(operation, self.after.leading)

    def require_steps(self, what: str) -> None:
        """Raise NotFoldable unless the operands of `what` have an axis of time."""
        if self.before is Stage.IMAGE:
            raise NotFoldable(
                f"{what} reads values without a time axis.",
                "Repeat images over time before it, to [B, T, ...], e.g. with "
                "pit_jax.layers.repeat_over_time(x[:, None], num_steps).",
            )
        if self.before is Stage.MEAN:
            raise NotFoldable(
                f"{what} reads a mean over time, which is known only after the last step.",
                "Average the logits, at the end of the network.",
            )

    def split(
        self, operation: Operation, a: folded.Value | None, b: folded.Value | None
    ) -> tuple[folded.Value, np.ndarray]:
        """Return the value and the constant `[1 or T, ...]` that a binary operation reads."""
        value, at = (b, 0) if a is None else (a, 1)
        assert value is not None
        constant = np.asarray(self.get_constant(operation.inputs[at]), np.float64)
        if not constant.ndim:
            return value, np.full((1, 1), constant)
        # A constant is the same for all samples: drop the axis of the batch, and keep one of time.
        return value, constant[0] if self.before is Stage.STEP else constant[:1]

    def reduce(
        self, operation: Operation, value: folded.Value, structure: Structure, shape: Any = None
    ) -> folded.Value:
        shape = self.get_tail(operation) if shape is None else shape
        return self.builder.reduce(value, structure, shape, describe_place(operation))


def _fold_layer(
    walk: _NetworkWalk, operation: Operation, value: folded.Value, *_: Any
) -> folded.Value:
    """Fold a layer: weights apply to their input, norms scale it, neurons add a node of spikes."""
    layer = read_layer(operation, [walk.get_constant(v) for v in operation.inputs[2:]])
    if isinstance(layer.module, nn.Conv | nn.Dense):
        return walk.builder.apply_layer(layer, value, walk.get_tail(operation))
    norm = fold_norm(layer)
    if norm is not None:
        if max(map(len, norm)) > 1:  # It has numbers for each step.
            walk.require_steps(layer.path)
        return walk.builder.scale(value, *norm, layer.path)
    rule = find_rule(layer)
    walk.require_steps(layer.path)
    return walk.builder.add_neurons(layer, rule, value)


def _fold_product(
    walk: _NetworkWalk, operation: Operation, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    """Fold the product of activations and a matrix, as a linear layer without bias."""
    (axes, kernel_axes), batch = operation.params["dimension_numbers"]
    kernel = None if b is not None else np.asarray(walk.get_constant(operation.inputs[1]))
    last = len(get_shape(operation.inputs[0])) - 1
    if a is None or kernel is None or any(batch) or kernel.ndim != 2 or tuple(axes) != (last,):
        raise NotFoldable(
            f"a product of matrices has no rule, {describe_place(operation)}, unless it is x @ "
            "kernel of activations and weights.",
            "Write it so, as nn.Dense, or with pit_jax.layers.attention.linear_attention.",
        )
    kernel = kernel.T if tuple(kernel_axes) == (1,) else kernel
    walk.products += 1
    path = get_path(operation) or f"product_{walk.products - 1}"
    layer = ModelLayer(path, nn.Dense(kernel.shape[1]), {"params": {"kernel": kernel}})
    return walk.builder.apply_layer(layer, a, walk.get_tail(operation))


def _fold_add(
    walk: _NetworkWalk, operation: Operation, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    if a is None or b is None:
        value, constant = walk.split(operation, a, b)
        return replace(value, bias=value.bias + constant)
    return folded.Value((*a.synapses, *b.synapses), add_biases(a, b), a.shape)


def _fold_sub(
    walk: _NetworkWalk, operation: Operation, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    if b is not None:
        return _fold_add(walk, operation, a, _fold_neg(walk, operation, b))
    value, constant = walk.split(operation, a, b)
    return replace(value, bias=value.bias - constant)


def _fold_neg(walk: _NetworkWalk, operation: Operation, value: folded.Value) -> folded.Value:
    return walk.builder.scale(value, np.array([[-1.0]]), 0.0, get_path(operation))


def _fold_mul(
    walk: _NetworkWalk, operation: Operation, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    path = get_path(operation)
    if a is None or b is None:
        value, constant = walk.split(operation, a, b)
        return walk.builder.scale(value, constant, 0.0, path)
    walk.require_steps(f"the product {path}")
    return walk.builder.multiply_spikes(a, b, walk.get_tail(operation), path)


def _fold_div(
    walk: _NetworkWalk, operation: Operation, a: folded.Value | None, b: folded.Value | None
) -> folded.Value:
    if a is None or b is not None:
        raise NotFoldable(
            f"there is no rule for a division by activations, {describe_place(operation)}.",
            "Divide by a constant.",
        )
    value, constant = walk.split(operation, a, b)
    return walk.builder.scale(value, 1 / constant, 0.0, get_path(operation))


def _fold_pool(walk: _NetworkWalk, operation: Operation, value: folded.Value) -> folded.Value:
    p, leading = operation.params, walk.before.leading
    if any(n != 1 for n in (*p["window_dilation"], *p["base_dilation"])):
        raise NotFoldable(
            f"there is no rule for a pool with dilation, {describe_place(operation)}.",
            "Use a pool without dilation.",
        )
    largest = operation.name == "reduce_window_max"
    if largest and walk.before is Stage.MEAN:
        walk.require_steps("the max-pool")
    window, strides = p["window_dimensions"][leading:], p["window_strides"][leading:]
    if any(n != 1 for n in (*p["window_dimensions"][:leading], *p["window_strides"][:leading])):
        raise NotFoldable(
            f"there is no rule for a pool over samples or time, {describe_place(operation)}.",
            "Pool over space.",
        )
    padding = tuple(p["padding"][leading:])
    return walk.reduce(operation, value, Pool(window, strides, padding, largest))


def _fold_sum(walk: _NetworkWalk, operation: Operation, value: folded.Value) -> folded.Value:
    leading, axes = walk.before.leading, operation.params["axes"]
    if 0 in axes:
        raise NotFoldable(
            f"there is no rule for a sum over samples, {describe_place(operation)}.",
            "Return logits of each sample.",
        )
    inner = tuple(axis - leading for axis in axes if axis >= leading)
    if inner:
        count = int(np.prod([value.shape[axis] for axis in inner]))
        shape = tuple(n for axis, n in enumerate(value.shape) if axis not in inner)
        value = walk.reduce(operation, value, Sum(inner, count), shape)
    if walk.before is walk.after:
        return value
    # The program computes means over time: a sum is T times the mean.
    steps = np.full((1, 1), float(get_shape(operation.inputs[0])[1]))
    return walk.builder.scale(value, steps, 0.0, get_path(operation))


def _fold_reshape(
    walk: _NetworkWalk, operation: Operation, value: folded.Value, *_: Any
) -> folded.Value:
    given, made = (get_shape(v[0]) for v in (operation.inputs, operation.outputs))
    shape = walk.get_tail(operation)
    if given[2:] != value.shape == made[2:] == given[3:]:  # The end of jnp.repeat over time.
        return value
    keeps_time = given[1:2] == made[1:2] or not walk.before == walk.after == Stage.STEP
    if np.prod(shape) != np.prod(value.shape) or given[0] != made[0] or not keeps_time:
        raise NotFoldable(
            "there is no rule for a reshape that mixes samples and time with space, "
            f"{describe_place(operation)}.",
            "Leave [B, T, ...] in front; layers and pools of Flax accept it.",
        )
    return value if shape == value.shape else walk.reduce(operation, value, Reshape(shape))


def _fold_broadcast(
    walk: _NetworkWalk, operation: Operation, value: folded.Value, *_: Any
) -> folded.Value:
    shape = walk.get_tail(operation)
    if shape == value.shape:  # Only an axis of time is new, or repeated: the same at all steps.
        return value
    # jnp.repeat over time first adds an axis after the axis of one step, and then joins both.
    samples, *steps = get_shape(operation.outputs[0])
    joined = (samples, shape[0], *value.shape)
    readers = walk.readers.get(operation.outputs[0], [])
    if steps == [1, *joined[1:]] and all(get_shape(r.outputs[0]) == joined for r in readers):
        return value
    if np.prod(shape) != np.prod(value.shape):
        raise NotFoldable(
            f"{value.shape} becomes {shape} by repetition, {describe_place(operation)}.",
            "To give a network an image at every step, use pit_jax.layers.repeat_over_time.",
        )
    return walk.reduce(operation, value, Reshape(shape))


def _fold_stack(walk: _NetworkWalk, operation: Operation, *values: Any) -> folded.Value:
    """Return an image that is stacked over time, as in jnp.stack([x] * T, axis=1)."""
    if walk.after is walk.before or len(set(operation.inputs)) > 1:
        raise explain_missing_rule(operation)
    value: folded.Value = values[0]
    return value


def _fold_tile(walk: _NetworkWalk, operation: Operation, value: folded.Value) -> folded.Value:
    """Return one step that is repeated over time."""
    before, _, *space = operation.params["reps"]
    if before != 1 or any(n != 1 for n in space) or get_shape(operation.inputs[0])[1] != 1:
        raise explain_missing_rule(operation)
    return value


def _fold_slice(
    walk: _NetworkWalk, operation: Operation, value: folded.Value, *_: Any
) -> folded.Value:
    """Return a value of which nothing is cut off, such as x[:, :1] at one step."""
    if get_shape(operation.inputs[0]) != get_shape(operation.outputs[0]):
        raise explain_missing_rule(operation)
    return value


def _fold_adaptive_pool(
    walk: _NetworkWalk, operation: Operation, value: folded.Value
) -> folded.Value:
    walk.require_steps("adaptive_avg_pool")
    # mean = sum / size: integers are summed, and the divisors of the cells are a gain.
    cells = Cells(walk.get_tail(operation)[0], *value.shape[:2])
    value = walk.reduce(operation, value, cells)
    gain = 1 / np.asarray(cells.sizes(), np.float64)[None, :, :, None]
    return walk.builder.scale(value, gain, 0.0, get_path(operation))


def _fold_attention(
    walk: _NetworkWalk, operation: Operation, *values: folded.Value
) -> folded.Value:
    walk.require_steps("attention")
    program = find_inner(operation.equation)
    assert program is not None
    product = next(e for e in program.jaxpr.eqns if e.primitive.name == "dot_general")
    heads = get_shape(product.invars[0])[3]
    return walk.builder.attend(values, heads, walk.get_tail(operation), get_path(operation))


def _keep(walk: _NetworkWalk, operation: Operation, value: folded.Value) -> folded.Value:
    return value


# By the name of a primitive, or of a function in trace.NAMED.
_RULES: Mapping[str, Callable[..., folded.Value]] = {
    "layer": _fold_layer,
    "dot_general": _fold_product,
    "add": _fold_add,
    "add_any": _fold_add,
    "sub": _fold_sub,
    "neg": _fold_neg,
    "mul": _fold_mul,
    "div": _fold_div,
    "reduce_window_sum": _fold_pool,
    "reduce_window_max": _fold_pool,
    "reduce_sum": _fold_sum,
    "reshape": _fold_reshape,
    "squeeze": _fold_reshape,
    "broadcast_in_dim": _fold_broadcast,
    "stack": _fold_stack,
    "tile": _fold_tile,
    "slice": _fold_slice,
    "dynamic_slice": _fold_slice,
    "adaptive_avg_pool": _fold_adaptive_pool,
    "linear_attention": _fold_attention,
    "convert_element_type": _keep,
    "copy": _keep,
    "stop_gradient": _keep,
}
