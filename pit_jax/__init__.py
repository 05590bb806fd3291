"""Spiking neurons that fire integers through a learned, invertible scale (PIT, ICLR 2026).

`neurons` (with `surrogate` and `initializers`) and `layers` are what the networks in `models` are
built from; `analysis` measures trained networks, `inference` compiles them to integer programs,
`export` writes these programs for other tools, `interop` reads PyTorch weights, and `events` reads
recordings of event cameras.
Training (loop, learning rate schedule, checkpoints) is in `train/`, `pit_jax.train` in a wheel.
Arrays are batch-major: `B T H W C` are batch, time step, height, width and channel. Membranes
have the unit of the input current.
"""

from pit_jax.tuning import is_program, restart_tuned, tune_runtime

if is_program():
    restart_tuned()  # First: what a program has imported before, it imports twice.
    from pit_jax.signals import begin_program

    begin_program()  # Before the other imports, because those of a program take seconds.

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pit_jax.old_names import serve_old_names

if TYPE_CHECKING:
    from pit_jax import initializers, interop, layers, models, neurons, surrogate, tuning

__version__ = "0.1.0"

__all__ = [
    "initializers",
    "interop",
    "layers",
    "models",
    "neurons",
    "surrogate",
    "tune_runtime",
    "tuning",
    "__version__",
]


def _import_lazily(name: str) -> Any:
    """Import a public module on first use, so that `pit-jax --help` does not wait for JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


serve_old_names(__name__, _import_lazily)
