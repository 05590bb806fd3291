"""Analyses of a trained run, one file each: python -m train.analyze RUN

Each file has `analyze` and, for several runs, `compare`. Start at `subject.py`: the run that an
analysis reads and the result that it returns; `output.py` writes results, `__main__.py` is the
command. The measures and formulas are in `pit_jax.analysis`.
"""

from importlib import import_module
from types import ModuleType

from ..config.arguments import ANALYSES

__all__ = ["ANALYSES", "load_analysis"]


def load_analysis(name: str) -> ModuleType:
    """Return the module of an analysis; it has `analyze` and, for several runs, `compare`."""
    return import_module(f"{__name__}.{name}")
