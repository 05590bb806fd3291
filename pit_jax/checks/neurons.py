"""The callable with which a network makes its neurons."""

import inspect
from functools import partial
from typing import Any

EXAMPLE = "functools.partial(LIF, decay=0.5)"
# Modules of these packages compute, but none of them is a neuron.
OTHERS = ("flax.", "pit_jax.models", "pit_jax.layers")


def check_neuron(name: str, value: Any) -> None:
    """Raise ValueError unless `value` makes a neuron when it is called without arguments.

    A `Bound`. It calls nothing, because a module that is made inside another one becomes a part
    of it.
    """
    import flax.linen as nn

    wanted = f"{name} must be a function without arguments that makes a neuron"
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


def _describe(value: Any) -> str:
    return getattr(value, "__qualname__", None) or repr(value)[:60]


def check_optional_neuron(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is None or makes a neuron; a `Bound`."""
    if value is not None:
        check_neuron(name, value)
