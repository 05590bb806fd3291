"""Helpers for walking over jaxprs, and functions whose random bits come from one draw."""

import math
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jaxtyping import Array, Key, UInt32

# Calls that may be replaced by what they call: remat changes only how gradients are computed.
CALLS = ("jit", "checkpoint", "remat2")


def find_inner(equation: JaxprEqn) -> ClosedJaxpr | None:
    """Return the jaxpr inside a call, such as the body of a jitted function, or None."""
    for value in equation.params.values():
        if isinstance(value, ClosedJaxpr):
            return value
        if isinstance(value, Jaxpr):
            return ClosedJaxpr(value, ())
    return None


def get_shape(v: Any) -> tuple[int, ...]:
    """Return the shape of a value in a jaxpr, which the type of `aval` does not declare."""
    shape: tuple[int, ...] = v.aval.shape
    return shape


def is_in(v: Any, values: Container[Any]) -> bool:
    """Return whether `v` is in `values`; a literal, which cannot be hashed, never is."""
    return not isinstance(v, Literal) and v in values


class _Folded(NamedTuple):
    """The key that `fold_in` makes from the key of a function and the numbers in `path`."""

    key: Key[Array, ""]
    path: tuple[int, ...] = ()


class _Draw:
    """One draw of random bits, and the parts of it that were taken."""

    def __init__(self, words: UInt32[Array, " N"]) -> None:
        self._words, self._taken = words, 0
        self._parts: dict[Any, Array] = {}

    def take(self, path: tuple[int, ...], shape: tuple[int, ...], width: int) -> Array | None:
        """Return bits for the key `path`, always the same ones; None if too few are left."""
        found = path, shape, width
        if found not in self._parts:
            size = math.prod(shape) * max(width // 32, 1)
            if self._taken + size > self._words.size:
                return None
            part = self._words[self._taken : self._taken + size].reshape(*shape, -1)
            self._taken += size
            bits = part[..., 0].astype(f"uint{width}")
            if width == 64:
                bits = bits << 32 | part[..., 1].astype("uint64")
            self._parts[found] = bits
        return self._parts[found]


def draw_at_once(function: Callable[..., Any], *, has_aux: bool = False) -> Callable[..., Any]:
    """Return `function(key, *arguments)` with its random bits from one draw; to be jitted.

    A draw is some hundred instructions, which the compiler repeats for each call of `jax.random`:
    for the parameters of ResNet18 three quarters of the time to compile `model.init`. Here one draw
    has as many bits as the arrays that the function returns, and each call gets a part of its own.
    The distributions, which are computed from the bits, are those of the function. With `has_aux`
    the function returns a pair, and the arrays of the second do not count.

    Only keys that the function makes by `fold_in` from `key` and constants get bits of this draw,
    as those of the parameters of a Flax module. All other keys are used as they are.
    """

    def run(key: Key[Array, ""], *arguments: Any) -> Any:
        closed, returned = jax.make_jaxpr(function, return_shape=True)(key, *arguments)
        drawn, key = jax.random.split(key)
        leaves, tree = jax.tree.flatten(returned)
        drawn_for = jax.tree.leaves(returned[0] if has_aux else returned)
        size = sum(leaf.size * max(leaf.dtype.itemsize // 4, 1) for leaf in drawn_for)
        draw = _Draw(jax.random.bits(drawn, (size,), "uint32"))
        given = [_Folded(key), *jax.tree.leaves(arguments)]
        return jax.tree.unflatten(tree, _evaluate(closed, given, draw))

    return run


def _evaluate(closed: ClosedJaxpr, given: Sequence[Any], draw: _Draw) -> list[Any]:
    """Return the results of a jaxpr for arrays and keys, whose random bits are from `draw`."""
    values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values |= zip(closed.jaxpr.invars, given, strict=True)

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else values[v]

    for equation in closed.jaxpr.eqns:
        primitive, params = equation.primitive, equation.params
        inputs = [read(v) for v in equation.invars]
        folded = inputs[0] if inputs and isinstance(inputs[0], _Folded) else None
        inner = find_inner(equation)
        outputs: list[Any] | None = None
        if folded and primitive.name == "random_bits":
            bits = draw.take(folded.path, params["shape"], params["bit_width"])
            outputs = None if bits is None else [bits]
        elif inner and primitive.name in CALLS and any(isinstance(x, _Folded) for x in inputs):
            outputs = _evaluate(inner, inputs, draw)
        if outputs is None:
            arrays = [x.key if isinstance(x, _Folded) else x for x in inputs]
            with equation.ctx.manager:
                found = primitive.bind(*arrays, **primitive.get_bind_params(params))
            outputs = found if primitive.multiple_results else [found]
        if folded and primitive.name == "random_fold_in" and not _is_traced(inputs[1]):
            outputs = [_Folded(outputs[0], (*folded.path, int(inputs[1])))]
        values |= zip(equation.outvars, outputs, strict=True)
    results = [read(v) for v in closed.jaxpr.outvars]
    return [x.key if isinstance(x, _Folded) else x for x in results]


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)
