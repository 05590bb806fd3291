"""Spiking neurons as Flax modules, `[B, T, ..., C]` to the same shape; `NEURONS` has them by name.

IF, LIF, PLIF, RealSpike: binary.py     ILIF, QAT, QBLIF: integer.py     CLIF: clif.py
PIT: pit.py, its scale: scale.py, with a full matrix (PITFull): pit_full.py
Ternary, TrainableTernary: ternary.py     GLIF: glif.py     ReLU: relu.py     MPBN: mpbn.py
Start at step.py: the update equations of all neurons, and PIT's gradient (`_pit_fire_backward`).
over_time.py and scan.py run them over time; probe.py records membranes, counts and rates.

A call starts at rest and returns spikes. With `return_state=True` it returns `(spikes, state)`, and
`initial_state=state` continues from there: state.py, docs/guide/streaming.md.
"""

from pit_jax.neurons.binary import IF, LIF, PLIF, RealSpike
from pit_jax.neurons.clif import CLIF
from pit_jax.neurons.glif import GLIF
from pit_jax.neurons.integer import ILIF, QAT, QBLIF
from pit_jax.neurons.pit import PIT
from pit_jax.neurons.pit_full import PITFull
from pit_jax.neurons.relu import ReLU
from pit_jax.neurons.state import MembraneState, apply_with_states
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
        QBLIF,
    )
}
"""The neurons by name, as `config.neuron.name` gives them."""

__all__ = [
    "CLIF",
    "GLIF",
    "IF",
    "ILIF",
    "LIF",
    "MembraneState",
    "NEURONS",
    "PIT",
    "PITFull",
    "PLIF",
    "QAT",
    "QBLIF",
    "ReLU",
    "RealSpike",
    "Ternary",
    "TrainableTernary",
    "apply_with_states",
    "charge",
    "fire",
    "hard_reset",
    "pit_count",
    "pit_fire",
    "soft_reset",
]

serve_old_names(__name__)
