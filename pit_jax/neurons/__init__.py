"""Spiking neurons as Flax modules, `[B, T, ..., C]` to the same shape; `NEURONS` has them by name.

IF, LIF, PLIF: binary.py      ILIF, QAT: integer.py      Ternary, TrainableTernary: ternary.py
PIT: pit.py, its scale: scale.py, with a full matrix (PITFull): pit_full.py
CLIF: clif.py    GLIF: glif.py    RealSpike: real_spike.py    ReLU: relu.py    MPBN: mpbn.py
Start at step.py: the update equations of all neurons, and PIT's gradient (`_pit_fire_backward`).
scan.py runs them over time; probe.py records membranes, counts and rates.
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
