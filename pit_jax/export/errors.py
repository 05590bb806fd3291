"""What an export refuses, and packages that are not installed."""

from importlib import import_module
from types import ModuleType


class NotInNIR(ValueError):
    """A part of a program or a graph that has no exact counterpart on the other side."""


def import_extra(package: str, extra: str, task: str) -> ModuleType:
    """Import a package of an extra of pit-jax; without it, say how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} is needed to {task}; it is in the extra `{extra}`: "
            f"pip install 'pit-jax[{extra}]'."
        ) from error
