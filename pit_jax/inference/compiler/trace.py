"""Trace a network to a program in which each convolution, norm and neuron is one equation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive

from pit_jax.jaxprs import find_inner, get_shape
from pit_jax.layers.norm import TEBN, PerStepBatchNorm, TDBatchNorm
from pit_jax.layers.normalize import BatchNorm
from pit_jax.neurons import NEURONS
from pit_jax.neurons.mpbn import NormedLIF
from pit_jax.old_names import serve_old_names

NORMS = (nn.BatchNorm, BatchNorm, PerStepBatchNorm, TDBatchNorm, TEBN)
SPIKING = (*NEURONS.values(), NormedLIF)
LAYERS = (nn.Conv, nn.Dense, *NORMS, *SPIKING)
# Jitted functions of pit_jax that have a rule of their own and keep their names in a trace.
NAMED = ("adaptive_avg_pool", "linear_attention")

_layer = Primitive("layer")


@_layer.def_abstract_eval
def _(x: Any, *, path: str, shape: tuple[int, ...]) -> Any:
    del path
    return jax.core.ShapedArray(shape, x.dtype)


@dataclass(frozen=True)
class ModelLayer:
    """An unbound module of a class in `LAYERS` with its own variables `{"params": ..., ...}`."""

    path: str
    module: nn.Module
    variables: dict[str, Any]


@dataclass(frozen=True)
class Outline:
    """The equations from the pixels to the logits, and the layers by their paths.

    An equation of the primitive `layer` has the path of its layer in `params["path"]`; all other
    equations are operations between layers.
    """

    jaxpr: ClosedJaxpr
    layers: dict[str, ModelLayer]


def outline_layers(
    model: nn.Module, variables: Mapping[str, Any], x_shape: tuple[int, ...]
) -> Outline:
    """Trace a network in evaluation mode for images or frames of the shape `x_shape`."""
    layers: dict[str, ModelLayer] = {}

    def intercept(
        run: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module, path = context.module, "/".join(context.module.path)
        out = run(*args, **kwargs)
        # A subclass of a layer may compute something else, so its operations are traced instead.
        if context.method_name != "__call__" or type(module) not in LAYERS:
            return out
        own = {
            name: collection
            for name in variables
            if name != "intermediates"
            and (collection := _find_subtree(variables[name], module.path)) is not None
        }
        layers[path] = ModelLayer(path, module.clone(parent=None, name=None), own)
        # `out` is not returned, so no equation of the layer is used: this one replaces them.
        return _layer.bind(args[0], path=path, shape=out.shape)

    def run(x: Any) -> Any:
        with nn.intercept_methods(intercept):
            return model.apply(variables, x)

    x = jax.ShapeDtypeStruct(x_shape, jnp.float32)
    return Outline(jax.make_jaxpr(run)(x), layers)


def get_name(equation: JaxprEqn) -> str:
    """Return the name of an operation, or of the function that an equation calls."""
    name: str = equation.primitive.name
    called = find_inner(equation) if name in ("jit", "pjit", "custom_jvp_call") else None
    return called.jaxpr.debug_info.func_name if called else name


def get_tail(equation: JaxprEqn) -> tuple[int, ...]:
    """Return the shape of an equation's output without its axes of samples and steps."""
    return get_shape(equation.outvars[0])[2:]


def get_path(equation: JaxprEqn) -> str:
    """Return the path of the module around an equation."""
    # The stack begins with the name of the network's class.
    stack = str(equation.source_info.name_stack)
    return stack.partition("/")[2] or stack


def describe_place(equation: JaxprEqn) -> str:
    """Return where an equation is, for an error message."""
    return f"in {equation.source_info.name_stack}"


def count_uses(jaxpr: Jaxpr) -> dict[Any, int]:
    """Count the equations that read each value on which the outputs depend."""
    uses = dict.fromkeys((v for v in jaxpr.outvars if not isinstance(v, Literal)), 1)
    for equation in reversed(jaxpr.eqns):
        if any(v in uses for v in equation.outvars):
            for v in {id(v): v for v in equation.invars if not isinstance(v, Literal)}.values():
                uses[v] = uses.get(v, 0) + 1
    return uses


def _find_subtree(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree


serve_old_names(__name__)
