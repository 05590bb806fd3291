"""The callable with which a network makes its neurons."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pit_jax.display import show_value

EXAMPLE = "functools.partial(LIF, decay=0.5)"
# Modules of these packages compute, but none of them is a neuron.
OTHERS = ("flax.", "pit_jax.models", "pit_jax.layers")


# Equal if made from the same function: networks are static arguments of `jit`.
@dataclass(frozen=True)
class NeuronMaker:
    """A function that makes neurons; what it returns is checked whenever a network calls it."""

    name: str
    function: Callable[[], Any]

    def __call__(self) -> Any:
        """Return a neuron; raise ValueError for a class, and for what cannot be called."""
        made = inner = self.function()
        while isinstance(inner, partial):
            inner = inner.func
        if callable(made) and not inspect.isclass(inner):
            return made
        found, hint = show_value(made), ""
        if inspect.isclass(inner):
            found = f"{'the class' if made is inner else 'a partial of'} {inner.__name__}"
            hint = f"; return a neuron, {inner.__name__}(...)"
        raise ValueError(
            f"{_say_what_is_wanted(self.name)}, such as {EXAMPLE}, but {_describe(self.function)} "
            f"returned {found}{hint}."
        )


def _say_what_is_wanted(name: str) -> str:
    return f"{name} must be a function without arguments that makes a neuron"


def check_neuron(name: str, value: Any) -> Any:
    """Return a callable that makes a neuron when it is called without arguments; a `Bound`.

    Raises ValueError for anything else. It calls nothing, because a module that is made inside
    another one becomes a part of it: a function is returned as a `NeuronMaker`.
    """
    import flax.linen as nn

    if isinstance(value, NeuronMaker):
        return value
    wanted = _say_what_is_wanted(name)
    if isinstance(value, nn.Module):
        kind = type(value).__name__
        raise ValueError(
            f"{wanted}, such as {EXAMPLE}, got an instance of a neuron, {kind}(...); "
            f"pass {kind}, or partial({kind}, ...) with its arguments."
        )
    if isinstance(value, str):
        raise ValueError(f"{wanted}, got {value!r}; pass pit_jax.neurons.NEURONS[{value!r}].")
    made = value
    while isinstance(made, partial):
        made = made.func
    is_class = inspect.isclass(made)
    if not callable(value) or (is_class and not issubclass(made, nn.Module)):
        raise ValueError(f"{wanted}, such as {EXAMPLE}, got {_describe(value)}.")
    if is_class and f"{made.__module__}.".startswith(OTHERS):
        raise ValueError(
            f"{wanted}, such as {EXAMPLE}, got {made.__name__}, which is a layer without a neuron."
        )
    hint = "" if is_class else "; to use a function of the currents, pass lambda: function"
    # The signature of a partial hides which of its arguments is wrong.
    called = value if isinstance(value, partial) else partial(value)
    try:
        inspect.signature(called.func).bind(*called.args, **called.keywords)
    except TypeError as error:
        raise ValueError(
            f"{wanted}, such as {EXAMPLE}, got {_describe(value)}, which cannot be called so "
            f"({error}){hint}."
        ) from error
    except ValueError:
        pass  # Some callables have no signature.
    return value if is_class else NeuronMaker(name, value)


def _describe(value: Any) -> str:
    return getattr(value, "__qualname__", None) or repr(value)[:60]


def check_optional_neuron(name: str, value: Any) -> Any:
    """Return None, or what `check_neuron` returns; a `Bound`."""
    return None if value is None else check_neuron(name, value)
