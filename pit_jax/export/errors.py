"""Errors of exports: parts without a counterpart in NIR, and missing packages."""

from importlib import import_module
from types import ModuleType

from pit_jax.reading import FileError


class NotInNIR(FileError):
    """A part of a program has no exact counterpart in NIR, or a NIR node none in our networks."""


def import_extra(package: str, extra: str, task: str) -> ModuleType:
    """Import a package of an optional extra; if it is missing, the error says how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} is needed to {task}; it is in the extra `{extra}`: "
            f"pip install 'pit-jax[{extra}]'."
        ) from error
