"""A layer that adds spikes or all inputs has the currents of plain loops and of JAX."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from pit_jax.inference.event_driven.measure import Case, OneLayer
from pit_jax.inference.runtime import nodes


def draw_spikes(rng, shape, density):
    return (rng.random(shape) < density) * rng.integers(1, 5, shape)


def draw_weights(rng, shape, bits):
    return rng.integers(-(2**bits), 2**bits, (1, *shape)).astype(np.int32)


def make_synapse(weight, strides, padding, groups):
    return nodes.Synapse(2, (), weight, "conv", "layer", strides, padding, groups)


def compute_both_ways(layer, spikes):
    one = OneLayer(layer, spikes)
    one(dense=False)
    by_spikes = one.currents.copy()
    one(dense=True)
    np.testing.assert_array_equal(by_spikes, one.currents)
    return by_spikes


def convolve_in_loops(spikes, kernel, strides, padding, groups):
    """Compute the convolution one output at a time."""
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
    """Draw spikes, a kernel, strides, padding and groups."""
    # The channels fill vectors of 16 and leave a rest.
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    wide, deep = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (3, 4), (17, 3), (2, 51)]))
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    side = st.integers(0, 3)
    padding = (draw(st.tuples(side, side)), draw(st.tuples(side, side)))
    size = [
        max(draw(st.integers(1, 7)), k - sum(p)) for k, p in zip((kh, kw), padding, strict=True)
    ]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 2)), *size, groups * wide)
    spikes = draw_spikes(rng, shape, draw(st.sampled_from([0, 0.1, 0.5, 1])))
    # Weights of up to 15 bits are stored as int16, others as int32.
    weight = draw_weights(rng, (kh, kw, wide, groups * deep), draw(st.sampled_from([3, 15, 18])))
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return spikes, weight, strides, padding, groups


@given(convolutions())
@settings(max_examples=200)
def test_a_convolution_of_spikes_equals_plain_loops(case):
    spikes, weight, *how = case
    got = compute_both_ways(make_synapse(weight, *how), spikes)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, convolve_in_loops(spikes, weight[0], *how))


@pytest.mark.parametrize("bits", [10, 18])
@pytest.mark.parametrize(
    "height, width, kernel, strides, padding, groups",
    [
        (8, 8, (3, 3, 16, 16), (1, 1), ((1, 1), (1, 1)), 1),
        (9, 7, (3, 3, 16, 144), (2, 2), ((1, 1), (0, 1)), 1),
        (6, 6, (1, 1, 16, 8), (2, 2), ((0, 0), (0, 0)), 1),
        (1, 1, (1, 1, 16, 112), (1, 1), ((0, 0), (0, 0)), 1),
        (7, 9, (3, 5, 8, 64), (1, 2), ((0, 1), (2, 2)), 2),
        (14, 14, (7, 7, 1, 16), (1, 1), ((3, 3), (3, 3)), 16),
        (8, 8, (3, 3, 1, 32), (2, 1), ((1, 1), (1, 1)), 16),
    ],
)
def test_a_convolution_of_spikes_equals_jax(height, width, kernel, strides, padding, groups, bits):
    rng = np.random.default_rng(0)
    spikes = draw_spikes(rng, (2, height, width, 16), 0.3)
    weight = draw_weights(rng, kernel, bits)
    want = jax.lax.conv_general_dilated(
        jnp.asarray(spikes, jnp.int32),
        jnp.asarray(weight[0]),
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    np.testing.assert_array_equal(
        compute_both_ways(make_synapse(weight, strides, padding, groups), spikes), want
    )


def test_a_measured_layer_has_the_size_of_its_case():
    case = Case(6, 3, 8, 12, stride=2)
    one = OneLayer(case.make_synapse(), case.draw_spikes(2, 0.3))
    one(dense=False)
    assert one.layer.size == (8, 12, 9, 9) and one.layer.kind == "conv"
    assert one.currents.shape == (2, 3, 3, 12)
