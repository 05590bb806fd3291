"""The neurons that the configs compare, as `FILE.py:variant`.

PIT comes in three readings: `paper` follows the paper's equations, `released` the authors' code,
and `ours` is what worked best here (docs/theory/paper_vs_code.md compares them).
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

PAPER = {"name": "PIT", "levels": 4, "decay": 0.5, "strength": 0.01, "detach_reset": False}
RELEASED = PAPER | {"decay_input": True, "scale_init": "released", "parametrize": "released"}
OURS = PAPER | {"scale_init": "lsq", "detach_reset": True}

# For each variant: section of the config, number of steps T, meaning. T x D is 4 for all spiking
# neurons: each sends at most four binary spikes per sample. Keys that a variant does not set keep
# the neuron's defaults, the published form. If `detach_reset` is False the gradient passes through
# the reset, as in the paper's equations, which matters for T > 1; see docs/theory/decisions.md.
NEURONS: dict[str, tuple[dict[str, Any], int, str]] = {
    "ours": (OURS, 1, "PIT with the scale initialized as in LSQ and the reset detached"),
    "paper": (PAPER, 1, "PIT as the paper prints it: initial scale of Eq. 12, gradient of Eq. 32"),
    "released": (
        RELEASED,
        1,
        "PIT as in the authors' code: weighted input, scale from the variance, one learned factor",
    ),
    "pit": (PAPER, 1, "the same as paper"),
    "pit_full": (
        {"name": "PITFull", "levels": 4, "decay": 0.5, "detach_reset": False},
        1,
        "PIT with a full matrix instead of a scale per channel (Appendix F)",
    ),
    "ilif": (
        {"name": "ILIF", "levels": 4, "decay": 0.5, "detach_reset": False},
        1,
        "I-LIF: integer spikes without a learned scale",
    ),
    "qat": ({"name": "QAT", "levels": 4}, 1, "a quantized ReLU with a learned scale, no membrane"),
    "qb_lif": (
        {"name": "QBLIF", "levels": 4, "decay": 0.5, "detach_reset": True},
        1,
        "QB-LIF in our reading: integer spikes with one learned scale per layer",
    ),
    "relu": ({"name": "ReLU"}, 1, "no spikes: the network with ReLU"),
    "lif": (
        {"name": "LIF", "decay": 0.5, "threshold": 1.0, "detach_reset": False},
        4,
        "leaky integrate-and-fire, binary spikes",
    ),
    "if": (
        {"name": "IF", "threshold": 1.0, "detach_reset": True},
        4,
        "integrate-and-fire as in SEW ResNet",
    ),
    "plif": (
        {"name": "PLIF", "tau": 2.0, "threshold": 1.0, "detach_reset": True},
        4,
        "LIF with a learned decay",
    ),
    "clif": (
        {"name": "CLIF", "tau": 2.0, "threshold": 1.0, "detach_reset": False},
        4,
        "LIF with a complementary potential",
    ),
    "glif": ({"name": "GLIF"}, 4, "LIF with learned gates"),
    "real_spike": (
        {"name": "RealSpike", "threshold": 1.0, "detach_reset": True},
        4,
        "binary spikes with a learned amplitude per channel",
    ),
    "ternary": (
        {"name": "Ternary", "decay": 0.25, "detach_reset": False},
        4,
        "spikes -1, 0 and 1",
    ),
    "trainable_ternary": (
        {"name": "TrainableTernary", "decay": 0.25, "detach_reset": False},
        4,
        "spikes -1, 0 and 1 with a learned amplitude",
    ),
}
# The VARIANTS of configs without further ones, in the order of `--help`.
MEANINGS = {name: meaning for name, (_, _, meaning) in NEURONS.items()}


def neuron(variant: str, recipes: Mapping[str, str] | None = None) -> tuple[ConfigDict, int]:
    """Return the `neuron` section of a config and the number of steps T.

    `recipes` maps additional variants of a file to the neurons that they use. Raises ValueError,
    listing all variants, for an unknown one.
    """
    known = {name: name for name in NEURONS} | dict(recipes or {})
    if variant not in known:
        raise ValueError(f"there is no variant {variant!r}; choose one of {', '.join(known)}.")
    section, num_steps, _ = NEURONS[known[variant]]
    return ConfigDict(section), num_steps
