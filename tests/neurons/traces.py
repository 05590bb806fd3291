"""Membranes and spikes derived by hand from the papers' equations, for every neuron.

Numbers are exact in binary wherever the equations allow it; the others are written as formulas.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pit_jax.neurons import hard_reset, soft_reset
from pit_jax.neurons.step import clearing_reset


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class Trace:
    """Currents `[T]` or `[T, C]`, and the membranes, counts and output of a neuron at every step.

    Without `params` the neuron initializes its own. `output` is None if it equals `count`.
    Membranes agree exactly, or to `eps` times the machine epsilon of the dtype.
    """

    fields: dict[str, Any]
    current: list
    membrane: list | None
    count: list
    params: dict[str, list] = field(default_factory=dict)
    output: list | None = None
    eps: int = 0


# Logits of GLIF whose sigmoid is exactly 0, 1/2 or 1.
ZERO, HALF, ONE = -1e3, 0.0, 1e3


def glif(conductances: list, **logits: float) -> dict[str, list]:
    """Return GLIF's parameters of one channel; those that are not passed are sigmoid(0) = 1/2."""
    names = ["leak_gate", "input_gate", "reset_gate"]
    names += ["decay_logit", "leak_logit", "reset_logit", "threshold_logit"]
    return {name: [logits.get(name, HALF)] for name in names} | {
        "conductance_logit": [[g] for g in conductances]
    }


# CLIF: the membranes u_1 to u_3 after a spike at step 0; u_2 fires and updates m_2.
U1 = 1.25 - sigmoid(1) / 2
U2 = U1 / 2 + 1.5
M2 = 1 * sigmoid(U1 / 2) * sigmoid(U2 / 2) + 1
U3 = (U2 - 1 - sigmoid(M2)) / 2 + 0.25
# CLIF with tau 4 and threshold 2: both steps fire.
W1 = 0.75 * (1 - sigmoid(1)) + 2
W2 = 0.75 * (W1 - 2 - sigmoid(1 * sigmoid(W1 / 4) + 1))

TRACES = {
    "ReLU": [Trace({}, [-1, 0, 0.5, 2], None, [0, 0, 0.5, 2])],
    "IF": [
        Trace({}, [0.5, 0.75, 0.75, 0.5], [0.5, 1.25, 0.75, 1.25], [0, 1, 0, 1]),
        Trace({"reset": soft_reset}, [0.5, 0.75, 0.75, 0.5], [0.5, 1.25, 1, 0.5], [0, 1, 1, 0]),
        Trace({"threshold": 2.0}, [1, 0.5, 0.5, -3], [1, 1.5, 2, -3], [0, 0, 1, 0]),
    ],
    "LIF": [
        Trace({}, [1.5, 0.25, 1, -1], [1.5, 0.5, 1.25, -0.875], [1, 0, 1, 0]),
        Trace(
            {"threshold": 2.0, "decay": 0.25},
            [3, 1, 2, 0],
            [3, 1.25, 2.3125, 0.078125],
            [1, 0, 1, 0],
        ),
        Trace({"reset": hard_reset}, [1.5, 0.5, 0.75, 1], [1.5, 0.5, 1, 1], [1, 0, 1, 1]),
        Trace(
            {"decay": 0.25, "decay_input": True},
            [4, 0, 2, -1],
            [3, 0.5, 1.625, -0.59375],
            [1, 0, 1, 0],
        ),
    ],
    "PLIF": [
        # u = (v + I) / 2 at the start.
        Trace({}, [1.5, 1, 2.5, -1], [0.75, 0.875, 1.6875, -0.5], [0, 0, 1, 0]),
        # tau = 4: u = 3/4 v + 1/4 I, with sigmoid(-ln 3) for 1/4.
        Trace(
            {"tau": 4.0, "threshold": 0.5, "reset": soft_reset},
            [1, 2, -1, 3],
            [0.25, 0.6875, -0.109375, 0.66796875],
            [0, 1, 0, 1],
            eps=8,
        ),
        Trace({}, [0.75, 1, -2, 3], [0.75, 1, -2, 3], [0, 1, 0, 1], {"w": ONE}),  # No memory.
    ],
    "CLIF": [
        Trace({}, [1.5, 1, 1.5, 0.25], [1.5, U1, U2, U3], [1, 0, 1, 0], eps=8),
        Trace({"tau": 4.0, "threshold": 2.0}, [3, 2, 0], [3, W1, W2], [1, 1, 0], eps=8),
    ],
    "GLIF": [
        # All gates half open: u' = 3/4 u (1 - s/2) - 1/4 + 3/4 I - s/4.
        Trace(
            {},
            [2, 1, -1, 3],
            [1.25, 0.71875, -0.98046875, 1.2646484375],
            [1, 1, 0, 1],
            glif([HALF] * 4),
        ),
        # Gates at 1: u' = u/2 (1 - s) + conductance * I.
        Trace(
            {},
            [0.75, 1, 8, 2],
            [0.375, 1.1875, 0, 1],
            [0, 1, 0, 1],
            glif([HALF, ONE, ZERO, HALF], leak_gate=ONE, input_gate=ONE, reset_gate=ONE),
        ),
        # Gates at 0: u' = u - 1/2 + I - s/2.
        Trace(
            {},
            [1.75, 0.5, 0.25, 1.5],
            [1.25, 0.75, 0, 1],
            [1, 1, 0, 1],
            glif([ZERO] * 4, leak_gate=ZERO, input_gate=ZERO, reset_gate=ZERO),
        ),
    ],
    "ILIF": [
        Trace({"levels": 4}, [2.5, 1, 6, -2], [2.5, 0.75, 5.875, -1.0625], [3, 1, 4, 0]),
        Trace(
            {"levels": 2, "decay_input": True},
            [3, 5, -4, 2],
            [1.5, 2.25, -1.875, 0.0625],
            [2, 2, 0, 0],
        ),
        # The reset uses the integer, the output is a quarter of it.
        Trace(
            {"normalize": True},
            [2.5, 1, 6, -2],
            [2.5, 0.75, 5.875, -1.0625],
            [3, 1, 4, 0],
            output=[0.75, 0.25, 1, 0],
        ),
        Trace(
            {"normalize": True, "decay": 0.0, "levels": 2},
            [2.5, 1, 0.25, -2],
            [2.5, 1, 0.25, -2],
            [2, 1, 0, 0],
            output=[1, 0.5, 0, 0],
        ),
    ],
    "PIT": [
        Trace(
            {"levels": 4},
            [1.25, 3.125, 6, -1],
            [1.25, 3, 5.5, -0.25],
            [3, 2, 4, 0],
            {"a": [[0.5], [2], [1], [0.25]]},
            output=[1.5, 4, 4, 0],
        ),
        Trace(
            {"levels": 1, "decay": 0.25, "decay_input": True},
            [2, 0, 1, -1],
            [1.5, 0.125, 0.78125, -0.6796875],
            [1, 0, 1, 0],
            {"a": [[1], [1], [0.5], [0.5]]},
            output=[1, 0, 0.5, 0],
        ),
        # Every spike resets the membrane to 0.
        Trace(
            {"reset": clearing_reset},
            [1.25, 0.125, 0.5, -1],
            [1.25, 0.125, 0.5625, -1],
            [3, 0, 1, 0],
            {"a": [[0.5]] * 4},
            output=[1.5, 0, 0.5, 0],
        ),
    ],
    "PITFull": [
        # One channel has nothing to mix with; the diagonal of mixing is not used.
        Trace(
            {"levels": 4},
            [1.25, 3.125, 6, -1],
            [1.25, 3, 5.5, -0.25],
            [3, 2, 4, 0],
            {"a": [[0.5], [2], [1], [0.25]], "mixing": [[[9]], [[9]], [[9]], [[9]]]},
            output=[1.5, 4, 4, 0],
        ),
        # A_0 = [1 -1; 1/2 3/2] with the inverse [3/4 1/2; -1/4 1/2]: A_0^-1 u_0 = (3 1/4, 1/4).
        # A_1 = [2 1; -2 0] with the inverse [0 -1/2; 1 1]: A_1^-1 u_1 = (1 3/8, 3/4).
        Trace(
            {},
            [[3, 2], [3.5, -3]],
            [[3, 2], [3.5, -2.75]],
            [[3, 0], [1, 1]],
            {"a": [[1, 2], [2, 1]], "mixing": [[[9, -1], [0.5, 9]], [[0, 0.5], [-1, 0]]]},
            output=[[3, 1.5], [3, -2]],
        ),
    ],
    "RealSpike": [
        Trace({}, [0.5, 0.75, 0.75, 0.5], [0.5, 1.25, 0.75, 1.25], [0, 1, 0, 1]),
        # The membrane does not depend on the amplitude.
        Trace(
            {"reset": soft_reset},
            [0.5, 0.75, 0.75, 0.5],
            [0.5, 1.25, 1, 0.5],
            [0, 1, 1, 0],
            {"amplitude": [0.25]},
            output=[0, 0.25, 0.25, 0],
        ),
    ],
    "Ternary": [
        # It fires from half of the threshold on, for either sign.
        Trace({}, [0.5, -0.5, 0.25, 0.5], [0.5, -0.5, 0.25, 0.5625], [1, -1, 0, 1]),
        Trace(
            {"threshold": 2.0, "decay": 0.5},
            [-0.75, 1.5, -0.5, -2],
            [-0.75, 1.125, -0.5, -2.25],
            [0, 1, 0, -1],
        ),
    ],
    "TrainableTernary": [
        Trace({}, [0.5, -0.5, 0.25, 0.5], [0.5, -0.5, 0.25, 0.5625], [1, -1, 0, 1]),
        # The reset does not depend on the amplitude.
        Trace(
            {"threshold": 2.0, "decay": 0.5},
            [-0.75, 1.5, -0.5, -2],
            [-0.75, 1.125, -0.5, -2.25],
            [0, 1, 0, -1],
            {"alpha": 0.75},
            output=[0, 0.75, 0, -0.75],
        ),
    ],
    "QAT": [
        # x / a = 5/2, 5/4, -2 and 18.
        Trace(
            {"levels": 4},
            [1.25, 0.625, -1, 9],
            [1.25, 0.625, -1, 9],
            [3, 1, 0, 4],
            {"a": [0.5]},
            output=[1.5, 0.5, 0, 2],
        ),
    ],
    "QBLIF": [
        # All share one scale: u / a = 5/2, 5/4, 49/8, -15/16 and 1, 0, -2, 3.
        Trace(
            {"levels": 4},
            [[1.25, 0.5], [0.75, 0], [3, -1], [-1, 2]],
            [[1.25, 0.5], [0.625, 0], [3.0625, -1], [-0.46875, 1.5]],
            [[3, 1], [1, 0], [4, 0], [0, 3]],
            {"a": [0.5]},
            output=[[1.5, 0.5], [0.5, 0], [2, 0], [0, 1.5]],
        ),
        Trace(
            {"levels": 1, "decay": 0.25, "decay_input": True},
            [2, 0, 1, -1],
            [1.5, 0.125, 0.78125, -0.8046875],
            [1, 0, 1, 0],
            {"a": [1]},
        ),
        # The scale starts as the currents of all channels and steps have it: 2 mean |I| / sqrt(D).
        Trace(
            {"levels": 4},
            [[1, 3], [0, -4]],
            [[1, 3], [-0.5, -4.5]],
            [[1, 2], [0, 0]],
            output=[[2, 4], [0, 0]],
        ),
    ],
}
