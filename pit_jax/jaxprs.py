"""Helpers for walking over jaxprs: calls inside a jaxpr, shapes, and membership of values."""

from collections.abc import Container
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal


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
