"""The layers of a network and their connections, from one trace of a call; nothing is computed."""

import math
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.extend.core import Jaxpr, JaxprEqn

from pit_jax.jaxprs import find_inner, get_shape, is_in
from pit_jax.neurons import ReLU

# The steps between layers that become nodes, by the name of their primitive.
_POOLS = {"reduce_window_max": "max pool", "reduce_window_sum": "average pool"}
_JOINS = {"add": "add", "add_any": "add", "mul": "product", "dot_general": "product"}
_SCOPE = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True)
class Node:
    """A layer or a step between layers, and the indices of the nodes whose outputs it takes.

    `kind` is `conv`, `linear`, `norm` or `neuron` for a layer, and for a step `input`, `add`,
    `product` (of two activations), `max pool`, `average pool`, `mean` or `sum` (over space).
    `path` is the path of the layer, or of the module around the step; `window` is the size and
    stride of a kernel or pool; `terms` counts the products in one output of a conv, a linear layer
    or a product.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    inputs: tuple[int, ...] = ()
    window: tuple[int, int] | None = None
    terms: int = 0


@dataclass(frozen=True)
class Trace:
    """The nodes of one forward pass in the order in which they run, and the shapes of `params`."""

    nodes: list[Node]
    params: Mapping[str, Any]


def trace(model: nn.Module, x_shape: tuple[int, ...]) -> Trace:
    """Follow the input through the network in evaluation mode, without allocating arrays.

    A layer is a neuron, or a module that has parameters and contains no module. `x_shape` is the
    shape of images `[B, H, W, C]` or frames `[B, T, H, W, C]`.
    """
    outputs: dict[str, jax.Array] = {}
    neurons: set[str] = set()

    def record_call(
        run: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        path = "/".join(context.module.path)
        # The name stack of every equation inside the module has this scope. The angle brackets
        # distinguish it from scopes that JAX and Flax add.
        with jax.named_scope(f"<{path}>"):
            out = run(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(out, jax.Array):
            outputs[path] = out
            # Every spiking neuron records a probe, also those of users; ReLU has none.
            if isinstance(context.module, ReLU) or context.module.has_variable(
                "intermediates", "count"
            ):
                neurons.add(path)
        return out

    def run(x: Any) -> Any:
        with nn.intercept_methods(record_call):
            # `init` also computes scales from x, but inside their neurons, so no edges are added.
            return model.init_with_output(jax.random.key(0), x, mutable=True)

    x = jax.ShapeDtypeStruct(x_shape, jnp.float32)
    jaxpr, (_, variables) = jax.make_jaxpr(run, return_shape=True)(x)
    params = variables["params"]
    layers = _list_layers(flatten_dict(params, sep="/"), outputs, neurons)
    walk = _Follower(layers, [Node("", "input", x.shape, x.dtype)])
    walk.follow(jaxpr.jaxpr, {jaxpr.jaxpr.invars[0]: _Origin(0)}, "")
    return Trace(walk.nodes, params)


def _list_layers(
    params: dict[str, Any], outputs: dict[str, Any], neurons: set[str]
) -> dict[str, Node]:
    """Return the node of every layer by its path, still without inputs and window."""
    # A layer has parameters and contains no module, or is a neuron.
    own = {name.rpartition("/")[0] for name in params}
    outer = {path[:i] for path in outputs for i in range(len(path)) if path[i] == "/"}
    layers: dict[str, Node] = {}
    # "" is the network itself.
    for path in (own - outer | neurons) & outputs.keys() - {""}:
        if _find_layer(path.rpartition("/")[0], neurons):  # A module inside a neuron.
            continue
        kernel = params.get(f"{path}/kernel")
        kind, terms = "neuron" if path in neurons else "norm", 0
        if kernel is not None:
            kind = "linear" if kernel.ndim == 2 else "conv"
            # The last axis has the outputs; the other axes are summed.
            terms = kernel.size // kernel.shape[-1]
        out = outputs[path]
        layers[path] = Node(path, kind, out.shape, out.dtype, terms=terms)
    return layers


def _find_layer(path: str, layers: Container[str]) -> str:
    """Return the layer at `path` or around it, or an empty string."""
    while path and path not in layers:
        path = path.rpartition("/")[0]
    return path


class _Origin(NamedTuple):
    """The node that a value comes from, and whether it was summed or averaged over space since."""

    node: int
    reduced: str = ""
    path: str = ""


# jax's types of a jaxpr's variables have no shapes.
_Value = Any
_Operand = tuple[_Value, _Origin]


class _Follower:
    """A walk through a traced program that appends to `nodes`; `layers` are known beforehand."""

    def __init__(self, layers: dict[str, Node], nodes: list[Node]) -> None:
        self.nodes = nodes
        self._layers = layers
        self._placed: dict[str, int] = {}

    def follow(self, jaxpr: Jaxpr, known: dict[_Value, _Origin], around: str) -> None:
        """Add to `known` the origin of every value of `jaxpr` that depends on the input.

        An equation belongs to the layer whose named scope it has, else to the module `around`.
        """
        for equation in jaxpr.eqns:
            # The innermost scope is the module of the equation.
            scopes = _SCOPE.findall(str(equation.source_info.name_stack))
            path = scopes[-1] if scopes else around
            layer = _find_layer(path, self._layers)
            operands = [(v, known[v]) for v in equation.invars if is_in(v, known)]
            # Weights and constants do not come from the input, and have no node.
            if not operands:
                continue
            inner = find_inner(equation)
            if layer:
                known |= dict.fromkeys(equation.outvars, self._add_layer(layer, equation, operands))
            elif inner is not None and len(inner.jaxpr.invars) == len(equation.invars):
                # A nested program such as jit: follow its values by position.
                given = zip(inner.jaxpr.invars, equation.invars, strict=True)
                passed = {arg: known[v] for arg, v in given if is_in(v, known)}
                self.follow(inner.jaxpr, passed, path)
                returned = zip(equation.outvars, inner.jaxpr.outvars, strict=True)
                known |= {v: passed[out] for v, out in returned if is_in(out, passed)}
            else:
                known |= dict.fromkeys(equation.outvars, self._add_step(path, equation, operands))

    def _add_layer(self, path: str, equation: JaxprEqn, operands: list[_Operand]) -> _Origin:
        """Add the node of a layer at its first equation, and the inputs of each equation."""
        index = self._placed.get(path)
        # Operands from later nodes are values inside the layer.
        new = [
            self._find_node(v, source)
            for v, source in operands
            if index is None or source.node < index
        ]
        if index is None:
            index = self._placed[path] = len(self.nodes)
            self.nodes.append(self._layers[path])
        node = self.nodes[index]
        node = replace(node, inputs=tuple(dict.fromkeys((*node.inputs, *new))))
        if window := _find_window(equation):
            node = replace(node, window=window)
        self.nodes[index] = node
        return _Origin(index)

    def _add_step(self, path: str, equation: JaxprEqn, operands: list[_Operand]) -> _Origin:
        """Add the node of a pool, sum or product; return the origin of the equation's output."""
        name, out = equation.primitive.name, _get_aval(equation.outvars[0])
        (first, source), sources = operands[0], {s for _, s in operands}
        terms, window = 0, None
        if name in _POOLS:
            size, stride = equation.params["window_dimensions"], equation.params["window_strides"]
            window = (max(size), max(stride))
            kind = _POOLS[name]
        # Operands are the values that depend on the input, so a product or sum with a constant has
        # one of them. x + x from one origin is not a join of two paths.
        elif name in _JOINS and len(operands) == 2 and (name != "add" or len(sources) == 2):
            kind = _JOINS[name]
            # An elementwise product has one term, a matrix product one for each contracted value.
            terms = int(kind == "product")
            if name == "dot_general":
                contracted = equation.params["dimension_numbers"][0][0]
                terms = math.prod(get_shape(first)[axis] for axis in contracted)
        elif name == "reduce_sum":
            return _Origin(source.node, "sum", path)
        # A mean over space is traced as a sum, then a division by a constant.
        elif name in ("div", "mul") and source.reduced == "sum" and len(operands) == 1:
            return source._replace(reduced="mean")
        else:
            return source
        inputs = tuple(self._find_node(v, s) for v, s in operands)
        self.nodes.append(Node(path, kind, out.shape, out.dtype, inputs, window, terms))
        return _Origin(len(self.nodes) - 1)

    def _find_node(self, v: _Value, source: _Origin) -> int:
        """Return the node that `v` comes from; add a node for its sum or mean over space."""
        # An adaptive pool to the size of the map sums over single values, so it needs no node.
        kept = math.prod(get_shape(v)) == math.prod(self.nodes[source.node].shape)
        if kept or not source.reduced:
            return source.node
        kind, path = source.reduced, source.path
        summed = Node(path, kind, get_shape(v), _get_aval(v).dtype, (source.node,))
        if summed not in self.nodes:
            self.nodes.append(summed)
        return self.nodes.index(summed)


def _find_window(equation: JaxprEqn) -> tuple[int, int] | None:
    """Return size and stride of the kernel of a convolution, or of one inside a call."""
    if equation.primitive.name == "conv_general_dilated":
        return get_shape(equation.invars[1])[0], equation.params["window_strides"][0]
    inner = find_inner(equation)
    found = map(_find_window, inner.jaxpr.eqns if inner else ())
    return next(filter(None, found), None)


def _get_aval(v: _Value) -> Any:
    return v.aval
