"""Bounds of arguments, declared at the function, class or Flax module that takes the argument."""

import functools
import inspect
import math
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pit_jax.display import show_value

F = TypeVar("F", bound=Callable[..., Any])
# A bound takes the name and the value of an argument, and raises ValueError if it is not allowed.
# A bound may return another form of the value, such as "bfloat16" for "bf16", or None.
Bound = Callable[[str, Any], Any]
Number = int | float
# The attribute with the bounds of a function or class.
BOUNDS = "argument_bounds"
# The trainer and many tools store seeds in 32 bits, and JAX drops higher bits without x64.
MOST_SEED = 2**32 - 1
# JAX counts and indexes in 32 bits without x64.
MOST_WHOLE = 2**31 - 1
# The sizes of normal float32 numbers, in which values are used: others become infinite or 0.
LEAST_SIZE, MOST_SIZE = 1.2e-38, 3.4e38


def set_bounds(**bounds: Bound) -> Callable[[F], F]:
    """Return a decorator for functions, `__init__` and Flax modules that checks these arguments.

    A function is checked on every call, a module when it is constructed; subclasses of the module
    inherit the checks. `read_bounds` finds the bounds, so that a config is checked before its
    values are used.
    """

    def decorate(target: F) -> F:
        return (_check_fields if inspect.isclass(target) else _check_calls)(target, bounds)

    return decorate


def _check_calls(function: Any, bounds: Mapping[str, Bound]) -> Any:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def check_and_call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Raises Python's own error, from the function.
        for name, value in bound.arguments.items():
            if name in bounds:
                bound.arguments[name] = apply_bound(bounds[name], name, value)
        return function(*bound.args, **bound.kwargs)

    check_and_call.__dict__[BOUNDS] = dict(bounds)
    return check_and_call


def _check_fields(cls: Any, bounds: Mapping[str, Bound]) -> Any:
    """Check the fields of a Flax module before its `__post_init__` runs."""
    prepare = cls.__post_init__

    @functools.wraps(prepare)
    def check_and_prepare(self: Any) -> None:
        for name, bound in bounds.items():
            given = getattr(self, name)
            if (value := apply_bound(bound, name, given)) is not given:
                setattr(self, name, value)
        prepare(self)

    # Not `__init__`, which a subclass generates again for its own fields.
    cls.__post_init__ = check_and_prepare
    setattr(cls, BOUNDS, {**getattr(cls, BOUNDS, {}), **bounds})
    return cls


def read_bounds(function: Callable[..., Any]) -> Mapping[str, Bound]:
    """Return the bounds of a function or class by argument; empty without `set_bounds`."""
    if isinstance(function, partial):
        return read_bounds(function.func)
    if inspect.isclass(function) and not hasattr(function, BOUNDS):
        # A class inherits `__init__`; only an `__init__` in its own `vars` has its own bounds.
        function = vars(function).get("__init__", function)
    bounds: Mapping[str, Bound] = getattr(function, BOUNDS, {})
    return bounds


def apply_bound(bound: Bound, name: str, value: Any) -> Any:
    """Return the value to use for an argument; raise ValueError if it is not allowed."""
    other = bound(name, value)
    return value if other is None else other


@dataclass(frozen=True)
class Interval:
    """A bound that allows numbers from `least` to `most`, both included unless `open_*` is set.

    With `whole` only whole numbers are allowed, with `optional` also None. `hint` ends the
    message. Arrays must have all their values in the range; values under `jit` are unknown and
    pass.
    """

    least: Number = -math.inf
    most: Number = math.inf
    open_least: bool = False
    open_most: bool = False
    whole: bool = False
    optional: bool = False
    hint: str = ""

    def __call__(self, name: str, value: Any) -> None:
        """Raise ValueError unless `value` is in the range."""
        if (value is None and self.optional) or _is_traced(value):
            return
        if hasattr(value, "__array__"):
            import numpy as np

            # NumPy compares values; inside `jit` JAX would trace the comparison of a constant.
            value = np.asarray(value)
            if value.ndim and not self.whole:
                for extreme in (value.min(), value.max()) if value.size else ():
                    self(name, extreme)
                return
            value = value[()] if value.ndim == 0 else value
        if not _is_number(value, self.whole):
            kind = "a whole number" if self.whole else "a finite number"
            raise ValueError(f"{name} must be {kind}, got {show_value(value)}{self.hint}.")
        if not self.whole and value and not LEAST_SIZE <= abs(value) <= MOST_SIZE:
            sizes = f"{LEAST_SIZE} to {MOST_SIZE}"
            raise ValueError(f"{name} must be 0 or in size {sizes}, as in float32, got {value}.")
        if value < self.least or (self.open_least and value == self.least):
            words = "more than" if self.open_least else "at least"
            raise ValueError(f"{name} must be {words} {self.least}, got {value}{self.hint}.")
        if value > self.most or (self.open_most and value == self.most):
            words = "less than" if self.open_most else "at most"
            raise ValueError(f"{name} must be {words} {self.most}, got {value}{self.hint}.")


def between(least: Number, most: Number, hint: str = "") -> Interval:
    """Return a bound that allows numbers from `least` to `most`, both included."""
    return Interval(least, most, hint=hint)


def inside(low: Number, high: Number) -> Interval:
    """Return a bound that allows numbers above `low` and below `high`."""
    return Interval(low, high, open_least=True, open_most=True)


def at_least(least: Number) -> Interval:
    """Return a bound that allows numbers of at least `least`."""
    return Interval(least)


def more_than(low: Number, hint: str = "") -> Interval:
    """Return a bound that allows numbers above `low`."""
    return Interval(low, open_least=True, hint=hint)


def whole(least: Number = 1, most: Number = MOST_WHOLE, hint: str = "") -> Interval:
    """Return a bound that allows whole numbers from `least` to `most`; 2.0 is not one."""
    return Interval(least, most, whole=True, hint=hint)


def function(hint: str = "", optional: bool = False) -> Bound:
    """Return a bound that allows functions and classes; with `optional` also None.

    An instance of a module is refused although it can be called.
    """

    def check(name: str, value: Any) -> None:
        is_made = not inspect.isclass(value) and hasattr(type(value), "init_with_output")
        if (not callable(value) or is_made) and not (optional and value is None):
            raise ValueError(f"{name} must be a function, got {show_value(value)}{hint}.")

    return check


FIRING = function("; pit_jax.surrogate.SPIKES has firing functions by name")
RESET = function("; pit_jax.neurons.step.RESETS has resets by name")
SCALE_INIT = function("; pit_jax.initializers.SCALE_INITS has initializers by name")
NORM = function("; pit_jax.layers.NORMS has norms by name")
# `None` means no bias or initializer; True and False would be taken for one.
INITIALIZER = function("; flax.linen.initializers has initializers", optional=True)
CONFIDENCE = inside(0, 1)
# Networks with more blocks are not built within minutes.
MOST_BLOCKS = 1000
BLOCKS = whole(1, MOST_BLOCKS)
SEED = whole(0, MOST_SEED)
# Float32 holds every whole number up to 2^24.
LEVELS = whole(1, 2**24, hint="; 1 gives binary spikes")
POSITIVE, NOT_NEGATIVE, SHARE = more_than(0), at_least(0), between(0, 1)
# A rate of 1 would drop everything, and divide by 0.
DROPOUT = Interval(0, 1, open_most=True)
DECAY = between(0, 1, hint="; a time constant of tau steps is decay 1 - 1/tau, so tau = 2 is 0.5")


def each(bound: Bound, least: int = 0) -> Bound:
    """Return a bound that allows tuples of at least `least` values which `bound` allows."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, tuple | list):
            raise ValueError(f"{name} must be a tuple, got {show_value(value)}.")
        if len(value) < least:
            raise ValueError(f"{name} must have at least {least} value, got {value}.")
        for place, one in enumerate(value):
            bound(f"{name}[{place}]", one)

    return check


def one_of(*words: str) -> Bound:
    """Return a bound that allows these words."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{name} is {value!r}; it can be {', '.join(sorted(words))}.")

    return check


def flag(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is True or False; a `Bound`."""
    # A word such as "false" would count as true.
    if type(value).__name__ not in ("bool", "bool_"):
        raise ValueError(f"{name} must be True or False, got {show_value(value)}.")


def _is_number(value: Any, whole: bool) -> bool:
    """Return whether `value` is a finite or whole number; True and False are not numbers."""
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return False
    try:
        if whole:
            operator.index(value)
            return True
        # `float` also reads words and would accept "0.5".
        return not isinstance(value, str | bytes) and math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_traced(value: Any) -> bool:
    """Return whether `value` is unknown because JAX traces the program that computes it."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)
