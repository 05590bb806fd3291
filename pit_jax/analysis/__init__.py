"""The paper's analyses as functions of any network; `plots` draws their results.

Start at recorder.py: it records the membranes, counts and spikes of every neuron layer, which most
analyses read. jackknife.py and entropy.py have shared statistics. `python -m train.analyze` runs
all analyses on a trained network.
"""

from pit_jax.analysis import (
    capacity,
    energy,
    information,
    landscape,
    learning,
    levels,
    membrane,
    memory,
    oscillation,
    quantization,
    rates,
    scales,
)
from pit_jax.analysis.rescaling.calibration import calibrate
from pit_jax.analysis.rescaling.ilif import to_ilif
from pit_jax.old_names import serve_old_names

__all__ = [
    "calibrate",
    "capacity",
    "energy",
    "information",
    "landscape",
    "learning",
    "levels",
    "membrane",
    "memory",
    "oscillation",
    "quantization",
    "rates",
    "scales",
    "to_ilif",
]

serve_old_names(__name__)
