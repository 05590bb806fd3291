"""The analyses of a trained run, a file for each; `train.analyze` writes what they give."""

from importlib import import_module
from types import ModuleType

from ..config.arguments import ANALYSES

__all__ = ["ANALYSES", "by_name"]


def by_name(name: str) -> ModuleType:
    """The file of an analysis, with its `analyze` of a run and, of some, `compare` of several."""
    return import_module(f"{__name__}.{name}")
