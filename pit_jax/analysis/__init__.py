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
