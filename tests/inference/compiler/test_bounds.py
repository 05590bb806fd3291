"""The bounds of sums: reached by some input, passed by none."""

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from pit_jax.inference.compiler.bounds import Sides, expand_gain

WEIGHTS = npst.arrays(
    np.int64, npst.array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(-9, 9)
)


@given(WEIGHTS, st.integers(1, 4), st.booleans())
def test_the_worst_input_reaches_the_bound_of_each_side(weight, bound, both_signs):
    lowest = -bound if both_signs else 0
    up = np.where(weight > 0, bound, lowest)
    down = np.where(weight < 0, bound, lowest)
    sides = Sides.of(weight, bound, both_signs)
    assert np.array_equal(sides.up, (weight * up).sum(1).max(0))
    assert np.array_equal(sides.down, -(weight * down).sum(1).min(0))


def test_sides_of_sources_add_up_channel_by_channel():
    first = Sides.of(np.array([[[3, -1]]]), 2, False)
    second = Sides.of(np.array([[[-4, 5]]]), 1, True)
    assert (first + second).largest == 10 and (first + Sides(7)).largest == 13


def test_a_shortcut_sums_over_no_place():
    gain = np.arange(1, 9).reshape(1, 2, 2, 2)
    assert Sides.of(expand_gain(gain), 3, False).up.tolist() == [21, 24]
