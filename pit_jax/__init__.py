"""Spiking neurons that fire integers through a learned, invertible scale (PIT, ICLR 2026).

The networks in `models` are built from `neurons` (with `surrogate` and `initializers`) and
`layers`. `analysis` measures trained networks, `plots` draws spikes, membranes and events,
`inference` compiles networks to integer programs, and `export` writes these for other tools.
`interop` reads PyTorch weights, and `events` reads recordings of event cameras. `run` opens the
folder of a trained run (`open_run`), and `examples` has a trained network.
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
    from pit_jax import (
        analysis,
        events,
        examples,
        export,
        inference,
        initializers,
        interop,
        layers,
        models,
        neurons,
        surrogate,
        tuning,
    )
    from pit_jax import plots as plots
    from pit_jax import run as run
    from pit_jax.models import create
    from pit_jax.neurons import ILIF, LIF, PIT
    from pit_jax.run import open_run

__version__ = "0.1.0"

__all__ = [
    "ILIF",
    "LIF",
    "PIT",
    "analysis",
    "create",
    "events",
    "examples",
    "export",
    "inference",
    "initializers",
    "interop",
    "layers",
    "models",
    "neurons",
    "open_run",
    "surrogate",
    "tune_runtime",
    "tuning",
    "__version__",
]

# `import *` skips these: one needs matplotlib, and the other has the name of many variables.
_MORE = ("plots", "run")
# The module of each name that is not a module itself.
_PLACES = {
    "ILIF": "neurons",
    "LIF": "neurons",
    "PIT": "neurons",
    "create": "models",
    "open_run": "run",
}


def _import_lazily(name: str) -> Any:
    """Import a public name on first use, so that `pit-jax --help` does not wait for JAX."""
    if name not in (*__all__, *_MORE):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_PLACES.get(name, name)}")
    return getattr(module, name) if name in _PLACES else module


def __dir__() -> list[str]:
    # Without the names that this module imports, for completion in a REPL.
    return sorted({*__all__, *_MORE, *(name for name in globals() if name.startswith("__"))})


serve_old_names(__name__, _import_lazily)
