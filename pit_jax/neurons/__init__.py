"""Spiking neurons as Flax modules, `[B, T, ..., C]` to the same shape, and their update equations.

`NEURONS` holds every module by its name, for configs and for tests that run over all of them.
"""

from pit_jax.neurons.binary import IF, LIF
from pit_jax.neurons.integer import ILIF
from pit_jax.neurons.pit import PIT
from pit_jax.neurons.relu import ReLU
from pit_jax.neurons.step import charge, fire, hard_reset, pit_count, pit_fire, soft_reset

NEURONS = {neuron.__name__: neuron for neuron in (ReLU, IF, LIF, ILIF, PIT)}

__all__ = [
    "IF",
    "ILIF",
    "LIF",
    "NEURONS",
    "PIT",
    "ReLU",
    "charge",
    "fire",
    "hard_reset",
    "pit_count",
    "pit_fire",
    "soft_reset",
]
