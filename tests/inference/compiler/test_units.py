"""Units of accumulators are the finest in which no sum exceeds the limit."""

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.bounds import bound_values
from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.compiler.quantize import quantize
from pit_jax.inference.compiler.units import EXTRA_BITS, choose_units
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.step import HALF

ONE = np.ones((1, 1))
KERNELS = npst.arrays(
    np.float64, (1, 3, 2), elements=st.floats(-9, 9).filter(lambda x: x == 0 or abs(x) > 1e-3)
)


def make_network(kernel: np.ndarray, levels: int = 4) -> list[folded.Node]:
    """Return pixels, neurons that read them, neurons that read these by `kernel`, and logits."""
    rule = FiringRule(ONE / 2, ONE, levels, ONE, ONE, ONE)

    def add(source: int, weight: np.ndarray, path: str) -> folded.Accumulator:
        synapse = folded.Synapse(source, weight=folded.Dense(weight), path=path)
        shape = weight.shape[-1:]
        return folded.Accumulator(folded.Value((synapse,), np.zeros((1, 1)), shape), path)

    return [
        folded.Pixels((3,)),
        add(0, np.eye(3)[None], "first"),
        folded.Spikes(1, rule, (3,), "first"),
        add(2, kernel, "second"),
        folded.Spikes(3, rule, (2,), "second"),
        add(4, np.eye(2)[None], "logits"),
    ]


@given(KERNELS, st.sampled_from([1, 4, 64]))
def test_half_the_unit_would_exceed_the_limit(kernel, num_steps):
    assume(kernel.any(1).all())
    graph = make_network(kernel)
    units = choose_units(graph, num_steps, 1.0, None)
    reach = bound_values(graph, 1.0)[3].each * 2.0 ** units.exponents[3]
    assert (reach <= units.limit).all() and (2 * reach > units.limit).all()
    assert units.limit == min(2**24, 2**29 // num_steps)


@given(KERNELS, st.sampled_from(["float32", "int16", "int8"]))
@settings(max_examples=50)
def test_integer_sums_stay_within_the_limit(kernel, weights):
    assume(kernel.any(1).all())
    node = quantize(make_network(kernel), 1, largest_input=1.0, weights=weights)[3]
    assert isinstance(node, nodes.Accumulator)
    (synapse,) = node.synapses
    worst = 4 * np.maximum(synapse.weight, 0).sum(1), 4 * np.maximum(-synapse.weight, 0).sum(1)
    assert max(map(np.max, worst)) == node.bound < nodes.EXACT


@pytest.mark.parametrize(("weights", "largest"), [("int8", 2**7 - 1), ("int16", 2**15 - 1)])
def test_the_largest_weight_uses_all_of_its_bits(weights, largest):
    kernel = np.array([[[1.0, -7.0], [0.5, 3.0], [0.0, 0.1]]])
    node = quantize(make_network(kernel), 1, largest_input=1.0, weights=weights)[3]
    (synapse,) = node.synapses
    each = abs(synapse.weight).max((0, 1))
    assert (largest / 2 < each).all() and (each <= largest).all()


def test_sums_of_each_half_of_pixels_are_exact():
    # sum |w| 2^15 <= 2^24 2^EXTRA_BITS, so sum |w| |high| <= 2^24 for high halves up to 2^8.
    largest_weight = nodes.EXACT * 2**EXTRA_BITS // 2**nodes.PIXEL_BITS
    assert largest_weight * 2 ** (nodes.PIXEL_BITS - HALF) <= nodes.EXACT
    assert largest_weight * 2**HALF <= nodes.EXACT
