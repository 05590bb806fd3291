"""The paper's analyses, as functions to call on any network; `plots` has their figures."""

from pit_jax.analysis import (
    capacity,
    energy,
    information,
    landscape,
    learning,
    membrane,
    memory,
    oscillation,
    quantization,
    rates,
    scales,
)
from pit_jax.old_names import serve_old_names

__all__ = [
    "capacity",
    "energy",
    "information",
    "landscape",
    "learning",
    "membrane",
    "memory",
    "oscillation",
    "quantization",
    "rates",
    "scales",
]

serve_old_names(__name__)
