"""The analyses of a trained run, a file for each; `train.analyze` writes what they give."""

from importlib import import_module
from types import ModuleType

from ..config.arguments import ANALYSES

__all__ = ["ANALYSES", "by_name"]


def load_analysis(name: str) -> ModuleType:
    """Return the module of an analysis; it has `analyze` and, for several runs, `compare`."""
    return import_module(f"{__name__}.{name}")
