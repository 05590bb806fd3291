"""The memory of a training step (Table 5), from shapes alone: nothing is run or compiled.

The parts are parameters, batch statistics, optimizer state, gradients, the batch, and activations:
the arrays that the forward pass saves for the backward pass as JAX differentiates it. A compiler
may save less, as it recomputes cheap arrays, and needs additional working memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from pit_jax.analysis.recorder import SPIKING
from pit_jax.jaxprs import find_inner, is_in
from pit_jax.old_names import serve_old_names

# Primitives that change the shape only, unless they repeat or move values.
RESHAPES = ("reshape", "squeeze", "broadcast_in_dim", "transpose")
# Primitives that call a jitted or rematerialized function once, with their own arguments.
CALLS = ("jit", "pjit", "checkpoint", "remat2")


@dataclass(frozen=True)
class Residual:
    """An array saved for the backward pass, with its layer and the primitive that made it."""

    shape: tuple[int, ...]
    dtype: jnp.dtype
    layer: str
    made_by: str

    @property
    def bytes(self) -> int:
        """The size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class TrainingMemory:
    """The bytes of a training step by part; `kept` are the arrays that make up the activations.

    `neurons` has the bytes that the gradient of each neuron layer alone reads, by its path. Layers
    share arrays: what a neuron reads may be the output of a norm. In `kept` each array is once.
    """

    parameters: int
    statistics: int
    optimizer: int
    gradients: int
    batch: int
    kept: Sequence[Residual]
    neurons: Mapping[str, int] = field(default_factory=dict)

    @property
    def activations(self) -> int:
        """The bytes of the activations."""
        return sum(array.bytes for array in self.kept)

    @property
    def parts(self) -> dict[str, int]:
        """All parts by name, in the order of `parameters` to `activations`."""
        names = ("parameters", "statistics", "optimizer", "gradients", "batch", "activations")
        return {name: getattr(self, name) for name in names}

    @property
    def total(self) -> int:
        """The sum of the parts; a step that frees activations early has a lower peak."""
        return sum(self.parts.values())

    def activations_of(self, depth: int | None = None) -> dict[str, int]:
        """Return the activations by module path, cut after `depth` names, as they run."""
        found: dict[str, int] = {}
        for array in self.kept:
            layer = "/".join(array.layer.split("/")[:depth])
            found[layer] = found.get(layer, 0) + array.bytes
        return found


def training_memory(
    model: nn.Module,
    images: Any,
    labels: Any,
    *,
    loss: Callable[[Any, Any], Any],
    optimizer_init: Callable[[Any], Any],
    neurons: tuple[type[nn.Module], ...] = (),
) -> TrainingMemory:
    """Return the memory of a training step of `model` on a batch.

    `images` and `labels` are arrays or `jax.ShapeDtypeStruct`s of the shapes that the network and
    `loss(logits, labels)` take; `optimizer_init` is the `init` of an optax optimizer. `neurons` are
    your own classes of neurons.
    """
    key, variables, objective = make_objective(model, images, loss)
    params, stats = variables["params"], variables.get("batch_stats", {})

    def compute_loss(*arguments: Any) -> Any:
        return objective(*arguments)[0]

    return TrainingMemory(
        parameters=bytes_of(params),
        statistics=bytes_of(stats),
        optimizer=bytes_of(jax.eval_shape(optimizer_init, params)),
        # Gradients have the shapes and dtypes of the parameters.
        gradients=bytes_of(params),
        batch=bytes_of((images, labels)),
        kept=list_residuals(compute_loss, params, stats, images, labels, key),
        neurons={
            layer: sum(array.bytes for array in arrays)
            for layer, arrays in list_neuron_residuals(model, variables, images, neurons).items()
        },
    )


def make_objective(
    model: nn.Module, images: Any, loss: Callable[[Any, Any], Any]
) -> tuple[Any, Any, Callable[..., Any]]:
    """Return the shapes of a key and of the variables of `model`, and the objective of a step.

    The objective maps parameters, statistics, images, labels and a key to the loss, and to the
    logits and new statistics.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))

    def init(key: Any, images: Any) -> Any:
        return model.init({"params": key, "dropout": key}, images, train=True)

    def objective(params: Any, stats: Any, images: Any, labels: Any, key: Any) -> Any:
        logits, updates = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        # The training step computes the loss in float32 even if the network runs in bfloat16.
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return loss(logits, labels), (logits, updates.get("batch_stats", {}))

    return key, jax.eval_shape(init, key, images), objective


def list_residuals(f: Callable[..., Any], params: Any, *rest: Any) -> tuple[Residual, ...]:
    """Return the arrays that `f(params, *rest)` saves for its gradient by `params`, each once.

    They are in the order in which they are computed. Constants and (reshaped) arguments are not
    included, as they take no additional memory.
    """

    jaxpr, saved = _trace_gradient(lambda params: partial(f, params), params, rest)
    return tuple(_list_made(jaxpr, saved))


def list_neuron_residuals(
    model: nn.Module, variables: Any, images: Any, neurons: tuple[type[nn.Module], ...] = ()
) -> dict[str, tuple[Residual, ...]]:
    """Return the arrays that the gradient of each neuron layer alone reads, by the layer's path.

    They are the membranes above all. The layer's input is included if the gradient reads it, even
    if the layer before has made it; parameters are not. Layers are in the order in which they run,
    and a neuron inside another is a part of it. `neurons` are your own classes of neurons.
    """
    calls: dict[str, tuple[nn.Module, Any, Any]] = {}

    def note(run: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = "/".join(context.module.path)
        is_new = not any(f"{path}/".startswith(f"{outer}/") for outer in calls)
        is_neuron = isinstance(context.module, (*SPIKING, *neurons))
        if context.method_name == "__call__" and is_neuron and is_new:
            module, own = context.module.unbind()
            calls[path] = (module, _get_shapes(own), _get_shapes((args, kwargs)))
        return run(*args, **kwargs)

    def run(variables: Any, images: Any, key: Any) -> Any:
        return model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )

    with nn.intercept_methods(note):
        jax.eval_shape(run, variables, images, jax.eval_shape(lambda: jax.random.key(0)))
    return {path: tuple(_list_own(*call)) for path, call in calls.items()}


def _list_own(module: nn.Module, variables: Any, given: Any) -> Iterator[Residual]:
    """Yield the arrays that the gradient of a module by its parameters and inputs reads."""
    leaves, structure = jax.tree.flatten(given)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.ShapeDtypeStruct)]
    params = variables.get("params", {})
    rest = {name: values for name, values in variables.items() if name != "params"}

    def bind(params: Any, inputs: Any) -> Any:
        def call(rest: Any, key: Any) -> Any:
            filled = [*leaves]
            for place, array in zip(places, inputs, strict=True):
                filled[place] = array
            args, kwargs = jax.tree.unflatten(structure, filled)
            found, _ = module.apply(
                {**rest, "params": params},
                *args,
                **kwargs,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return found

        return call

    inputs = [leaves[place] for place in places]
    key = jax.eval_shape(lambda: jax.random.key(0))
    jaxpr, saved = _trace_gradient(lambda both: bind(*both), (params, inputs), (rest, key))
    first = len(jax.tree.leaves(params))
    for x in jaxpr.invars[first : first + len(inputs)]:
        if x in saved:
            aval: Any = x.aval
            yield Residual(aval.shape, aval.dtype, "", "input")
    yield from _list_made(jaxpr, saved)


def _get_shapes(tree: Any) -> Any:
    """Return a tree with the shapes of its arrays, and with all other leaves."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, jax.Array) else x, tree
    )


def _trace_gradient(
    bind: Callable[[Any], Callable[..., Any]], by: Any, rest: Sequence[Any]
) -> tuple[Jaxpr, set[Any]]:
    """Return the forward pass of `bind(by)(*rest)`, and the values saved for its gradient by `by`.

    The first inputs of the forward pass are the leaves of `by`.
    """

    # The leaves of a VJP function are the arrays that its backward pass reads.
    def forward(by: Any, *rest: Any) -> list[Any]:
        return jax.tree.leaves(jax.vjp(lambda by: bind(by)(*rest), by)[1])

    jaxpr = jax.make_jaxpr(forward)(by, *rest).jaxpr
    source = _find_sources(jaxpr)
    return jaxpr, {x for x in map(source, jaxpr.outvars) if not isinstance(x, Literal)}


def _list_made(jaxpr: Jaxpr, saved: set[Any]) -> Iterator[Residual]:
    """Yield the values of `saved` that a forward pass computes, in their order."""
    for equation in jaxpr.eqns:
        for x in equation.outvars:
            if x in saved:
                aval: Any = x.aval
                layer, primitive = _find_layer(equation), equation.primitive.name
                yield Residual(aval.shape, aval.dtype, layer, primitive)


def bytes_of(tree: Any) -> int:
    """Return the bytes of the arrays (or shapes) of a tree, without random keys."""
    leaves = jax.tree.leaves(tree)
    plain = [x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(x.size * x.dtype.itemsize for x in plain)


def _find_sources(jaxpr: Jaxpr) -> Callable[[Any], Any]:
    """Return a function from a variable to the one whose bytes it shares, through calls as well."""
    above: dict[Any, Any] = {}

    def source(x: Any) -> Any:
        return source(above[x]) if is_in(x, above) else x

    for equation in jaxpr.eqns:
        if _is_reshape(equation):
            above[equation.outvars[0]] = equation.invars[0]
        elif equation.primitive.name in CALLS and (called := find_inner(equation)):
            inner = called.jaxpr
            inside = _find_sources(inner)
            given = dict(zip(inner.invars, equation.invars, strict=True))
            for outer, x in zip(equation.outvars, inner.outvars, strict=True):
                start = inside(x)
                if isinstance(start, Literal):
                    above[outer] = start
                elif start in given:
                    above[outer] = given[start]
    return source


def _is_reshape(equation: JaxprEqn) -> bool:
    """Return whether an equation gives the same bytes another shape."""
    if equation.primitive.name not in RESHAPES:
        return False
    before: Any = equation.invars[0].aval
    after: Any = equation.outvars[0].aval
    if equation.primitive.name == "transpose":
        # Moving axes of size 1 does not move values.
        moved = [axis for axis in equation.params["permutation"] if before.shape[axis] > 1]
        return moved == sorted(moved)
    # A repeated constant, such as zeros, takes no memory either.
    return before.size == after.size or isinstance(equation.invars[0], Literal)


def _find_layer(equation: JaxprEqn) -> str:
    """Return the path of the Flax module that this equation is from, without the network's name."""
    _, *path = str(equation.source_info.name_stack).split("/")
    # A part with a dot is a method of a module, one with a parenthesis a transformation.
    return (
        "/".join(part for part in path if "." not in part and "(" not in part) or "outside layers"
    )


serve_old_names(__name__)
