"""Currents from spikes alone: to the last integer those of a plain loop and of JAX."""

from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from pit_jax.inference.event_driven.kernels import conv, dense

# Each pair of dtypes is compiled by itself.
DTYPES = [("int8", "int16"), ("int8", "int32"), ("uint8", "int16"), ("uint8", "int8")]


def draw_spikes(rng, shape, density, dtype, levels=4):
    """0..levels as far as the dtype goes, or -1..1 if `levels` is 1 and the dtype has a sign."""
    levels = min(levels, np.iinfo(dtype).max)
    low = -1 if levels == 1 and dtype == "int8" else 0
    fired = rng.random(shape) < density
    return np.where(fired, rng.integers(low, levels + 1, shape), 0).astype(dtype)


def draw_weights(rng, shape, dtype):
    limits = np.iinfo(dtype)
    return rng.integers(max(limits.min, -999), min(limits.max, 999) + 1, shape).astype(dtype)


def looped(spikes, kernel, strides, padding, groups):
    """The convolution, one output at a time."""
    padded = np.pad(spikes.astype(int), ((0, 0), *padding, (0, 0)))
    kh, kw, wide, features = kernel.shape
    height = (padded.shape[1] - kh) // strides[0] + 1
    width = (padded.shape[2] - kw) // strides[1] + 1
    out = np.zeros((len(spikes), height, width, features), int)
    for b, y, x, o in np.ndindex(out.shape):
        g = o // (features // groups)
        window = padded[b, y * strides[0] :, x * strides[1] :, g * wide : (g + 1) * wide]
        out[b, y, x, o] = (window[:kh, :kw] * kernel[..., o]).sum()
    return out


@st.composite
def convolutions(draw):
    """Spikes, a kernel, and what else `conv` takes."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    wide, deep = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (3, 4)]))
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    side = st.integers(0, 3)
    padding = (draw(st.tuples(side, side)), draw(st.tuples(side, side)))
    size = [
        max(draw(st.integers(1, 6)), k - sum(p)) for k, p in zip((kh, kw), padding, strict=True)
    ]
    spike_dtype, weight_dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0, 0.1, 0.5, 1]))
    shape = (draw(st.integers(0, 2)), *size, groups * wide)
    spikes = draw_spikes(rng, shape, density, spike_dtype, draw(st.sampled_from([1, 4, 255])))
    kernel = draw_weights(rng, (kh, kw, wide, groups * deep), weight_dtype)
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return spikes, kernel, {"strides": strides, "padding": padding, "groups": groups}


@given(convolutions())
@settings(max_examples=200)
def test_a_convolution_of_spikes_is_that_of_a_plain_loop(case):
    spikes, kernel, how = case
    got = conv(spikes, kernel, **how)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, looped(spikes, kernel, **how))


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize(
    "height, width, kernel, strides, padding, groups",
    [
        (8, 8, (3, 3, 16, 16), (1, 1), ((1, 1), (1, 1)), 1),
        (9, 7, (3, 3, 16, 32), (2, 2), ((1, 1), (0, 1)), 1),
        (6, 6, (1, 1, 16, 8), (2, 2), ((0, 0), (0, 0)), 1),
        (7, 9, (3, 5, 8, 32), (1, 2), ((0, 1), (2, 2)), 2),
        (14, 14, (7, 7, 1, 16), (1, 1), ((3, 3), (3, 3)), 16),
        (8, 8, (3, 3, 1, 32), (2, 1), ((1, 1), (1, 1)), 16),
    ],
)
def test_a_convolution_of_spikes_is_that_of_jax(
    height, width, kernel, strides, padding, groups, levels
):
    rng = np.random.default_rng(0)
    spikes = draw_spikes(rng, (2, height, width, 16), 0.3, "int8", levels)
    weights = draw_weights(rng, kernel, "int16")
    want = jax.lax.conv_general_dilated(
        jnp.asarray(spikes, jnp.int32),
        jnp.asarray(weights, jnp.int32),
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    got = conv(spikes, weights, strides=strides, padding=padding, groups=groups)
    np.testing.assert_array_equal(got, want)


@given(
    batch=st.integers(0, 3),
    n_in=st.integers(1, 40),
    n_out=st.integers(1, 20),
    density=st.sampled_from([0, 0.1, 1]),
    dtypes=st.sampled_from(DTYPES),
    levels=st.sampled_from([1, 4, 255]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_dense_layer_of_spikes_is_a_product_of_matrices(
    batch, n_in, n_out, density, dtypes, levels, seed
):
    rng = np.random.default_rng(seed)
    spikes = draw_spikes(rng, (batch, n_in), density, dtypes[0], levels)
    weight = draw_weights(rng, (n_in, n_out), dtypes[1])
    got = dense(spikes, weight)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, spikes.astype(int) @ weight.astype(int))


def test_currents_are_added_to_the_sums_that_are_there():
    rng = np.random.default_rng(0)
    spikes = draw_spikes(rng, (2, 5, 5, 4), 0.3, "int8")
    kernel, weight = draw_weights(rng, (3, 3, 4, 6), "int16"), draw_weights(rng, (100, 3), "int16")
    flat = spikes.reshape(2, 100)
    for layer, taken, weights in ((conv, spikes, kernel), (dense, flat, weight)):
        bias = rng.integers(-9, 9, layer(taken, weights).shape).astype(np.int32)
        into = bias.copy()
        assert layer(taken, weights, into) is into
        np.testing.assert_array_equal(into, bias + layer(taken, weights))


def test_silence_leaves_the_sums_as_they_are_whatever_the_weights():
    into = np.arange(2 * 4 * 4 * 3, dtype=np.int32).reshape(2, 4, 4, 3)
    want = into.copy()
    conv(np.zeros((2, 6, 6, 5), np.int8), np.full((3, 3, 5, 3), 2**31 - 1, np.int32), into)
    np.testing.assert_array_equal(into, want)


def test_arrays_may_be_views_and_read_only():
    rng = np.random.default_rng(0)
    spikes, kernel = (
        draw_spikes(rng, (2, 12, 6, 4), 0.3, "int8"),
        draw_weights(rng, (3, 3, 4, 6), "int16"),
    )
    want = conv(spikes[:, ::2].copy(), kernel)
    np.testing.assert_array_equal(conv(spikes[:, ::2], np.asfortranarray(kernel)), want)
    spikes.flags.writeable = kernel.flags.writeable = False
    np.testing.assert_array_equal(conv(spikes[:, ::2], kernel), want)


def test_threads_may_share_a_batch():
    rng = np.random.default_rng(0)
    spikes, kernel = (
        draw_spikes(rng, (8, 9, 9, 8), 0.3, "int8"),
        draw_weights(rng, (3, 3, 8, 8), "int16"),
    )
    want, into = conv(spikes, kernel), np.zeros((8, 7, 7, 8), np.int32)
    with ThreadPoolExecutor(4) as pool:
        parts = [slice(i, i + 2) for i in range(0, 8, 2)]
        list(pool.map(lambda part: conv(spikes[part], kernel, into[part]), parts))
    np.testing.assert_array_equal(into, want)


SPIKES, KERNEL = np.zeros((1, 4, 4, 2), np.int8), np.zeros((3, 3, 2, 6), np.int16)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"spikes": SPIKES.astype(np.float32)}, "spikes are int8 or uint8, got float32"),
        ({"kernel": KERNEL.astype(np.float32)}, "weights are int8 or int16 or int32, got float32"),
        ({"spikes": SPIKES[0]}, r"takes spikes \[B, H, W, C_in\].*got \(4, 4, 2\)"),
        ({"kernel": KERNEL[0]}, r"and kernel \[kh, kw.*\(3, 2, 6\)"),
        ({"kernel": KERNEL[:, :, :1]}, r"1 groups must divide.*got 2 channels.*\(3, 3, 1, 6\)"),
        ({"groups": 2}, r"2 groups must divide.*got 2 channels.*\(3, 3, 2, 6\)"),
        ({"groups": 0}, "0 groups must divide"),
        ({"kernel": KERNEL[:, :, :1, :3], "groups": 2}, r"2 groups must divide.*\(3, 3, 1, 3\)"),
        ({"strides": (1, 0)}, r"strides are 1 or more.*got \(1, 0\)"),
        ({"padding": ((0, -1), (0, 0))}, r"paddings 0 or more, got.*\(0, -1\)"),
        ({"spikes": SPIKES[:, :2]}, r"no place in spikes \(1, 2, 4, 2\).*no larger"),
        ({"kernel": KERNEL[..., :0]}, r"a kernel \(3, 3, 2, 0\) has no place.*must have entries"),
        ({"into": np.zeros((1, 2, 2, 6))}, "sums are int32, got float64"),
        ({"into": np.zeros((1, 4, 4, 6), np.int32)}, r"array \(1, 2, 2, 6\), got \(1, 4, 4, 6\)"),
        ({"into": np.zeros((1, 2, 2, 12), np.int32)[..., ::2]}, "sums go into a contiguous"),
        ({"into": np.broadcast_to(np.int32(0), (1, 2, 2, 6))}, "read only"),
    ],
)
def test_conv_says_what_came_and_what_it_takes(change, message):
    with pytest.raises(ValueError, match=message):
        conv(**{"spikes": SPIKES, "kernel": KERNEL, **change})


@pytest.mark.parametrize(
    "spikes, weight, message",
    [
        (
            np.zeros((2, 3), np.int64),
            np.zeros((3, 4), np.int8),
            "spikes are int8 or uint8, got int64",
        ),
        (np.zeros((2, 3), np.int8), np.zeros((3, 4)), "weights are int8 .*, got float64"),
        (np.zeros((2, 3), np.int8), np.zeros((4, 3), np.int8), r"got \(2, 3\) and \(4, 3\)"),
        (np.zeros(3, np.int8), np.zeros((3, 4), np.int8), r"spikes \[B, n_in\] and weight"),
    ],
)
def test_dense_says_what_came_and_what_it_takes(spikes, weight, message):
    with pytest.raises(ValueError, match=message):
        dense(spikes, weight)
