"""Rules of neurons on the grid: boundaries stay distinct, and membranes stay int32."""

import numpy as np
import pytest

from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.compiler.quantize_neuron import MembraneTooLarge, quantize_neuron
from pit_jax.inference.errors import NotFoldable
from tests.inference.runtime.test_fixed_point import BOUND, fire


def make_rule(a, levels, decay=0.5) -> FiringRule:
    """Return the rule of a neuron that rounds to multiples of `a`."""
    a, decay = np.full((1, 1), a), np.full((1, 1), decay)
    return FiringRule(a / 2, a, levels, a, decay, decay, gain=a)


@pytest.mark.parametrize("a", [1e-3, 1e-12, 2.0**-149])
def test_a_tiny_scale_still_has_boundaries(a):
    # A scale of less than two units gets `first` = 1 and boundaries two units apart.
    made = quantize_neuron(make_rule(a, 4), np.full((1, 1), 2.0**-8), BOUND, 2)
    assert made.first.item() >= 1 and made.step.item() == 2 * made.first.item()
    assert fire(made, [0, -5]).tolist() == [0, 0]
    assert fire(made, [BOUND - 1, BOUND - 1]).tolist() == [4, 4]


@pytest.mark.parametrize("code", ["thermometer", "bitwise"])
def test_a_scale_above_all_currents_never_fires(code):
    made = quantize_neuron(make_rule(1e30, 4), np.ones((1, 1)), BOUND, 4, code)
    assert fire(made, [BOUND - 1] * 4).tolist() == [0] * 4


def test_membranes_stay_int32():
    made = quantize_neuron(make_rule(1.0, 4, decay=1.0), np.full((1, 1), 2.0**-20), 2**24 - 1, 16)
    currents = [2**24 - 1] * 16
    assert fire(made, currents).tolist() == [4] * 16
    currents = [-(2**24 - 1)] * 16
    assert fire(made, currents).tolist() == [0] * 16


def test_a_clif_neuron_whose_second_potential_would_overflow_is_refused():
    clif = FiringRule(*(np.full((1, 1), x) for x in (1.0, 1.0)), 1, *3 * [np.ones((1, 1))], tau=2.0)
    quantize_neuron(clif, np.full((1, 1), 2.0**-12), BOUND, 64)
    with pytest.raises(NotFoldable, match="would overflow in 65 steps"):
        quantize_neuron(clif, np.full((1, 1), 2.0**-12), BOUND, 65)


def make_row(x: float) -> np.ndarray:
    return np.full((1, 1), x)


def test_membranes_stay_int32_when_the_unit_shrinks():
    # A current of step 1 is worth 8 of step 2, so the second membrane is 8 + 1 = 9 of them.
    bound, unit = 2**24 - 1, np.array([[8.0], [1.0]])
    for threshold, count in ((8.5 * bound, 1), (9.5 * bound, 0)):
        neuron = FiringRule(
            make_row(threshold), make_row(1), 1, make_row(threshold), make_row(1), make_row(1)
        )
        made = quantize_neuron(neuron, unit, bound, 2)
        assert fire(made, [bound, bound]).tolist() == [0, count]
        assert fire(made, [-bound, -bound]).tolist() == [0, 0]


def test_membranes_stay_int32_when_a_mixing_amplifies():
    bound, mixing = 2**24 - 1, np.array([[[16.0]], [[1.0]]])
    for threshold, count in ((16.5 * bound, 1), (17.5 * bound, 0)):
        neuron = FiringRule(
            make_row(threshold),
            make_row(1),
            1,
            make_row(threshold),
            make_row(1),
            make_row(1),
            mixing=mixing,
        )
        made = quantize_neuron(neuron, make_row(1), bound, 2)
        assert fire(made, [bound, bound]).tolist() == [0, count]
        assert fire(made, [-bound, -bound]).tolist() == [0, 0]


def test_a_membrane_that_exceeds_int32_is_refused():
    unit = np.array([[100.0], [1.0]])
    neuron = FiringRule(*(make_row(1) for _ in range(2)), 1, *(make_row(1) for _ in range(3)))
    with pytest.raises(MembraneTooLarge, match="too much for int32"):
        quantize_neuron(neuron, unit, 2**24 - 1, 2)
    quantize_neuron(neuron, unit, 2**23, 2)
