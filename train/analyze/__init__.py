"""The analyses of a trained run, a file for each; `train.analyze` writes what they give."""

from importlib import import_module
from types import ModuleType

# A file of this folder for each, in the order of the page, and what it tells of a run.
ANALYSES = {
    "learning": "loss and accuracy over the epochs, and how soon another run's end is reached",
    "rates": "firing rates, integers, dead and saturated channels, synchrony",
    "scales": "the learned scales of PIT at the start and now",
    "membranes": "the density of the membranes over the time steps",
    "quantization": "binary, min-max and 3-sigma ranges on the membranes",
    "information": "what a spike still tells of its membrane",
    "capacity": "how many spike trains and values a layer can send",
    "energy": "operations, memory traffic and energy, beside the same network with activations",
    "memory": "what a training step keeps in memory",
    "landscape": "the loss around the weights",
    "oscillation": "how often an integer changes from step to step of training, and in time",
}


def load_analysis(name: str) -> ModuleType:
    """Return the module of an analysis; it has `analyze` and, for several runs, `compare`."""
    return import_module(f"{__name__}.{name}")
