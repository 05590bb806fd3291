"""The bounds of sums are reached by some input and exceeded by none."""

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.bounds import Sides, bound_values, cast_int32, expand_gain
from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.errors import NotFoldable

WEIGHTS = npst.arrays(
    np.int64, npst.array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(-9, 9)
)


@given(WEIGHTS, st.integers(1, 4), st.booleans())
def test_the_worst_inputs_reach_both_bounds(weight, bound, both_signs):
    lowest = -bound if both_signs else 0
    up = np.where(weight > 0, bound, lowest)
    down = np.where(weight < 0, bound, lowest)
    sides = Sides.from_weight(weight, bound, both_signs)
    assert np.array_equal(sides.up, (weight * up).sum(1).max(0))
    assert np.array_equal(sides.down, -(weight * down).sum(1).min(0))


def test_sides_of_sources_add_up_channel_by_channel():
    first = Sides.from_weight(np.array([[[3, -1]]]), 2, False)
    second = Sides.from_weight(np.array([[[-4, 5]]]), 1, True)
    assert (first + second).largest == 10 and (first + Sides(7)).largest == 13


def test_a_shortcut_has_the_bound_of_its_largest_place():
    gain = np.arange(1, 9).reshape(1, 2, 2, 2)
    assert Sides.from_weight(expand_gain(gain), 3, False).up.tolist() == [21, 24]


def test_the_bound_of_attention_counts_all_channels_of_a_head():
    rule = FiringRule(*(np.ones((1, 1)) for _ in range(2)), 2, *(np.ones((1, 1)) for _ in range(3)))
    spikes = folded.Spikes(0, rule, (5, 4), "spikes")
    node = folded.LinearAttention(1, 1, 1, 2, np.full((1, 4), 0.25), (5, 4), "attention")
    # 2^3 for the counts of query, key and value, 5 tokens, 2 channels of a head.
    (_, _, sides) = bound_values([folded.Pixels((5, 4)), spikes, node], 1.0)
    assert sides.largest == 2**3 * 5 * 2 * 0.25


def test_an_integer_beyond_int32_is_refused():
    assert cast_int32(np.array([2.0**31 - 1, -7.0]), "x").tolist() == [2**31 - 1, -7]
    for beyond in (2.0**31, -(2.0**40), np.nan):
        with pytest.raises(NotFoldable, match="x can reach"):
            cast_int32(np.array([0.0, beyond]), "x")
