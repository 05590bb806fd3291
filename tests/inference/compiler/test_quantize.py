"""Quantization of networks with extreme scales: every integer fits, or they are refused."""

import numpy as np
import pytest

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.compiler.quantize import quantize
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime import nodes

ONE = np.ones((1, 1))


def make_sum(source: int, weight: np.ndarray, path: str) -> folded.Accumulator:
    synapse = folded.Synapse(source, weight=folded.Dense(weight), path=path)
    return folded.Accumulator(folded.Value((synapse,), np.zeros((1, 1)), weight.shape[-1:]), path)


def make_rescaling(source: int, gain, bias, shape=(2,)) -> folded.Accumulator:
    """Return a current times `gain` `[1 or T, C]`, plus `bias`, as after a norm."""
    synapse = folded.Synapse(source, gain=np.array(gain, float))
    return folded.Accumulator(folded.Value((synapse,), np.array(bias, float), shape), "norm")


def make_network(gain, bias, leak: float = 0.5) -> list[folded.Node]:
    """Return pixels, a sum of them that is scaled, neurons that leak, and logits."""
    rule = FiringRule(ONE, ONE, 1, ONE, leak * ONE, leak * ONE)
    return [
        folded.Pixels((3,)),
        make_sum(0, np.array([[[1.0, -0.7], [0.5, 0.3], [0.2, 0.1]]]), "sum"),
        make_rescaling(1, gain, bias),
        folded.Spikes(2, rule, (2,), "neuron"),
        make_sum(3, np.eye(2)[None], "logits"),
    ]


@pytest.mark.parametrize("num_steps", [1, 4])
@pytest.mark.parametrize("gain", [1e-4, 1e-5])
def test_a_bias_far_above_its_gain_makes_the_unit_coarser(gain, num_steps):
    graph = quantize(make_network([[1.0, gain]], [[0.0, 1.5]]), num_steps, largest_input=1.0)
    node = graph[2]
    assert isinstance(node, nodes.Accumulator)
    np.testing.assert_allclose(node.bias * node.unit, [[0, 1.5]], rtol=1e-4)
    assert node.bound * num_steps < 2**29


def test_a_gain_that_would_leave_a_layer_few_bits_is_refused():
    with pytest.raises(NotFoldable, match="as little as 1e-12.* set those near 0 to 0"):
        quantize(make_network([[1.0, 1e-12]], [[0.0, 1.5]]), 1, largest_input=1.0)
    node = quantize(make_network([[1.0, 0.0]], [[0.0, 1.5]]), 1, largest_input=1.0)[2]
    np.testing.assert_allclose(node.bias * node.unit, [[0, 1.5]], rtol=1e-4)


def test_gains_far_apart_from_step_to_step_make_the_unit_coarser():
    even, uneven = (
        quantize(make_network([[first, 1], [1, 1]], [[0, 0]], 1.0), 2, largest_input=1.0)
        for first in (1, 100)
    )
    assert (uneven[1].unit >= 2 * even[1].unit).all()
    neuron = uneven[3].neuron
    assert 101 * uneven[2].bound * 2**neuron.guard <= 2**30
    assert neuron.leak.tolist() == [[100 * 4096, 4096], [4096, 4096]]


def test_gains_too_far_apart_from_step_to_step_are_refused():
    with pytest.raises(NotFoldable, match="at most 524288 fits. Bring the scales"):
        quantize(make_network([[1e3, 1], [1, 1]], [[0, 0]], 1.0), 2, largest_input=1.0)


def make_attention(weight: float, tokens: int) -> list[folded.Node]:
    """Return attention of `tokens` with 64 channels and counts of 4 to itself."""
    shape = (tokens, 64)
    rule = FiringRule(ONE / 2, ONE, 4, ONE, 0 * ONE, 0 * ONE)
    first = folded.Synapse(0, weight=folded.Dense(np.eye(64)[None]), path="first")
    return [
        folded.Pixels(shape),
        folded.Accumulator(folded.Value((first,), np.zeros((1, 1)), shape), "first"),
        folded.Spikes(1, rule, shape, "first"),
        folded.LinearAttention(2, 2, 2, 1, np.full((1, 64), weight), shape, "attention"),
        make_rescaling(3, [[1.0]], [[0.0]], shape),
    ]


def test_attention_over_too_many_tokens_is_refused():
    # 4^3 64 tokens |w| 2^p <= 2^24.
    few = quantize(make_attention(0.3, 256), 1, largest_input=1.0)[3]
    assert isinstance(few, nodes.LinearAttention) and few.bound < nodes.EXACT
    np.testing.assert_allclose(few.weight * few.unit, 0.3, rtol=1 / 16)
    with pytest.raises(NotFoldable, match="Use fewer tokens, lower levels or more heads"):
        quantize(make_attention(0.3, 4096), 1, largest_input=1.0)
    with pytest.raises(NotFoldable, match="Use fewer tokens"):
        quantize(make_attention(0.3, 2**14), 1, largest_input=1.0)


def test_attention_weights_that_are_powers_of_two_are_exact():
    node = quantize(make_attention(0.25, 4096), 1, largest_input=1.0)[3]
    assert (node.weight * node.unit == 0.25).all()


def test_rounding_keeps_attention_within_the_limit():
    # 4^3 64 terms of each of 199 tokens: 2^24 allows weights of 20.58, and 20.55 rounds to 21.
    node = quantize(make_attention(20.55 / 2**20, 199), 1, largest_input=1.0)[3]
    assert (node.weight == 20).all() and node.bound <= nodes.EXACT
