"""What a training step keeps in memory (Table 5), from shapes alone: nothing is run or compiled.

Counted are parameters, batch statistics, optimizer state, gradients, the batch, and the
activations: what the forward pass leaves for the backward pass, as JAX differentiates it. A
compiler may keep less, where it computes a cheap array again, and needs room to work beside it.
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

# What gives another shape to the same bytes, if it does not repeat or move them.
RESHAPES = ("reshape", "squeeze", "broadcast_in_dim", "transpose")
# What runs a jitted function or a block under `remat`, once and with just its arguments.
CALLS = ("jit", "pjit", "checkpoint", "remat2")


@dataclass(frozen=True)
class Residual:
    """An array that the forward pass leaves for the backward pass: its layer and what made it."""

    shape: tuple[int, ...]
    dtype: jnp.dtype
    layer: str
    made_by: str

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of a training step by part; `kept` are the arrays of the activations."""

    parameters: int
    statistics: int
    optimizer: int
    gradients: int
    batch: int
    kept: Sequence[Residual]

    @property
    def activations(self) -> int:
        return sum(array.bytes for array in self.kept)

    @property
    def parts(self) -> dict[str, int]:
        """All parts by name, in the order of `parameters` to `activations`."""
        names = ("parameters", "statistics", "optimizer", "gradients", "batch", "activations")
        return {name: getattr(self, name) for name in names}

    @property
    def total(self) -> int:
        """All parts at once: more than a step that frees activations as gradients come."""
        return sum(self.parts.values())

    def activations_of(self, depth: int | None = None) -> dict[str, int]:
        """The activations by layer, or by what holds the layers down to `depth`, as they run."""
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
    """The memory of a step of `model` on a batch, of which `images` and `labels` tell the shapes.

    They are arrays or `jax.ShapeDtypeStruct`s, as the network and `loss(logits, labels)` take
    them; `optimizer_init` is the `init` of an optax optimizer.
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
        return loss(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), labels)

    return TrainingMemory(
        parameters=bytes_of(params),
        statistics=bytes_of(stats),
        optimizer=bytes_of(jax.eval_shape(optimizer_init, params)),
        gradients=bytes_of(params),
        batch=bytes_of((images, labels)),
        kept=list_residuals(objective, params, stats, images, labels, key),
    )


def list_residuals(f: Callable[..., Any], params: Any, *rest: Any) -> tuple[Residual, ...]:
    """Return what `f(params, *rest)` leaves for its gradient of `params`, each array once.

    In the order in which they are made. Constants are left out, and arguments, which are there
    anyway, in whatever shape.
    """

    def forward(params: Any, *rest: Any) -> list[Any]:
        return jax.tree.leaves(jax.vjp(lambda params: f(params, *rest), params)[1])

    jaxpr = jax.make_jaxpr(forward)(params, *rest).jaxpr
    source = _find_sources(jaxpr)
    left = {x for x in map(source, jaxpr.outvars) if not isinstance(x, Literal)}
    return tuple(
        Residual(array.aval.shape, array.aval.dtype, _layer(equation), equation.primitive.name)
        for equation in jaxpr.eqns
        for array in equation.outvars
        if array in left
    )


def bytes_of(tree: Any) -> int:
    """The bytes of the arrays of a tree, or of their shapes; keys of random numbers are none."""
    leaves = jax.tree.leaves(tree)
    plain = [x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(x.size * x.dtype.itemsize for x in plain)


def _find_sources(jaxpr: Jaxpr) -> Callable[[Any], Any]:
    """Return a function from a variable to the first one that has the same bytes."""
    above: dict[Any, Any] = {}

    def source(x: Any) -> Any:
        return source(above[x]) if is_in(x, above) else x

    for equation in jaxpr.eqns:
        if _reshapes(equation):
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


def _reshapes(equation: JaxprEqn) -> bool:
    if equation.primitive.name not in RESHAPES:
        return False
    before: Any = equation.invars[0].aval
    after: Any = equation.outvars[0].aval
    if equation.primitive.name == "transpose":
        moved = [axis for axis in equation.params["permutation"] if before.shape[axis] > 1]
        return moved == sorted(moved)
    # A constant repeated, such as zeros, takes nothing either.
    return before.size == after.size or isinstance(equation.invars[0], Literal)


def _layer(equation: JaxprEqn) -> str:
    """The path of the Flax module whose code this is, without the network's own name."""
    _, *path = str(equation.source_info.name_stack).split("/")
    # A part with a dot is a method that a module calls of itself.
    return "/".join(part for part in path if "." not in part and "(" not in part) or "beside layers"


serve_old_names(__name__)
