"""Trace a network to a list of operations in which each convolution, norm and neuron is one.

A network is a Flax module, or any function `apply(variables, x)` that calls Flax layers or plain
JAX. Its layers are marked while JAX traces it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Literal, Primitive
from jax.interpreters import batching

from pit_jax.display import show_value
from pit_jax.inference.compiler.operations import Flattener, Operation
from pit_jax.inference.errors import NotFoldable
from pit_jax.jaxprs import get_shape
from pit_jax.layers.norm import TEBN, PerStepBatchNorm, TDBatchNorm
from pit_jax.layers.normalize import BatchNorm
from pit_jax.neurons import NEURONS, ReLU
from pit_jax.neurons.mpbn import NormedLIF
from pit_jax.old_names import serve_old_names

NORMS = (nn.BatchNorm, BatchNorm, PerStepBatchNorm, TDBatchNorm, TEBN)
SPIKING = (*NEURONS.values(), NormedLIF)
LAYERS = (nn.Conv, nn.Dense, *NORMS, *SPIKING)
# Without a rule, as are classes derived from nn.Conv.
OTHER_CONVOLUTIONS = (nn.Conv, nn.ConvLocal, nn.ConvTranspose)
# Jitted functions of pit_jax that have a rule of their own and keep their names in a trace.
NAMED = ("adaptive_avg_pool", "linear_attention")
# Arguments of modules that switch from training to evaluation, with their values for it.
EVALUATION = {"train": False, "training": False, "is_training": False, "deterministic": True}
TO_EVALUATION = (
    "Compile it in evaluation mode, such as "
    "lambda variables, x: network.apply(variables, x, train=False)."
)

Apply = Callable[[Any, Any], Any]

# A user's jitted function keeps the trace of an earlier call, in which no layer was marked. With
# another value here JAX traces it again.
_fresh_trace = jax.make_user_context(None)
_layer = Primitive("layer")


@_layer.def_abstract_eval
def _(x: Any, out: Any, *leaves: Any, **params: Any) -> Any:
    del x, leaves, params
    return jax.core.ShapedArray(out.shape, out.dtype)


@dataclass(frozen=True, eq=False)
class _Mark:
    """A call of a layer, hashed by identity.

    `alone` is True for a layer in no other module. `tree` is the structure of its variables.
    """

    path: str
    alone: bool
    module: nn.Module
    tree: Any


def _refuse_vmap(operands: Any, axes: Any, *, mark: _Mark) -> Any:
    del operands, axes
    raise NotFoldable(
        f"{mark.path} is called inside jax.vmap, which hides the axes of samples or steps.",
        "Call it on a whole batch [B, T, ...].",
    )


batching.primitive_batchers[_layer] = _refuse_vmap


@dataclass(frozen=True)
class ModelLayer:
    """An unbound module of a class in `LAYERS` with its own variables `{"params": ..., ...}`."""

    path: str
    module: nn.Module
    variables: dict[str, Any]


@dataclass(frozen=True)
class Outline:
    """The operations from the pixels to the logits; `constants` are the values of some variables.

    The operation `layer` reads the input of a layer, its output as traced, and its variables.
    """

    pixels: Any
    logits: Any
    operations: list[Operation]
    constants: dict[Any, Any]

    @property
    def num_steps(self) -> int:
        """The number of steps that all neurons run; 1 without neurons."""
        steps = {get_shape(each.inputs[0])[1] for each in self.operations if _is_neuron(each)}
        if len(steps) > 1:
            raise NotFoldable(
                f"some neurons run {' steps, others '.join(map(str, sorted(steps)))} steps.",
                "Give all neurons currents of the same number of steps.",
            )
        return max(steps, default=1)

    def run(self, x: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
        """Return the logits, and the probes of each neuron layer by its path.

        `x` has the shape for which the network was traced. Neurons run as modules, and everything
        else as JAX traced it.
        """
        values = {**self.constants, self.pixels: x}
        probes: dict[str, dict[str, Any]] = {}
        for operation in self.operations:
            operands = [read_value(v, values) for v in operation.inputs]
            if _is_neuron(operation):
                layer = read_layer(operation, operands[2:])
                out, sown = layer.module.apply(
                    layer.variables, operands[0], mutable=["intermediates"]
                )
                results, probes[layer.path] = [out], sown["intermediates"]
            else:
                results = evaluate(operation, operands)
            values |= zip(operation.outputs, results, strict=True)
        return read_value(self.logits, values), probes


def make_apply(model: Any) -> Apply:
    """Return a function of variables and inputs that runs a network in evaluation mode.

    Arguments of a module that switch to evaluation are set; a function is returned as it is.
    """
    if isinstance(model, nn.Module):
        known = inspect.signature(type(model).__call__).parameters
        switches: Any = {name: value for name, value in EVALUATION.items() if name in known}
        return partial(model.apply, **switches)
    if isinstance(model, type) and issubclass(model, nn.Module):
        name = model.__name__
        raise ValueError(f"model must be a Flax module, got the class {name}; pass {name}(...).")
    if callable(model):
        try:
            inspect.signature(model).bind(None, None)
        except (
            TypeError
        ) as error:  # nnx and Equinox: a module has its variables, and takes x alone.
            raise ValueError(
                "model must be a Flax module, or a function of variables and inputs; got "
                f"{show_value(model)}. For a module of nnx or Equinox pass "
                "lambda variables, x: model(x)."
            ) from error
        except ValueError:  # A function without a signature.
            pass
        return model
    raise ValueError(
        "model must be a Flax module, or a function apply(variables, x) that returns logits; "
        f"got {type(model).__name__}."
    )


def outline_layers(model: nn.Module | Apply, variables: Any, x_shape: tuple[int, ...]) -> Outline:
    """Trace a network in evaluation mode for inputs of the shape `x_shape`.

    These are images `[B, H, W, C]` or frames `[B, T, H, W, C]`, or features `[B, F]` or
    `[B, T, F]`. Raises NotFoldable for a network in training mode, and for one that returns
    anything but one array.
    """
    apply = make_apply(model)

    def run(x: Any) -> Any:
        with nn.intercept_methods(_mark_layer):
            return apply(variables, x)

    x = jax.ShapeDtypeStruct(x_shape, jnp.float32)
    with _fresh_trace(object()), _explain_flax_errors():
        closed, returned = jax.make_jaxpr(run, return_shape=True)(x)
    if not hasattr(returned, "shape"):
        raise NotFoldable(
            f"the network returns a {type(returned).__name__}, not one array of logits.",
            "Compile a function of the logits alone, such as "
            "lambda variables, x: network.apply(variables, x)[0].",
        )
    flattener = Flattener(NAMED.__contains__)
    (pixels,) = closed.jaxpr.invars
    (logits,) = flattener.add(closed, [pixels])
    operations = _finish_layers(flattener.operations, pixels)
    return Outline(pixels, logits, operations, flattener.constants)


def evaluate(operation: Operation, operands: Sequence[Any]) -> list[Any]:
    """Return the results of an operation for arrays; a layer returns what it returned before."""
    return [operands[1]] if operation.name == "layer" else operation.evaluate(operands)


def read_layer(operation: Operation, leaves: Sequence[Any]) -> ModelLayer:
    """Return the layer of an operation, given the arrays of its variables."""
    params = operation.params
    variables = jax.tree.unflatten(params["tree"], leaves)
    return ModelLayer(params["path"], params["module"], variables)


def list_reads(operation: Operation) -> list[Any]:
    """Return the variables that an operation reads; for a layer, all but its traced output."""
    skipped = 1 if operation.name == "layer" else None
    return [
        v for at, v in enumerate(operation.inputs) if at != skipped and not isinstance(v, Literal)
    ]


def read_value(v: Any, values: Mapping[Any, Any]) -> Any:
    """Return the value of a variable or a literal."""
    return v.val if isinstance(v, Literal) else values[v]


def count_uses(operations: Sequence[Operation], result: Any) -> dict[Any, int]:
    """Count the operations that read each variable on which `result` depends."""
    uses = {} if isinstance(result, Literal) else {result: 1}
    for operation in reversed(operations):
        if any(v in uses for v in operation.outputs):
            for v in dict.fromkeys(list_reads(operation)):
                uses[v] = uses.get(v, 0) + 1
    return uses


def _mark_layer(
    run: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
) -> Any:
    """Call a method of a module; add an equation for it if it is a layer."""
    module, out = context.module, run(*args, **kwargs)
    # A subclass of a layer may compute something else, so its operations are followed instead.
    if context.method_name != "__call__":
        return out
    path = "/".join(module.path) or type(module).__name__  # Without a path it is called alone.
    if type(module) not in LAYERS:
        if isinstance(module, OTHER_CONVOLUTIONS):  # They would be refused for a reshape.
            raise NotFoldable(
                f"{path} is of the class {type(module).__name__}, for which there is no rule.",
                "Use nn.Conv itself.",
            )
        return out
    given = [*args, *kwargs.values()]
    x, rest = given[0], given[1:]
    switches = (getattr(module, "use_running_average", None), *rest)
    if type(module) in NORMS and any(each is False for each in switches):
        raise NotFoldable(f"{path} normalizes by the statistics of a batch.", TO_EVALUATION)
    if type(module) in SPIKING and any(each is not None and each is not False for each in rest):
        raise NotFoldable(
            f"{path} takes or returns a state, but the neurons of a program start at rest.",
            "Call it without initial_state and return_state, with all steps at once.",
        )
    own = {name: tree for name, tree in module.variables.items() if name != "intermediates"}
    leaves, tree = jax.tree.flatten(own)
    # Readers of this layer read the new equation, so the equations inside the layer are not used.
    mark = _Mark(path, not module.path, module.clone(parent=None, name=None), tree)
    return _layer.bind(x, out, *leaves, mark=mark)


def _finish_layers(operations: Sequence[Operation], pixels: Any) -> list[Operation]:
    """Give each layer a path of its own, and turn layers of constants into constants."""
    dependent, calls = {pixels}, dict[str, int]()
    finished = []
    for operation in operations:
        if any(v in dependent for v in operation.inputs if not isinstance(v, Literal)):
            dependent.update(operation.outputs)
        if operation.name == "layer":
            x, out, *leaves = operation.inputs
            mark: _Mark = operation.params["mark"]
            path = mark.path
            if any(v in dependent for v in leaves if not isinstance(v, Literal)):
                raise NotFoldable(
                    f"the variables of {path} depend on the input.",
                    "Give the layer variables that are the same for every input.",
                )
            if isinstance(x, Literal) or x not in dependent:
                operation = replace(operation, inputs=[out, out, *leaves])
            calls[path] = calls.get(path, 0) + 1
            if mark.alone:  # Numbered as in a module.
                path = f"{path}_{calls[path] - 1}"
            elif calls[path] > 1:  # A module may be called again, as IF, which has no variables.
                path = f"{path}_call{calls[path]}"
            params = {"path": path, "module": mark.module, "tree": mark.tree}
            operation = replace(operation, params=params)
        finished.append(operation)
    return finished


def _is_neuron(operation: Operation) -> bool:
    """Return whether an operation is a layer of neurons that run over time."""
    if operation.name != "layer":
        return False
    module = type(operation.params["module"])
    return module in SPIKING and module is not ReLU


@contextmanager
def _explain_flax_errors() -> Iterator[None]:
    """Raise NotFoldable for a network in training mode, and ValueError for missing variables."""
    try:
        yield
    except flax.errors.ScopeCollectionNotFound as error:
        raise ValueError(
            "variables lack a collection of the network. Pass all that network.init returned, "
            "such as {'params': ..., 'batch_stats': ...}, and not the parameters alone."
        ) from error
    except flax.errors.TraceContextError as error:
        raise NotFoldable(
            "an nnx module changes its variables or random numbers.",
            "Switch it to evaluation with model.eval(); and set to_nnx__rngs = None in each "
            "nnx.bridge.ToNNX, which needs random numbers in initialization only.",
        ) from error
    except (flax.errors.ModifyScopeVariableError, flax.errors.InvalidRngError) as error:
        is_random = isinstance(error, flax.errors.InvalidRngError)
        raise NotFoldable(
            f"the network {'draws random numbers' if is_random else 'changes its variables'}, as "
            "in training.",
            TO_EVALUATION,
        ) from error


serve_old_names(__name__)
