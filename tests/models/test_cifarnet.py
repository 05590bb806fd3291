"""CIFARNet: size, order of layers, strides, statistics, dropout and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import CIFARNet, create
from pit_jax.models.count import parameters_by_kind
from pit_jax.neurons import ILIF, LIF, ReLU
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import KEY, get_shapes, init_layers
from tests.models.reference import dense, fire, flatten, norm, plain_layer, random_variables


def test_the_published_size_counts_weights_only():
    model = create("cifarnet", num_classes=10, neuron=LIF)
    kinds = parameters_by_kind(get_shapes(model, (1, 32, 32, 3))[1]["params"])
    assert kinds.total() == 44_490_250
    assert kinds["conv kernel"] + kinds["linear kernel"] == 44_479_872


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2, 9, 8, 2), id="image"),
        pytest.param((2, 2, 9, 8, 2), id="frames", marks=pytest.mark.slow),
    ],
)
def test_logits_equal_those_of_a_network_in_numpy(x64, shape):
    model = CIFARNet(
        num_classes=3,
        neuron=partial(ILIF, levels=2),
        num_steps=2,
        widths=(3, 4, 5),
        strides=(1, 2, 2),
        hidden=17,
    )
    x = np.random.default_rng(1).normal(size=shape)
    variables = random_variables(model, shape)
    params, stats = variables["params"], variables["batch_stats"]

    spikes = x if len(shape) == 5 else x[:, None]
    for number, stride in [(1, 1), (2, 2), (3, 2)]:
        spikes = plain_layer(
            spikes, number, variables, levels=2, num_steps=2, stride=stride, epsilon=1e-4
        )
    assert spikes.shape[2:] == (3, 2, 5)
    current = dense(flatten(spikes), params["hidden"])
    current = norm(current, params["hidden_norm"], stats["hidden_norm"], epsilon=1e-4)
    spikes = fire(current, levels=2)
    assert set(np.unique(spikes)) == {0, 1, 2}
    want = dense(spikes, params["head"])
    assert np.ptp(want[:, 0] - want[:, 1]) > 0.1  # Steps differ.
    np.testing.assert_allclose(jit_once(model.apply)(variables, x), want, rtol=0, atol=1e-9)


def test_the_first_convolution_runs_once_per_image():
    model = create("cifarnet", num_classes=10, neuron=LIF, num_steps=4)
    _, variables = get_shapes(model, (3, 32, 32, 3), capture_intermediates=True)
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert outputs["conv1"].shape == outputs["norm1"].shape == (3, 1, 32, 32, 128)
    assert outputs["LIF_0"].shape == (3, 4, 32, 32, 128)


@pytest.fixture(scope="module")
def trained():
    """Return the outputs of every layer and the statistics after one training pass."""
    model = CIFARNet(
        num_classes=5, neuron=ReLU, num_steps=2, widths=(4, 6), strides=(1, 2), hidden=64
    )
    image = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 8, 3)), jnp.float32)
    variables = jit_once(model.init)(KEY, image)
    run = partial(
        model.apply,
        train=True,
        mutable=["intermediates", "batch_stats"],
        capture_intermediates=True,
    )
    _, new = jit_once(run)(variables, image, rngs={"dropout": KEY})
    return collect_by_layer(new["intermediates"], "__call__"), new["batch_stats"]


def test_running_statistics_weight_the_newest_batch_by_nine_tenths(trained):
    outputs, stats = trained
    for layer, norm_name in [("conv1", "norm1"), ("conv2", "norm2"), ("hidden", "hidden_norm")]:
        mean = np.asarray(outputs[layer], np.float64).reshape(-1, outputs[layer].shape[-1]).mean(0)
        np.testing.assert_allclose(stats[norm_name]["mean"], 0.9 * mean, rtol=1e-4, atol=1e-5)


def test_the_head_drops_a_fifth_of_its_inputs_with_one_mask_for_all_steps(trained):
    outputs, _ = trained
    spikes, kept = np.asarray(outputs["ReLU_2"]), np.asarray(outputs["Dropout_0"])
    assert 0.1 < np.mean(kept[spikes > 0] == 0) < 0.3
    np.testing.assert_allclose(kept[kept != 0], spikes[kept != 0] / 0.8, rtol=1e-6)
    np.testing.assert_array_equal(kept[:, 0], kept[:, 1])


def test_initial_weights_and_biases_follow_pytorch():
    model = create(
        "cifarnet", num_classes=256, neuron=ReLU, widths=(64, 128), strides=(2, 2), hidden=128
    )
    layers = init_layers(model, (1, 8, 8, 3), "conv2", "hidden", "head")
    for layer, fan_in in zip(layers, (9 * 64, 4 * 128, 128), strict=True):
        for values in layer.values():  # Uniform within 1 / sqrt(fan_in).
            assert 0.9 < np.max(np.abs(values)) * np.sqrt(fan_in) <= 1
            assert np.std(values) * np.sqrt(3 * fan_in) == pytest.approx(1, rel=0.15)


def test_widths_and_strides_of_different_length_are_refused():
    with pytest.raises(ValueError, match="got 2 widths and 5 strides"):
        create("cifarnet", num_classes=10, neuron=LIF, widths=(8, 8))
    with pytest.raises(ValueError, match="same length, at least 1; got 0 widths"):
        create("cifarnet", num_classes=10, neuron=LIF, widths=(), strides=())


def test_a_wrong_number_of_input_channels_is_an_error_with_both_numbers():
    model = create("cifarnet", num_classes=10, neuron=LIF)
    _, variables = get_shapes(model, (2, 8, 8, 2))
    with pytest.raises(ValueError, match="for 2 input channels, but the input has 3"):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32))
