"""Neurons in fixed point agree with Python's integers, at every boundary and beyond both ends."""

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from pit_jax.inference.runtime.fixed_point import LEAK_BITS, FixedNeuron, bitwise, thermometer

BOUND = 2**20


def make_neuron(
    first, step, levels, *, slots=None, drop=None, leak=2**11, signed=False
) -> FixedNeuron:
    """Return a neuron of one channel with these integers, without guard bits."""
    numbers = (np.full((1, 1), n, np.int32) for n in (first, step, drop or step, leak, leak))
    return FixedNeuron(*numbers, levels, 0, slots or thermometer(levels), signed)


def fire(make_neuron: FixedNeuron, currents) -> np.ndarray:
    """Return the counts `[T]` of one neuron for these currents, checked against its slots."""
    counts, state, slotted = [], None, None
    for t, current in enumerate(currents):
        current = jnp.full((1, 1), current, jnp.int32)
        state, slotted = state or make_neuron.start(current), slotted or make_neuron.start(current)
        state, count = make_neuron.count(state, current, t)
        slotted, slots = make_neuron.fire_slots(slotted, current, t)
        assert set(np.unique(slots)) <= ({-1, 0, 1} if make_neuron.signed else {0, 1})
        assert int(np.dot(make_neuron.slots, slots[:, 0, 0])) == int(count[0, 0])
        assert np.array_equal(state.membrane, slotted.membrane)
        counts.append(int(count[0, 0]))
    return np.array(counts)


def fire_in_python(first, step, levels, leak, currents) -> list[int]:
    """Count in Python how many boundaries the membrane reaches, and reset it."""
    membrane, counts = 0, []
    for current in currents:
        membrane += current
        count = sum(membrane >= first + d * step for d in range(levels))
        membrane = (membrane - step * count) * leak >> LEAK_BITS
        counts.append(count)
    return counts


@given(
    half=st.integers(1, BOUND // 8),
    levels=st.integers(1, 9),
    leak=st.sampled_from([0, 1, 2**10, 2**11, 3686, 2**12]),
    code=st.sampled_from([thermometer, bitwise]),
    data=st.data(),
)
@settings(max_examples=40)
def test_slots_and_counts_equal_python_integers(half, levels, leak, code, data):
    boundary = st.integers(-1, levels + 1).flatmap(
        lambda k: st.integers(-1, 1).map(lambda off: half + 2 * half * k + off)
    )
    currents = data.draw(st.lists(boundary | st.integers(-BOUND, BOUND), min_size=1, max_size=4))
    made = make_neuron(half, 2 * half, levels, slots=code(levels), leak=leak)
    assert fire(made, currents).tolist() == fire_in_python(half, 2 * half, levels, leak, currents)


@pytest.mark.parametrize("code", [thermometer, bitwise])
@pytest.mark.parametrize(
    "current, count",
    [
        *((50 + 100 * k, k + 1) for k in range(4)),  # On a boundary, which is half up,
        *((49 + 100 * k, k) for k in range(4)),  # one unit below it,
        *((51 + 100 * k, k + 1) for k in range(4)),  # and one above.
        (0, 0),
        (-1, 0),
        (-50, 0),
        (-(2**28), 0),
        (450, 4),
        (2**28, 4),
    ],
)
def test_membranes_at_above_and_below_each_boundary(current, count, code):
    assert fire(make_neuron(50, 100, 4, slots=code(4)), [current]) == [count]


def test_a_ternary_neuron_fires_symmetrically():
    made = make_neuron(50, 1, 1, drop=100, signed=True)
    assert [int(fire(made, [u])[0]) for u in (49, 50, -49, -50, -51)] == [0, 1, 0, -1, -1]


def test_codes_express_every_count():
    for levels in range(1, 33):
        assert sum(thermometer(levels)) == levels
        assert len(bitwise(levels)) == int(np.ceil(np.log2(levels + 1)))
        assert sum(bitwise(levels)) >= levels > sum(bitwise(levels)[1:])
