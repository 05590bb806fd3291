"""Bounds of parameters, declared at the function or class that takes the parameter."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
# Takes the name and the value of a parameter; raises ValueError if the value is not allowed.
Bound = Callable[[str, Any], None]


def set_bounds(**bounds: Bound) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for functions and `__init__` that checks these parameters on every call.

    `read_bounds` finds the bounds, so that a config is checked before its values are used.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def check_and_call(*args: P.args, **kwargs: P.kwargs) -> R:
            # Partial, so that a missing argument raises Python's own error, from the function.
            for name, value in signature.bind_partial(*args, **kwargs).arguments.items():
                if name in bounds:
                    bounds[name](name, value)
            return function(*args, **kwargs)

        check_and_call.__dict__["bounds"] = bounds
        return check_and_call

    return decorate


def read_bounds(function: Callable[..., Any]) -> Mapping[str, Bound]:
    """Return the bounds of a function or class by parameter; empty without `set_bounds`."""
    # A class inherits `__init__`: only one that it defines itself, in `vars`, has its bounds.
    owner = vars(function).get("__init__", function) if inspect.isclass(function) else function
    bounds: Mapping[str, Bound] = getattr(owner, "bounds", {})
    return bounds


def between(least: float, most: float) -> Bound:
    """Return a bound that allows numbers from `least` to `most`, both included."""

    def check(name: str, value: float) -> None:
        at_least(least)(name, value)
        if value > most:
            raise ValueError(f"{name} must be at most {most}, got {value}.")

    return check


def at_least(least: float) -> Bound:
    """Return a bound that allows numbers of at least `least`."""

    def check(name: str, value: float) -> None:
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")

    return check


def more_than(low: float) -> Bound:
    """Return a bound that allows numbers above `low`."""

    def check(name: str, value: float) -> None:
        if value <= low:
            raise ValueError(f"{name} must be more than {low}, got {value}.")

    return check


def one_of(*words: str) -> Bound:
    """Return a bound that allows these words."""

    def check(name: str, value: str) -> None:
        if value not in words:
            raise ValueError(f"{name} is {value!r}; it can be {', '.join(sorted(words))}.")

    return check
