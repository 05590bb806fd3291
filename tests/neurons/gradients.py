"""Gradients over two or three steps, derived by hand for every neuron."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pit_jax.neurons import hard_reset
from pit_jax.neurons.step import clearing_reset
from tests.neurons.traces import HALF, glif, sigmoid


@dataclass(frozen=True)
class Gradient:
    """The gradient of 3 s_0 + 5 s_1 + 7 s_2 for the currents, through the reset and detached.

    `grad_params` are the gradients for the parameters, with the default `detach_reset`.
    """

    fields: dict[str, Any]
    current: list
    through_reset: list
    detached: list | None = None
    params: dict[str, list] = field(default_factory=dict)
    grad_params: dict[str, Any] = field(default_factory=dict)


H = 1 / (1 + (np.pi / 4) ** 2)  # The arctangent surrogate at a distance of 1/4 from the threshold.

# PIT with a = 1 and 2, strength 1/2; u_0 / a = 5/4 and u_1 / a = 17/16, factors 9/8 and 33/32.
TWO_SCALES = Gradient(
    {"strength": 0.5},
    [1.25, 2],
    [3 * 9 / 8 + 5 * 33 / 32 * (1 - 9 / 8) / 2, 5 * 33 / 32],
    [3 * 9 / 8 + 5 * 33 / 32 / 2, 5 * 33 / 32],
    {"a": [[1], [2]]},
    # Eq. 32 is -1/4 and -1/16; s_0 also changes u_1, through the reset.
    {"a": [[3 * (-1 / 4) + 5 * 33 / 32 * (1 / 4) / 2], [5 * (-1 / 16)]]},
)

# Ternary with decay 1/4: a spike leaves dv/du = -u sign(s), or 0 when detached.
TERNARY = [
    Gradient({}, [0.75, 0.5], [3 + 5 / 4 * -0.75, 5], [3, 5]),
    Gradient({}, [-0.75, 0.25], [3 + 5 / 4 * -0.75, 5], [3, 5]),
    Gradient({}, [0.25, 2], [3, 0], [3, 0]),  # u_1 is outside of the surrogate's support.
    Gradient({}, [0.25, -0.5], [3 + 5 / 4, 5], [3 + 5 / 4, 5]),  # s_0 = 0: |s| has slope 0.
    # With a threshold of 2 the slope is 1/2.
    Gradient({"threshold": 2.0}, [1.5, 0.5], [1.5 + 2.5 / 4 * -0.75, 2.5], [1.5, 2.5]),
]

# CLIF. u_0 and u_1 fire outside of the surrogate's support; v_1 depends on u_1 through
# m_1 = sigmoid(u_1 / 2) + 1.
C1 = 3 - sigmoid(1) / 2
M1 = sigmoid(C1 / 2) + 1
DV1 = 1 - sigmoid(M1) * sigmoid(-M1) * sigmoid(C1 / 2) * sigmoid(-C1 / 2) / 2

# GLIF with all gates half open: u_0 = 11/16 fires, u_1 = 65/128 fires, both under the rectangle.
U0 = 0.6875
DU1_DS0 = -0.75 * U0 * 0.5 - 0.25
G0 = 3 + 5 * (0.75 * 0.5 + DU1_DS0)  # The gradient for u_0; it is 5 for u_1.

GRADIENTS = {
    "ReLU": [Gradient({}, [-1, 2], [0, 5])],
    "IF": [
        # s_0 = 0 and s_1 = 1, u - 1 = -1/4 and 1/4; dv_0/du_0 = 1 - s_0 - u_0 h, or 1 - s_0.
        Gradient({}, [0.75, 0.5], [3 * H + 5 * H * (1 - 0.75 * H), 5 * H], [8 * H, 5 * H]),
        # s_0 = 1, u_0 = 5/4, u_1 = 3/4: u_0 changes u_1 through s_0 in the reset only.
        Gradient({}, [1.25, 0.75], [3 * H - 5 * H * 1.25 * H, 5 * H], [3 * H, 5 * H]),
    ],
    "LIF": [
        # u - 2 = -1/4 and 3/8, both under the rectangle; dv_0/du_0 = 1 - 2, or 1.
        Gradient({"threshold": 2.0}, [1.75, 1.5], [3 - 5 / 2, 5], [3 + 5 / 2, 5]),
        # dv_0/du_0 = 1 - s_0 - u_0 = -3/4.
        Gradient({"threshold": 2.0, "reset": hard_reset}, [1.75, 1.5], [3 - 15 / 8, 5], [5.5, 5]),
        # Currents enter times 3/4: u = 3/2 and (3/2 - 1) / 4 + 3/4 = 7/8, both in the support.
        Gradient(
            {"decay": 0.25, "decay_input": True},
            [2, 1],
            [(3 + 5 / 4 * (1 - 1)) * 3 / 4, 15 / 4],
            [(3 + 5 / 4) * 3 / 4, 15 / 4],
        ),
        # u_0 = 3 is outside of the rectangle.
        Gradient({}, [3, 0.25], [5 / 2, 5], [5 / 2, 5]),
    ],
    "PLIF": [
        # u_0 = 3/4 and u_1 = 5/4: s_0 = 0, s_1 = 1; dv_0/du_0 = 1 - u_0 h, or 1.
        Gradient(
            {},
            [1.5, 1.75],
            [(3 * H + 5 * H * (1 - 0.75 * H) / 2) / 2, 5 * H / 2],
            [(3 * H + 5 * H / 2) / 2, 5 * H / 2],
            # du_0/dw = I_0 / 4 and du_1/dw = (I_1 - v_0) / 4 + dv_0/dw / 2, reset detached.
            grad_params={"w": 3 * H * 1.5 / 4 + 5 * H * (1 / 4 + 1.5 / 4 / 2)},
        ),
    ],
    "CLIF": [
        # s_0 = 1 and m_0 = s_0; dv_0/du_0 = 1 - (1 + sigmoid(m_0)) - sigmoid'(m_0). Detaching the
        # reset removes the middle term.
        Gradient(
            {},
            [1.25, 1],
            [3 + 5 / 2 * (-sigmoid(1) - sigmoid(1) * sigmoid(-1)), 5],
            [3 + 5 / 2 * (1 - sigmoid(1) * sigmoid(-1)), 5],
        ),
        Gradient({}, [3, 2, 0.5], [7 / 4 * DV1, 7 / 2 * DV1, 7], [7 / 4 * DV1, 7 / 2 * DV1, 7]),
    ],
    "GLIF": [
        Gradient(
            {},
            [1.25, 1],
            [G0 * 0.75, 5 * 0.75],
            params=glif([HALF, HALF]),
            # The slope of every sigmoid is 1/4; its factors are du_0 and du_1 per value.
            grad_params={
                "leak_gate": [(G0 * 0.5 + 5 * (-0.5 * U0 * 0.5 + 0.5)) / 4],
                "input_gate": [(G0 * -0.5 * 1.25 + 5 * -0.5 * 1) / 4],
                "reset_gate": [5 * (-0.75 * U0 + 0.5) / 4],
                "decay_logit": [5 * 0.5 * U0 * 0.5 / 4],
                "leak_logit": [(G0 * -0.5 + 5 * -0.5) / 4],
                "reset_logit": [5 * -0.5 / 4],
                "threshold_logit": [(-3 + 5 * (-1 - DU1_DS0)) / 4],
                "conductance_logit": [[G0 * 0.5 * 1.25 / 4], [5 * 0.5 * 1 / 4]],
            },
        ),
    ],
    "ILIF": [
        Gradient({}, [1.25, 2], [3, 5], [3 + 5 / 2, 5]),  # Both inside: dv_0/du_0 = 0, or 1.
        Gradient({}, [-1, 2], [5 / 2, 5], [5 / 2, 5]),  # u_0 below.
        Gradient({"levels": 2}, [1, 2.25], [3, 0], [3, 0]),  # u_1 above.
        # With `normalize` the output has a slope of 1/4, but the reset uses the integer.
        Gradient({"normalize": True}, [1.25, 2], [3 / 4, 5 / 4], [(3 + 5 / 2) / 4, 5 / 4]),
    ],
    "PIT": [
        TWO_SCALES,
        # A spike clears the membrane: u_1 does not depend on u_0. Factors 9/8 and 1.
        Gradient(
            {"strength": 0.5, "reset": clearing_reset},
            [1.25, 2],
            [3 * 9 / 8, 5],
            [3 * 9 / 8, 5],
            {"a": [[1], [1]]},
            {"a": [[3 * (-1 / 4)], [0]]},
        ),
        # Without a spike it does: u_1 = 17/8. Factors 9/8 and 17/16.
        Gradient(
            {"strength": 0.5, "reset": clearing_reset},
            [0.25, 2],
            [3 * 9 / 8 + 5 * 17 / 16 / 2, 5 * 17 / 16],
            [3 * 9 / 8 + 5 * 17 / 16 / 2, 5 * 17 / 16],
            {"a": [[1], [1]]},
        ),
    ],
    "PITFull": [
        replace(
            TWO_SCALES,
            params=TWO_SCALES.params | {"mixing": [[[9]], [[9]]]},
            grad_params=TWO_SCALES.grad_params | {"mixing": [[[0]], [[0]]]},
        ),
    ],
    "RealSpike": [
        # The first case of IF with half the amplitude; only s_1 fires.
        Gradient(
            {},
            [0.75, 0.5],
            [(3 * H + 5 * H * (1 - 0.75 * H)) / 2, 5 * H / 2],
            [8 * H / 2, 5 * H / 2],
            {"amplitude": [0.5]},
            {"amplitude": [5]},
        ),
    ],
    "Ternary": TERNARY,
    "TrainableTernary": [
        # Half the amplitude; u_0 = 3/4 and u_1 = -3/4 both fire, so the gradient of alpha is 3 - 5.
        Gradient(
            {},
            [0.75, -0.75],
            [(3 + 5 / 4 * -0.75) / 2, 5 / 2],
            [3 / 2, 5 / 2],
            {"alpha": 0.5},
            {"alpha": 3 - 5},
        ),
    ],
    "QAT": [
        # x / a = 5/4 inside, where Eq. 32 is -1/4, and 6 above, where it is D.
        Gradient({}, [0.625, 3], [3, 0], None, {"a": [0.5]}, {"a": [3 * (-1 / 4) + 5 * 4]}),
        Gradient({}, [-1, 2], [0, 5], None, {"a": [0.5]}, {"a": [0]}),  # Below and at 4.
    ],
    "QBLIF": [
        # u_0 / a = 5/4 inside, where ds/da is -1/4, u_1 / a = 6 above, at a distance of 2 scales.
        Gradient(
            {},
            [0.625, 2.9375],
            [3, 5 * np.exp(-2)],
            [3 + 5 / 2 * np.exp(-2), 5 * np.exp(-2)],
            {"a": [0.5]},
            {"a": [3 * (-1 / 4) + 5 * (4 - 6 * np.exp(-2) + np.exp(-2) * (1 / 4) / 2)]},
        ),
        # u_0 / a = -1 below, where ds/da is exp(-1), u_1 / a = 4 inside.
        Gradient(
            {},
            [-0.5, 2.25],
            [3 * np.exp(-1) + 5 / 2 * (1 - np.exp(-1)), 5],
            [3 * np.exp(-1) + 5 / 2, 5],
            {"a": [0.5]},
            {"a": [(3 - 5 / 2) * np.exp(-1)]},
        ),
    ],
}
