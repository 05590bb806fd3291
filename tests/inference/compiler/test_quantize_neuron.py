"""Rules of neurons on the grid: boundaries stay apart, and membranes stay int32."""

import numpy as np
import pytest

from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.compiler.quantize_neuron import MembraneTooLarge, quantize_neuron
from pit_jax.inference.errors import NotFoldable
from tests.inference.runtime.test_fixed_point import BOUND, fired


def rule(a, levels, decay=0.5) -> FiringRule:
    """Return the rule of a neuron that rounds to multiples of `a`."""
    a, decay = np.full((1, 1), a), np.full((1, 1), decay)
    return FiringRule(a / 2, a, levels, a, decay, decay, gain=a)


@pytest.mark.parametrize("a", [1e-3, 1e-12, 2.0**-149])
def test_a_scale_at_its_floor_or_below_any_unit_still_has_boundaries(a):
    """A scale of less than two units has boundaries one unit apart: its first is above 0."""
    made = quantize_neuron(rule(a, 4), np.full((1, 1), 2.0**-8), BOUND, 2)
    assert made.first.item() >= 1 and made.step.item() == 2 * made.first.item()
    assert fired(made, [0, -5]).tolist() == [0, 0]
    assert fired(made, [BOUND - 1, BOUND - 1]).tolist() == [4, 4]


@pytest.mark.parametrize("code", ["thermometer", "bitwise"])
def test_a_scale_that_no_current_reaches_never_fires(code):
    made = quantize_neuron(rule(1e30, 4), np.ones((1, 1)), BOUND, 4, code)
    assert fired(made, [BOUND - 1] * 4).tolist() == [0] * 4


def test_no_membrane_leaves_an_int32():
    made = quantize_neuron(rule(1.0, 4, decay=1.0), np.full((1, 1), 2.0**-20), 2**24 - 1, 16)
    currents = [2**24 - 1] * 16
    assert fired(made, currents).tolist() == [4] * 16
    currents = [-(2**24 - 1)] * 16
    assert fired(made, currents).tolist() == [0] * 16


def test_a_clif_neuron_whose_second_potential_would_overflow_is_refused():
    clif = FiringRule(*(np.full((1, 1), x) for x in (1.0, 1.0)), 1, *3 * [np.ones((1, 1))], tau=2.0)
    quantize_neuron(clif, np.full((1, 1), 2.0**-12), BOUND, 64)
    with pytest.raises(NotFoldable, match="would overflow in 65 steps"):
        quantize_neuron(clif, np.full((1, 1), 2.0**-12), BOUND, 65)


def full(x: float) -> np.ndarray:
    return np.full((1, 1), x)


def test_a_unit_that_is_smaller_at_the_next_step_takes_no_membrane_out_of_int32():
    """After the first step 8 currents of the second remain, so that u = 9 of them."""
    bound, unit = 2**24 - 1, np.array([[8.0], [1.0]])
    for threshold, count in ((8.5 * bound, 1), (9.5 * bound, 0)):
        neuron = FiringRule(full(threshold), full(1), 1, full(threshold), full(1), full(1))
        made = quantize_neuron(neuron, unit, bound, 2)
        assert fired(made, [bound, bound]).tolist() == [0, count]
        assert fired(made, [-bound, -bound]).tolist() == [0, 0]


def test_a_mixing_that_amplifies_takes_no_membrane_out_of_int32():
    bound, mixing = 2**24 - 1, np.array([[[16.0]], [[1.0]]])
    for threshold, count in ((16.5 * bound, 1), (17.5 * bound, 0)):
        neuron = FiringRule(
            full(threshold), full(1), 1, full(threshold), full(1), full(1), mixing=mixing
        )
        made = quantize_neuron(neuron, full(1), bound, 2)
        assert fired(made, [bound, bound]).tolist() == [0, count]
        assert fired(made, [-bound, -bound]).tolist() == [0, 0]


def test_a_membrane_that_leaves_int32_in_any_unit_of_its_own_is_refused():
    unit = np.array([[100.0], [1.0]])
    neuron = FiringRule(*(full(1) for _ in range(2)), 1, *(full(1) for _ in range(3)))
    with pytest.raises(MembraneTooLarge, match="too much for int32"):
        quantize_neuron(neuron, unit, 2**24 - 1, 2)
    quantize_neuron(neuron, unit, 2**23, 2)
