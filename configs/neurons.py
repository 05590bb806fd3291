"""The neurons that the configs compare, as `FILE.py:variant`."""

from ml_collections import ConfigDict

# Equal T x D: each sends at most four binary spikes per neuron and sample. With T > 1 the paper's
# equations, and so we, pass the gradient through the reset; see docs/decisions.md.
VARIANTS = {
    "pit": ({"name": "PIT", "levels": 4, "decay": 0.5, "strength": 0.01, "detach_reset": False}, 1),
    "ilif": ({"name": "ILIF", "levels": 4, "decay": 0.5, "detach_reset": False}, 1),
    "lif": ({"name": "LIF", "decay": 0.5, "threshold": 1.0, "detach_reset": False}, 4),
    "relu": ({"name": "ReLU"}, 1),
}


def neuron(variant: str) -> tuple[ConfigDict, int]:
    """The neuron's section of a config and the number of steps T."""
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}.")
    section, num_steps = VARIANTS[variant]
    return ConfigDict(section), num_steps
