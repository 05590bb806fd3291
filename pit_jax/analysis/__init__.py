"""The paper's analyses, as functions to call on any network; `plots` has their figures.

Start at recorder.py, which records membranes, counts and spikes of every neuron layer; most
analyses read these. jackknife.py and entropy.py have the statistics that analyses share.
`python -m train.analyze` runs all analyses on a trained run.
"""

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
