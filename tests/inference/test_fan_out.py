"""The fan-out of spikes agrees with loops over every synapse."""

import itertools

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings

from pit_jax.inference.fan_out import (
    count_arrivals,
    count_outputs,
    count_reached,
    find_last_shape,
    split_structure,
)
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Sum

AVERAGE = Pool((2, 2, 1), (2, 2, 1), ((0, 0), (0, 0), (0, 0)))
LARGEST = Pool((3, 3, 1), (2, 2, 1), ((1, 1), (1, 1), (0, 0)), largest=True)


@st.composite
def convolutions(draw):
    shape = (draw(st.integers(2, 6)), draw(st.integers(2, 6)), draw(st.sampled_from([2, 4])))
    groups = draw(st.sampled_from([1, 2]))
    size = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    kernel = (*size, shape[2] // groups, 2 * groups)
    strides = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    edge = st.integers(0, 2)
    padding = (draw(edge), draw(edge)), (draw(edge), draw(edge))
    return shape, kernel, strides, padding, groups


def count_outputs_in_loops(shape, kernel, strides, padding, groups):
    """Count the output places, taps and output features of its group for each input."""
    entered = np.zeros(shape, int)
    sizes = [
        (n + sum(pad) - k) // stride + 1
        for n, k, stride, pad in zip(shape, kernel, strides, padding, strict=False)
    ]
    features = kernel[-1] // groups
    for oy, ox in itertools.product(*map(range, sizes)):
        for ky, kx in itertools.product(range(kernel[0]), range(kernel[1])):
            y, x = oy * strides[0] + ky - padding[0][0], ox * strides[1] + kx - padding[1][0]
            if 0 <= y < shape[0] and 0 <= x < shape[1]:
                entered[y, x] += features
    return entered


@given(convolutions())
@settings(max_examples=200)
def test_inputs_count_once_for_each_window_that_contains_them(drawn):
    np.testing.assert_array_equal(count_outputs(*drawn), count_outputs_in_loops(*drawn))


def test_additions_begin_after_the_last_maximum():
    flat = Reshape((8,))
    assert split_structure((AVERAGE, LARGEST, flat), True) == ((AVERAGE, LARGEST), (flat,))
    assert split_structure((AVERAGE, flat), True) == ((), (AVERAGE, flat))
    assert split_structure((AVERAGE, LARGEST), False) == ((AVERAGE, LARGEST), ())


def test_a_spike_reaches_the_outputs_of_the_sums_that_it_enters():
    # 5 x 4 places: windows of 2 leave out the last row; each of 2 x 2 x 3 enters 7 outputs.
    shape = (5, 4, 3)
    flat = (AVERAGE, Reshape((12,)))
    assert find_last_shape(flat, shape) == (12,)
    found = count_reached((), flat, shape, np.full(12, 7))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found[:4], np.full((4, 4, 3), 7))
    assert not found[4].any()
    summed = count_reached((), (Sum((0, 1), 20),), shape, np.full(3, 10))
    np.testing.assert_array_equal(summed, np.full(shape, 10))
    # Cells of 5 x 4 places overlap as 3 x 3: rows 1 and 3 and columns 1 and 2 enter two.
    cells = count_reached((), (Cells(3, 5, 4),), shape, np.ones((3, 3, 3), int))
    np.testing.assert_array_equal(cells[..., 0], np.outer([1, 2, 1, 2, 1], [1, 2, 2, 1]))


def test_maxima_of_spikes_respect_their_signs():
    spikes = np.array([[-1, 0], [-1, -1]])[:, None, :, None]
    pool = Pool((1, 2, 1), (1, 2, 1), ((0, 0),) * 3, largest=True)
    assert count_arrivals((pool,), jnp.asarray(spikes)).ravel().tolist() == [0, 1]
    assert count_arrivals((), jnp.asarray(spikes)).ravel().tolist() == [1, 0, 1, 1]
