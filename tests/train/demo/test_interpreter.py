"""The JavaScript interpreter of the live page returns the bits of programs, in a real browser."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings

from pit_jax import examples, neurons
from pit_jax.inference import SpikingProgram, compile
from pit_jax.layers.pooling import adaptive_avg_pool
from pit_jax.neurons.step import hard_reset
from tests.browser import open_browser
from tests.helpers import compile_quickly, jit_once
from tests.inference.networks import NEURONS, make_firing_network
from tests.inference.random_networks import (
    ALLOW_SILENT_CHANNELS,
    make_small_network,
    make_variables,
    random_networks,
)
from tests.train.demo.answers import answer_in_page, assert_page_equals_program

pytestmark = pytest.mark.slow

# As pixels (p / 255 - MEAN) / STD the images are nearly those of a normal distribution.
MEAN, STD = 0.5, 0.2
FAMILIES = [
    ("resnet8", "PIT", 2, 4, {}),
    ("sew_resnet18", "PIT", 2, 2, {}),
    ("sew_resnet18", "IF", 2, 1, {"join": "and"}),
    ("sew_resnet18", "IF", 2, 1, {"join": "iand"}),
    ("ms_resnet18", "GLIF", 2, 1, {}),
    ("vgg11", "PITFull", 2, 2, {}),
    ("cifarnet", "CLIF", 4, 1, {}),
    ("plifnet", "Ternary", 2, 1, {}),
    ("spike_driven_transformer", "ILIF", 1, 2, {}),
    ("e_spikeformer_t", "ILIF", 2, 4, {}),
]


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly() -> Iterator[None]:
    """Compile with few optimizations: programs are exact, so their bits do not depend on it."""
    with compile_quickly():
        yield


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser.new_page()


def draw_images(shape: tuple[int, ...], count: int = 4) -> np.ndarray:
    values = np.random.default_rng(0).normal(127.5, 51, (count, *shape))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def compile_pixels(
    model: nn.Module, variables: Any, images: np.ndarray, **options: Any
) -> SpikingProgram:
    channels = images.shape[-1]
    mean, std = ([each] * channels for each in (MEAN, STD))
    return compile(model, variables, images, mean=mean, std=std, verify=False, **options)


def assert_fires(program: SpikingProgram, images: np.ndarray) -> None:
    spikes = program.watch(images, "slots")[1].values()
    assert sum(bool(np.any(each)) for each in spikes) > len(spikes) / 2


def test_two_hundred_digits_have_the_logits_spikes_and_additions_of_the_program(page):
    run = examples.digits()
    images, labels = run.images("test")
    program = run.compile(images[:60])
    assert_page_equals_program(page, program, images[:200])
    answers = answer_in_page(page, program, images[:200])
    right = np.mean([answer["label"] for answer in answers] == labels[:200])
    assert right > 0.98


@pytest.mark.parametrize("name, neuron, steps, levels, fields", FAMILIES)
def test_networks_of_all_families(page, name, neuron, steps, levels, fields):
    model, variables, x = make_firing_network(name, NEURONS[neuron](levels), steps, **fields)
    images = draw_images(x.shape[1:])
    program = compile_pixels(model, variables, images)
    assert_fires(program, images)
    assert_page_equals_program(page, program, images)


def test_all_other_neurons_in_one_network_of_int8_weights(page):
    names = sorted(NEURONS)
    factories = tuple(NEURONS[name](2) for name in names)
    layers = [(16, 3, 1, 1, "")] * len(names)
    model, variables, x = make_small_network(factories, 3, *layers, batch=4)
    images = draw_images(x.shape[1:])
    program = compile_pixels(model, variables, images, weights="int8")
    assert_fires(program, images)
    assert_page_equals_program(page, program, images)


def test_the_bitwise_code_and_counts_above_the_levels(page):
    layers = [(4, 3, 1, 1, ""), (4, 3, 2, 2, "")]
    model, variables, x = make_small_network(partial(neurons.PIT, levels=5), 2, *layers)
    images = draw_images(x.shape[1:])
    images[0] = 255  # Large currents reach more levels than there are.
    program = compile_pixels(model, variables, images, code="bitwise")
    assert set(program.slots.values()) == {(4, 2, 1)}
    assert_page_equals_program(page, program, images)


def test_a_hard_reset(page):
    layers = [(4, 3, 1, 1, "")] * 2
    hard = partial(neurons.PIT, levels=4, reset=hard_reset)
    model, variables, x = make_small_network(hard, 3, *layers)
    images = draw_images(x.shape[1:])
    assert_page_equals_program(page, compile_pixels(model, variables, images), images)


class Parts(nn.Module):
    """Pools and sums of pixels and spikes that the networks of the paper do not have."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.broadcast_to(x[:, None], (len(x), 2, *x.shape[1:]))
        pit = partial(neurons.PIT, levels=2)
        flatten = lambda y: y.reshape(*y.shape[:2], -1)  # noqa: E731
        padded = {"strides": (2, 2), "padding": "SAME"}
        spikes = pit()(nn.Conv(4, (3, 3))(x))
        parts = [
            pit()(nn.Conv(4, (3, 2), strides=(2, 1))(nn.avg_pool(x, (2, 2), (2, 2)))),
            pit()(nn.Dense(6)(x)),
            pit()(nn.max_pool(x, (3, 3), **padded)),
            pit()(nn.Dense(6)(flatten(adaptive_avg_pool(spikes, 4)))),
            pit()(nn.Conv(6, (2, 2))(nn.max_pool(spikes, (2, 3), **padded))),
            pit()(nn.Conv(8, (3, 3), feature_group_count=4)(nn.avg_pool(spikes, (3, 3), **padded))),
            pit()(nn.Dense(6)(nn.max_pool(spikes, (2, 2), (2, 2)).mean(2))),
        ]
        return sum(nn.Dense(5)(flatten(part)) for part in parts)


def test_pools_and_sums_of_pixels_and_spikes(page):
    images = draw_images((7, 6, 2))
    x = jnp.asarray((images / 255 - MEAN) / STD, jnp.float32)
    model = Parts()
    program = compile_pixels(model, jit_once(model.init)(jax.random.key(0), x), images)
    assert_fires(program, images)
    assert_page_equals_program(page, program, images)


@ALLOW_SILENT_CHANNELS
@given(random_networks(), st.integers(0, 99))
@settings(max_examples=25, phases=[Phase.generate])
def test_random_networks(page, drawn, seed):
    model, shape, code, weights = drawn
    shape = shape[-3:]
    images = draw_images(shape, 2)
    x = jax.random.normal(jax.random.key(seed), (4, *shape))
    variables = make_variables(model, x, seed)
    program = compile_pixels(model, variables, images, code=code, weights=weights)
    assert_page_equals_program(page, program, images)
