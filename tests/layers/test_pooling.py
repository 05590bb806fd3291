"""Adaptive pooling against PyTorch's index sets, and PLIFNet's vote."""

from functools import partial
from math import ceil, floor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pit_jax.layers.pooling import adaptive_avg_pool, vote
from tests.helpers import jit_once

# Written by hand from the definition in PyTorch's documentation.
SETS = {
    (1, 7): [{0}] * 7,
    (4, 7): [{0}, {0, 1}, {1}, {1, 2}, {2}, {2, 3}, {3}],
    (6, 3): [{0, 1}, {2, 3}, {4, 5}],
    (7, 3): [{0, 1, 2}, {2, 3, 4}, {4, 5, 6}],
    (8, 3): [{0, 1, 2}, {2, 3, 4, 5}, {5, 6, 7}],
    (5, 5): [{0}, {1}, {2}, {3}, {4}],
    (3, 1): [{0, 1, 2}],
}


def pool(x, rows, columns):
    """Return means of `x` `[..., H, W, C]` over each pair of a set of rows and a set of columns."""
    return np.stack(
        [
            np.stack(
                [np.mean([x[..., i, j, :] for i in r for j in c], axis=0) for c in columns], axis=-2
            )
            for r in rows
        ],
        axis=-3,
    )


def images(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("n, size", SETS, ids=str)
def test_an_axis_is_pooled_over_pytorchs_index_sets(x64, n, size):
    # Row i has the value 10**i, so a mean shows which rows are in it.
    x = np.broadcast_to(10.0 ** np.arange(n)[:, None, None], (n, n, 1))
    expected = [np.mean([10.0**i for i in cell]) for cell in SETS[n, size]]
    y = adaptive_avg_pool(jnp.asarray(x), size)
    np.testing.assert_allclose(y[:, 0, 0], expected, rtol=1e-12)
    transposed = adaptive_avg_pool(jnp.asarray(x.swapaxes(0, 1)), size)
    np.testing.assert_allclose(transposed[0, :, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("n, size", SETS, ids=str)
def test_a_square_is_pooled_over_pairs_of_index_sets(x64, n, size):
    x = images(2, 3, n, n, 2)
    y = adaptive_avg_pool(jnp.asarray(x), size)
    np.testing.assert_allclose(y, pool(x, SETS[n, size], SETS[n, size]), rtol=0, atol=1e-12)


def test_height_and_width_may_differ(x64):
    x = images(2, 7, 4, 3)
    y = adaptive_avg_pool(jnp.asarray(x), 3)
    columns = [{0, 1}, {1, 2}, {2, 3}]
    np.testing.assert_allclose(y, pool(x, SETS[7, 3], columns), rtol=0, atol=1e-12)


@settings(max_examples=12)  # Each example compiles a program; SETS has the usual sizes.
@given(n=st.integers(1, 12), size=st.integers(1, 12))
def test_set_i_reaches_from_the_floor_of_its_start_to_the_ceiling_of_its_end(n, size):
    cells = [set(range(floor(i * n / size), ceil((i + 1) * n / size))) for i in range(size)]
    assert set().union(*cells) == set(range(n))
    x = images(n, 2, 3).astype(np.float32)
    y = jit_once(partial(adaptive_avg_pool, size=size))(x)
    assert y.shape == (size, size, 3)
    columns = [set(range(floor(i * 2 / size), ceil((i + 1) * 2 / size))) for i in range(size)]
    np.testing.assert_allclose(y, pool(x, cells, columns), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4, 2), (2, 5, 4, 2), (1, 1, 3)], ids=str)
def test_pooling_to_one_cell_is_the_global_mean(x64, shape):
    x = images(*shape)
    y = adaptive_avg_pool(jnp.asarray(x), 1)
    np.testing.assert_allclose(y, x.mean((-3, -2), keepdims=True), rtol=0, atol=1e-12)


def test_the_gradient_of_a_pixel_is_the_sum_of_its_shares_in_all_cells():
    # From 4 to 7 (see SETS): pixel 0 is one cell and half of another, pixel 1 half, one and half.
    share = np.array([1.5, 2, 2, 1.5])
    grad = jit_once(jax.grad(lambda x: adaptive_avg_pool(x, 7).sum()))(jnp.ones((4, 4, 1)))
    np.testing.assert_allclose(grad[..., 0], share[:, None] * share, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=str)
def test_the_dtype_is_kept(strict, dtype):
    x = jax.ShapeDtypeStruct((2, 4, 4, 30), dtype)
    assert jax.eval_shape(partial(adaptive_avg_pool, size=7), x).dtype == dtype
    assert jax.eval_shape(partial(vote, voters=10), x).dtype == dtype


def test_a_class_has_the_mean_of_its_neighboring_voters():
    x = jnp.array([[[0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1]]], jnp.float32)
    np.testing.assert_array_equal(vote(x, 2), [[[0.5, 1, 0], [1, 0.5, 0.5]]])
    np.testing.assert_allclose(vote(x, 3), [[[2 / 3, 1 / 3], [1, 1 / 3]]], rtol=1e-6)
    np.testing.assert_array_equal(vote(x, 1), x)


@pytest.mark.parametrize("voters", [3, 0])
def test_outputs_that_voters_do_not_divide_are_an_error(voters):
    with pytest.raises(ValueError, match=f"voters(=| must be at least 1, got ){voters}"):
        vote(jnp.ones((2, 10)), voters)
