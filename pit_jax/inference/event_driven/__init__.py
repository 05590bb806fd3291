"""Run programs on a CPU in compiled loops, without JAX, in a time that depends on the spikes.

runtime = program.event_driven()
logits = runtime(x)

Start at runtime.py. assemble.py turns nodes into a tape of the instructions in instructions.py.
interpreter.py runs it with convolution.py, pooling.py, neurons.py and the inner loops of simd.py.
crossover.py decides from the measurements of measure.py which layers add all inputs. jit.py
compiles the functions.
"""

try:
    import numba  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the event-driven runtime needs numba: pip install 'pit-jax[event-driven]'."
    ) from error

from pit_jax.inference.event_driven.crossover import (
    Crossover,
    all_dense,
    all_event_driven,
    load_crossover,
    look_up_crossover,
)
from pit_jax.inference.event_driven.runtime import EventDriven
from pit_jax.old_names import serve_old_names

__all__ = [
    "Crossover",
    "EventDriven",
    "all_dense",
    "all_event_driven",
    "load_crossover",
    "look_up_crossover",
]

serve_old_names(__name__)
