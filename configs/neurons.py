"""The neurons that the configs compare, as `FILE.py:variant`."""

from collections.abc import Mapping

from ml_collections import ConfigDict

# Equal T x D: each sends at most four binary spikes per neuron and sample. With T > 1 the paper's
# equations, and so we, pass the gradient through the reset; see docs/theory/decisions.md. What a
# variant leaves out is its neuron's default: the published form, see its docstring.
VARIANTS = {
    "pit": ({"name": "PIT", "levels": 4, "decay": 0.5, "strength": 0.01, "detach_reset": False}, 1),
    "ilif": ({"name": "ILIF", "levels": 4, "decay": 0.5, "detach_reset": False}, 1),
    "lif": ({"name": "LIF", "decay": 0.5, "threshold": 1.0, "detach_reset": False}, 4),
    "relu": ({"name": "ReLU"}, 1),
    "pit_full": ({"name": "PITFull", "levels": 4, "decay": 0.5, "detach_reset": False}, 1),
    "qat": ({"name": "QAT", "levels": 4}, 1),
    "if": ({"name": "IF", "threshold": 1.0, "detach_reset": True}, 4),
    "plif": ({"name": "PLIF", "tau": 2.0, "threshold": 1.0, "detach_reset": True}, 4),
    "clif": ({"name": "CLIF", "tau": 2.0, "threshold": 1.0, "detach_reset": False}, 4),
    "glif": ({"name": "GLIF"}, 4),
    "real_spike": ({"name": "RealSpike", "threshold": 1.0, "detach_reset": True}, 4),
    "ternary": ({"name": "Ternary", "decay": 0.25, "detach_reset": False}, 4),
    "trainable_ternary": (
        {"name": "TrainableTernary", "decay": 0.25, "detach_reset": False},
        4,
    ),
}


def neuron(variant: str, recipes: Mapping[str, str] | None = None) -> tuple[ConfigDict, int]:
    """The neuron's section of a config and the number of steps T.

    `recipes` are variants that a file has beside these, each with the one of these that it uses.
    """
    known = {name: name for name in VARIANTS} | dict(recipes or {})
    if variant not in known:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(known)}.")
    section, num_steps = VARIANTS[known[variant]]
    return ConfigDict(section), num_steps
