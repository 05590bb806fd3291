"""What the walks over traced programs share: calls inside a program, shapes, and known values."""

from collections.abc import Container
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal


def find_inner(equation: JaxprEqn) -> ClosedJaxpr | None:
    """Return the program inside a call, such as that of a jitted function, or None."""
    for value in equation.params.values():
        if isinstance(value, ClosedJaxpr):
            return value
        if isinstance(value, Jaxpr):
            return ClosedJaxpr(value, ())
    return None


def get_shape(v: Any) -> tuple[int, ...]:
    """Return the shape of a value of a program, which jax's types leave out."""
    shape: tuple[int, ...] = v.aval.shape
    return shape


def is_in(v: Any, values: Container[Any]) -> bool:
    """Return whether `v` is one of `values`; a literal, which has no hash, is none."""
    return not isinstance(v, Literal) and v in values
