"""Spiking neurons as Flax modules, `[B, T, ..., C]` to the same shape, and their update equations.

`NEURONS` holds every module by its name, for configs and for tests that run over all of them.
"""

from pit_jax.neurons.binary import IF, LIF, PLIF
from pit_jax.neurons.clif import CLIF
from pit_jax.neurons.glif import GLIF
from pit_jax.neurons.integer import ILIF, QAT
from pit_jax.neurons.pit import PIT
from pit_jax.neurons.pit_full import PITFull
from pit_jax.neurons.real_spike import RealSpike
from pit_jax.neurons.relu import ReLU
from pit_jax.neurons.step import charge, fire, hard_reset, pit_count, pit_fire, soft_reset
from pit_jax.neurons.ternary import Ternary, TrainableTernary
from pit_jax.old_names import serve_old_names

NEURONS = {
    neuron.__name__: neuron
    for neuron in (
        ReLU,
        IF,
        LIF,
        PLIF,
        CLIF,
        GLIF,
        ILIF,
        PIT,
        PITFull,
        RealSpike,
        Ternary,
        TrainableTernary,
        QAT,
    )
}

__all__ = [
    "CLIF",
    "GLIF",
    "IF",
    "ILIF",
    "LIF",
    "NEURONS",
    "PIT",
    "PITFull",
    "PLIF",
    "QAT",
    "ReLU",
    "RealSpike",
    "Ternary",
    "TrainableTernary",
    "charge",
    "fire",
    "hard_reset",
    "pit_count",
    "pit_fire",
    "soft_reset",
]

serve_old_names(__name__)
