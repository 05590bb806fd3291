"""Inputs that a network cannot take: refused when it is initialized, with what would fit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import create
from pit_jax.neurons import ILIF, LIF, PIT, QAT, PITFull
from pit_jax.neurons.scale import PARAMETRIZATIONS
from tests.helpers import jit_once

# The smallest height and width of each network that needs more than one pixel.
LEAST = {"vgg11": 16, "vgg16": 32, "plifnet": 4, "resnet20": 2}
# One of each family; the others differ in depth and width.
NETWORKS = ["resnet8", "resnet19", "resnet20", "resnet34", "vgg11", "vgg16", "plifnet", "cifarnet"]
NETWORKS += ["sew_resnet50", "ms_resnet18", "spike_driven_transformer", "e_spikeformer_t"]


def trace(network, shape, num_steps=2, **fields):
    """Return the shape of the logits of a network for images of a shape."""
    model = create(network, num_classes=5, neuron=LIF, num_steps=num_steps, **fields)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], images).shape


@pytest.mark.parametrize("network", NETWORKS)
def test_images_too_small_for_a_network_are_refused_and_the_least_size_is_accepted(network):
    least = LEAST.get(network, 1)
    assert trace(network, (3, least, least, 3)) == (3, 2, 5)
    for height, width in ((least - 1, least), (least, least - 1), (least // 2, least // 2)):
        if min(height, width) < 1:
            with pytest.raises(ValueError, match="is empty; pass at least one image"):
                trace(network, (3, height, width, 3))
        else:
            with pytest.raises(ValueError, match=f"need images of at least {least} x {least}"):
                trace(network, (3, height, width, 3))


@pytest.mark.parametrize("network", ["resnet8", "vgg16", "plifnet", "e_spikeformer_t"])
def test_channels_first_are_refused_with_the_question_whether_they_should_come_last(network):
    for shape in ((2, 3, 32, 32), (2, 1, 28, 28), (2, 2, 2, 128, 128), (2, 3, 48, 64)):
        with pytest.raises(ValueError, match="should channels come last, as in"):
            trace(network, shape)


def test_shapes_that_may_have_their_channels_last_pass():
    for shape in ((2, 32, 32, 3), (2, 3, 32, 16), (2, 1, 1, 700), (2, 4, 4, 4), (2, 1, 64, 32)):
        assert trace("resnet8", shape) == (2, 2, 5)
    assert trace("resnet8", (2, 2, 32, 32, 2)) == (2, 2, 5)


def test_channels_first_are_refused_with_the_trained_number_after_initialization():
    model = create("resnet8", num_classes=5, neuron=LIF, width=2, stages=(1,))
    variables = jit_once(model.init)(jax.random.key(0), jnp.ones((2, 8, 8, 3)))
    with pytest.raises(ValueError, match="initialized for 3 input channels, but the input has 8"):
        model.apply(variables, jnp.ones((2, 3, 8, 8)))


@pytest.mark.parametrize("network", ["resnet8", "vgg11", "cifarnet", "e_spikeformer_t"])
def test_empty_batches_are_refused(network):
    for shape in ((0, 32, 32, 3), (0, 2, 32, 32, 3), (2, 0, 32, 3), (2, 32, 32, 0)):
        with pytest.raises(ValueError, match="is empty; pass at least one image"):
            trace(network, shape)


@pytest.mark.parametrize("neuron", [LIF, PIT, QAT, ILIF])
def test_empty_currents_of_a_neuron_are_refused(neuron):
    for shape in ((0, 2, 3), (2, 0, 3), (2, 2, 0)):
        with pytest.raises(ValueError, match="at least one value"):
            neuron().init(jax.random.key(0), jnp.ones(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "neuron", [PIT, PITFull, QAT, *(partial(PIT, parametrize=p) for p in PARAMETRIZATIONS.values())]
)
def test_a_first_batch_that_is_not_finite_is_refused_where_scales_start_from_it(neuron, value):
    current = np.random.default_rng(0).normal(size=(4, 2, 3, 5)).astype(np.float32)
    current[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match="of .* scales of .*a would start as NaN or infinity"):
        neuron().init(jax.random.key(0), jnp.asarray(current))


def test_a_first_batch_that_is_not_finite_is_refused_by_the_network():
    model = create("resnet8", num_classes=5, neuron=PIT, width=2, stages=(1,))
    images = np.ones((4, 8, 8, 1), np.float32)
    images[0, 3, 3, 0] = np.nan
    with pytest.raises(ValueError, match="scales of stage1_block1/PIT_0/a would .* its images"):
        model.init(jax.random.key(0), jnp.asarray(images))
