"""The memory of a training step (Table 5), from shapes alone: nothing is run or compiled.

The parts are parameters, batch statistics, optimizer state, gradients, the batch, and activations:
the arrays that the forward pass saves for the backward pass as JAX differentiates it. A compiler
may save less, as it recomputes cheap arrays, and needs additional working memory.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal

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
    """The bytes of a training step by part; `kept` are the arrays that make up the activations."""

    parameters: int
    statistics: int
    optimizer: int
    gradients: int
    batch: int
    kept: Sequence[Residual]

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
) -> TrainingMemory:
    """Return the memory of a training step of `model` on a batch.

    `images` and `labels` are arrays or `jax.ShapeDtypeStruct`s of the shapes that the network and
    `loss(logits, labels)` take; `optimizer_init` is the `init` of an optax optimizer.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))

    def init(key: Any, images: Any) -> Any:
        return model.init({"params": key, "dropout": key}, images, train=True)

    variables = jax.eval_shape(init, key, images)
    params, stats = variables["params"], variables.get("batch_stats", {})

    def objective(params: Any, stats: Any, images: Any, labels: Any, key: Any) -> Any:
        logits, _ = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        # The training step computes the loss in float32 even if the network runs in bfloat16.
        return loss(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), labels)

    return TrainingMemory(
        parameters=bytes_of(params),
        statistics=bytes_of(stats),
        optimizer=bytes_of(jax.eval_shape(optimizer_init, params)),
        # Gradients have the shapes and dtypes of the parameters.
        gradients=bytes_of(params),
        batch=bytes_of((images, labels)),
        kept=list_residuals(objective, params, stats, images, labels, key),
    )


def list_residuals(f: Callable[..., Any], params: Any, *rest: Any) -> tuple[Residual, ...]:
    """Return the arrays that `f(params, *rest)` saves for its gradient by `params`, each once.

    They are in the order in which they are computed. Constants and (reshaped) arguments are not
    included, as they take no additional memory.
    """

    # The leaves of a VJP function are the arrays that its backward pass reads.
    def forward(params: Any, *rest: Any) -> list[Any]:
        return jax.tree.leaves(jax.vjp(lambda params: f(params, *rest), params)[1])

    jaxpr = jax.make_jaxpr(forward)(params, *rest).jaxpr
    source = _find_sources(jaxpr)
    saved = {x for x in map(source, jaxpr.outvars) if not isinstance(x, Literal)}
    return tuple(
        Residual(array.aval.shape, array.aval.dtype, _find_layer(equation), equation.primitive.name)
        for equation in jaxpr.eqns
        for array in equation.outvars
        if array in saved
    )


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
