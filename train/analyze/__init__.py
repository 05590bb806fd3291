"""Analyses of a trained run, one file each: python -m train.analyze RUN

Each file has `analyze` and, to compare several runs, `compare`. Start at `subject.py`, which has
the run that an analysis reads and the result that it returns; `output.py` writes results, and
`__main__.py` is the command. Measures and formulas are in `pit_jax.analysis`.
"""

from importlib import import_module
from types import ModuleType

from ..config.arguments import ANALYSES

__all__ = ["ANALYSES", "load_analysis"]


def load_analysis(name: str) -> ModuleType:
    """Return the module of an analysis, which has `analyze` and often `compare`."""
    return import_module(f"{__name__}.{name}")
