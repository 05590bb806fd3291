"""The attention operators against loops over tokens, and their memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.layers.attention import channel_attention, linear_attention
from tests.helpers import walk_shapes


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def gate(total):
    """Return a nonlinear function of the sum, instead of a neuron."""
    return jnp.maximum(total - 0.5, 0)


def identity(total):
    return total


def channel_attention_by_token(q, k, v):
    """Compute channel attention token by token and channel by channel."""
    batch, steps, height, width, channels = q.shape
    out = np.empty_like(q)
    for b, t, c in np.ndindex(batch, steps, channels):
        total = 0.0
        for i, j in np.ndindex(height, width):
            total += k[b, t, i, j, c] * v[b, t, i, j, c]
        for i, j in np.ndindex(height, width):
            out[b, t, i, j, c] = q[b, t, i, j, c] * max(total - 0.5, 0)
    return out


def score_attention_by_token(q, k, v, heads):
    """Compute attention in the published order: a score per pair of tokens, then the sum."""
    batch, steps, height, width, channels = q.shape
    narrow, wide = channels // heads, v.shape[-1] // heads
    tokens = list(np.ndindex(height, width))
    out = np.zeros_like(v)
    for b, t, h in np.ndindex(batch, steps, heads):
        reads = slice(h * narrow, (h + 1) * narrow)
        writes = slice(h * wide, (h + 1) * wide)
        for this in tokens:
            for other in tokens:
                score = q[b, t, *this, reads] @ k[b, t, *other, reads]
                out[b, t, *this, writes] += score * v[b, t, *other, writes]
    return out * 2 / np.sqrt(narrow)


def score_attention(q, k, v, heads):
    """Compute attention in the published order with arrays of tokens² scores per head."""
    split = [x.reshape(*x.shape[:2], -1, heads, x.shape[-1] // heads) for x in (q, k, v)]
    scores = jnp.einsum("btnhc,btmhc->bthnm", *split[:2])
    out = jnp.einsum("bthnm,btmhd->btnhd", scores, split[2])
    return (out * (q.shape[-1] // heads) ** -0.5 * 2).reshape(v.shape)


def test_channel_attention_equals_a_loop_over_tokens_in_each_channel_and_step(x64):
    q = normal(2, 3, 4, 5, 6)
    k, v = q[::-1], q[:, ::-1]
    want = channel_attention_by_token(q, k, v)
    assert 0 < (want == 0).mean() < 1  # The gate closes for some channels.
    got = channel_attention(*map(jnp.asarray, (q, k, v)), gate)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_linear_attention_equals_a_loop_over_pairs_of_tokens_in_each_head_and_step(x64, heads):
    q, v = normal(2, 3, 3, 4, 8), normal(2, 3, 3, 4, 16)
    k = v[..., ::2] - q[::-1]
    got = linear_attention(*map(jnp.asarray, (q, k, v)), heads)
    np.testing.assert_allclose(got, score_attention_by_token(q, k, v, heads), rtol=0, atol=1e-12)


def test_for_spikes_both_orders_of_the_product_agree_bit_for_bit():
    random = np.random.default_rng(0)
    q, k, v = (
        jnp.asarray(random.integers(0, 5, (2, 1, 7, 7, c)) / 4, jnp.float32) for c in (32, 32, 64)
    )
    got = linear_attention(q, k, v, heads=2)
    assert got.any()
    np.testing.assert_array_equal(got, score_attention(q, k, v, heads=2))


def measure_largest(attention, side):
    """Return the size of the largest array in `attention` and its gradient, at side² tokens."""
    q, v = (jax.ShapeDtypeStruct((1, 1, side, side, c), jnp.float32) for c in (8, 32))
    jaxpr = jax.make_jaxpr(jax.grad(lambda *x: jnp.sum(attention(*x)), (0, 1, 2)))(q, q, v)
    return max(int(np.prod(shape)) for shape in walk_shapes(jaxpr.jaxpr))


def test_no_array_grows_with_the_square_of_the_tokens():
    linear = [
        lambda q, k, v: linear_attention(q, k, v, heads=2),
        lambda q, k, v: channel_attention(v, v, v, identity),
    ]
    for attention in linear:
        assert measure_largest(attention, 24) == 4 * measure_largest(attention, 12)
    # The published order does have such arrays, so the test would find them.
    scores = partial(score_attention, heads=2)
    assert [measure_largest(scores, n) for n in (12, 24)] == [2 * 12**4, 2 * 24**4]


@pytest.mark.parametrize("heads", [0, 3])
def test_channels_that_heads_do_not_divide_are_an_error(heads):
    x = jnp.ones((1, 1, 2, 2, 8))
    with pytest.raises(ValueError, match=f"heads(=| must be at least 1, got ){heads}"):
        linear_attention(x, x, x, heads)
