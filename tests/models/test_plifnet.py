"""PLIFNet: sizes, pools, order of layers, vote, dropout and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import PLIFNet, create
from pit_jax.models.count import parameters_by_kind
from pit_jax.neurons import ILIF, LIF, PLIF, ReLU
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import KEY, get_shapes
from tests.models.reference import dense, fire, flatten, plain_layer, pool2x2, random_variables


@pytest.mark.parametrize(
    "shape, num_classes, kw, layers, total",
    [
        ((32, 32, 3), 10, {}, 9, 37_308_681),
        ((32, 32, 3), 10, {"widths": (256,) * 6, "pool_after": (3, 6)}, 8, 36_718_344),
        ((128, 128, 2), 10, {"widths": (128,) * 4, "pool_after": (1, 2, 3, 4)}, 6, 17_427_718),
        (
            (128, 128, 2),
            11,
            {"widths": (128,) * 5, "pool_after": (1, 2, 3, 4, 5), "hidden": 512},
            7,
            1_698_311,
        ),
    ],
    ids=["printed", "CIFAR10", "CIFAR10-DVS", "DVS-Gesture"],
)
def test_plif_adds_one_decay_per_neuron_layer_to_each_published_size(
    shape, num_classes, kw, layers, total
):
    model = create("plifnet", num_classes=num_classes, neuron=PLIF, **kw)
    logits, variables = get_shapes(model, (1, *shape))
    kinds = parameters_by_kind(variables["params"])
    assert kinds["neuron"] == layers and kinds.total() == total
    assert logits.shape == (1, 1, num_classes)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2, 9, 8, 2), id="image", marks=pytest.mark.slow),
        pytest.param((2, 2, 9, 8, 2), id="frames"),
    ],
)
def test_logits_equal_those_of_a_network_in_numpy(x64, shape):
    model = PLIFNet(
        num_classes=3,
        neuron=partial(ILIF, levels=2),
        num_steps=2,
        widths=(3, 4, 5),
        pool_after=(1, 3),
        hidden=7,
        voters=4,
    )
    x = np.random.default_rng(1).normal(size=shape)
    variables = random_variables(model, shape)

    spikes = x if len(shape) == 5 else x[:, None]
    for number in (1, 2, 3):
        spikes = plain_layer(spikes, number, variables, levels=2, num_steps=2)
        if number != 2:
            spikes = pool2x2(spikes, np.max)
    spikes = flatten(spikes)
    for name in ("hidden", "head"):
        spikes = fire(dense(spikes, variables["params"][name]), levels=2)
        assert set(np.unique(spikes)) == {0, 1, 2}
    want = np.stack([spikes[..., 4 * k : 4 * k + 4].mean(axis=-1) for k in range(3)], axis=-1)
    assert (want[:, 0] != want[:, 1]).any() and (want[0] != want[1]).any()
    np.testing.assert_allclose(jit_once(model.apply)(variables, x), want, rtol=0, atol=1e-9)


def test_the_first_convolution_runs_once_per_image():
    model = create("plifnet", num_classes=10, neuron=LIF, num_steps=4)
    _, variables = get_shapes(model, (3, 32, 32, 3), capture_intermediates=True)
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert outputs["conv1"].shape == outputs["norm1"].shape == (3, 1, 32, 32, 256)
    assert outputs["LIF_0"].shape == (3, 4, 32, 32, 256)
    assert outputs["hidden"].shape == (3, 4, 2048) and outputs["head"].shape == (3, 4, 100)


def test_each_linear_layer_drops_half_of_its_inputs_with_one_mask_for_all_steps():
    model = PLIFNet(
        num_classes=4, neuron=ReLU, num_steps=2, widths=(8,), pool_after=(1,), hidden=64
    )
    image = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), jnp.float32)
    variables = jit_once(model.init)(KEY, image)
    run = partial(
        model.apply,
        train=True,
        mutable=["intermediates", "batch_stats"],
        capture_intermediates=True,
    )
    _, new = jit_once(run)(variables, image, rngs={"dropout": KEY})
    outputs = collect_by_layer(new["intermediates"], "__call__")
    pooled = flatten(pool2x2(np.asarray(outputs["ReLU_0"]), np.max))
    for before, after in [(pooled, "Dropout_0"), (np.asarray(outputs["ReLU_1"]), "Dropout_1")]:
        kept = np.asarray(outputs[after])
        assert 0.4 < np.mean(kept[before > 0] == 0) < 0.6
        np.testing.assert_allclose(kept[kept != 0], 2 * before[kept != 0], rtol=1e-6)
        np.testing.assert_array_equal(kept[:, 0], kept[:, 1])


@pytest.mark.parametrize("pool_after", [(4, 8), (0, 4), (7, 4)])
def test_pools_out_of_range_or_out_of_order_are_refused(pool_after):
    with pytest.raises(ValueError, match="must list convolutions from 1 to 7 in increasing"):
        create("plifnet", num_classes=10, neuron=LIF, pool_after=pool_after)


def test_images_too_small_for_the_pools_are_refused_with_both_sizes():
    model = create("plifnet", num_classes=10, neuron=LIF)
    with pytest.raises(ValueError, match="2 pools .* at least 4 x 4, got 8 x 3"):
        get_shapes(model, (2, 8, 3, 3))


def test_a_wrong_number_of_input_channels_is_an_error_with_both_numbers():
    model = create("plifnet", num_classes=10, neuron=LIF)
    _, variables = get_shapes(model, (2, 8, 8, 2))
    with pytest.raises(ValueError, match="for 2 input channels, but the input has 3"):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32))
