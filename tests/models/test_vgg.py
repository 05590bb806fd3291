"""VGG networks: sizes, order of layers, heads, pools, dropout and initial values."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.layers.norm import no_norm
from pit_jax.models import VGG, create
from pit_jax.neurons import ILIF, LIF, PIT, ReLU, scale
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import KEY, Unmoved, count_parameters, get_shapes, init_layers
from tests.models.reference import dense, flatten, plain_layer, pool2x2, random_variables

FIVE_POOLS = (1, 2, 4, 6, 8)
RELEASED = partial(PIT, parametrize=scale.released)  # A vector and a scalar at every step.


@pytest.mark.parametrize(
    "neuron, size, num_classes, num_steps, pool_after, want",
    [
        (PIT, 48, 10, 10, (2, 4, 6, 8), 9_299_018),
        (PIT, 128, 11, 20, FIVE_POOLS, 9_331_147),
        (RELEASED, 48, 10, 10, (2, 4, 6, 8), 9_299_098),
        (RELEASED, 128, 11, 20, FIVE_POOLS, 9_331_307),
    ],
    ids=["CIFAR10-DVS", "DVS-Gesture", "CIFAR10-DVS, released", "DVS-Gesture, released"],
)
def test_vgg11_has_the_parameters_of_the_paper_including_scales(
    neuron, size, num_classes, num_steps, pool_after, want
):
    kinds = count_parameters(
        "vgg11", (num_steps, size, size, 2), num_classes, neuron, num_steps, pool_after=pool_after
    )
    assert kinds.total() == want


@pytest.mark.parametrize(
    "name, shape, num_classes, kw, want",
    [
        ("vgg11", (48, 48, 2), 10, {"head": "flatten"}, 9_271_498),
        ("vgg11", (48, 48, 2), 11, {"head": "flatten"}, 9_276_107),
        ("vgg11", (128, 128, 2), 10, {"head": "flatten", "pool_after": FIVE_POOLS}, 9_307_338),
        ("vgg11", (128, 128, 2), 11, {"head": "flatten", "pool_after": FIVE_POOLS}, 9_315_531),
        ("vgg11", (48, 48, 2), 10, {"head": "adaptive7", "pool_after": FIVE_POOLS}, 9_476_298),
        ("vgg11", (128, 128, 2), 11, {"head": "adaptive7", "pool_after": FIVE_POOLS}, 9_501_387),
        ("vgg11", (48, 48, 2), 10, {"head": "gap"}, 9_230_538),
        ("vgg11", (32, 32, 3), 10, {"head": "gap"}, 9_231_114),
        ("vgg16", (32, 32, 3), 10, {"conv_bias": True}, 14_728_266),
        ("vgg16", (32, 32, 3), 100, {"conv_bias": True}, 14_774_436),
        ("vgg16", (32, 32, 3), 10, {"conv_bias": True, "norm": no_norm}, 14_719_818),
        ("vgg16", (32, 32, 3), 100, {}, 14_770_212),
    ],
)
def test_published_variants_have_their_parameters(name, shape, num_classes, kw, want):
    assert count_parameters(name, shape, num_classes, ReLU, **kw).total() == want


def adaptive(x, size):
    """Average over cells from floor(i n / size) to ceil((i + 1) n / size) on both axes."""
    n = x.shape[2]
    cells = [slice(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
    rows = [[x[:, :, row, column].mean(axis=(2, 3)) for column in cells] for row in cells]
    return np.stack([np.stack(row, axis=2) for row in rows], axis=2)


HEADS = {
    "adaptive3": partial(adaptive, size=3),
    "adaptive7": partial(adaptive, size=7),
    "gap": partial(adaptive, size=1),
    "flatten": lambda x: x,
}


# Each head once, and images and frames twice; the other pairs are slow.
@pytest.mark.parametrize(
    "head, shape",
    [
        pytest.param(head, shape, id=f"{head}-{name}", marks=() if quick else pytest.mark.slow)
        for number, head in enumerate(HEADS)
        for name, shape, quick in [
            ("image", (2, 10, 10, 2), number % 2 == 0),
            ("frames", (2, 2, 10, 10, 2), number % 2 == 1),
        ]
    ],
)
def test_logits_equal_those_of_a_network_in_numpy(x64, head, shape):
    model = VGG(
        num_classes=5,
        neuron=partial(ILIF, levels=2),
        num_steps=2,
        widths=(3, 4, 5),
        pool_after=(2,),
        head=head,
    )
    x = np.random.default_rng(1).normal(size=shape)
    variables = random_variables(model, shape)

    spikes = x if len(shape) == 5 else x[:, None]
    for number in (1, 2, 3):
        spikes = plain_layer(spikes, number, variables, levels=2, num_steps=2)
        assert set(np.unique(spikes)) == {0, 1, 2}
        if number == 2:
            spikes = pool2x2(spikes, np.mean)
    params = variables["params"]["head"]
    want = dense(flatten(HEADS[head](spikes)), params)
    assert np.ptp(want[:, 0] - want[:, 1]) > 0.1  # Steps differ.
    logits = jit_once(model.apply)(variables, x)
    np.testing.assert_allclose(logits, want, rtol=0, atol=1e-9)


def test_the_first_convolution_and_norm_run_once_per_image_and_once_per_frame():
    model = create("vgg11", num_classes=10, neuron=Unmoved, num_steps=4)
    for shape, steps in [((3, 48, 48, 2), 1), ((3, 4, 48, 48, 2), 4)]:
        _, variables = get_shapes(model, shape, capture_intermediates=True)
        outputs = collect_by_layer(variables["intermediates"], "__call__")
        assert outputs["conv1"].shape == outputs["norm1"].shape == (3, steps, 48, 48, 64)
        assert outputs["Unmoved_0"].shape == (3, 4, 48, 48, 64)
        assert outputs["head"].shape == (3, 4, 10)


def test_an_unknown_head_is_an_error_that_lists_the_heads():
    heads = "adaptive3, adaptive7, flatten, gap"
    with pytest.raises(ValueError, match=f"head is 'mean'; it can be {heads}"):
        create("vgg11", num_classes=10, neuron=LIF, head="mean")


@pytest.mark.parametrize("pool_after", [(2, 9), (0, 2), (4, 2), (2, 2), (8, 10)])
def test_pools_out_of_range_or_out_of_order_are_refused(pool_after):
    with pytest.raises(ValueError, match=r"must list convolutions from 1 to 8 .* order, got \("):
        create("vgg11", num_classes=10, neuron=LIF, pool_after=pool_after)


def test_pool_after_may_be_empty():
    model = create("vgg11", num_classes=10, neuron=LIF, widths=(4, 4), pool_after=())
    assert get_shapes(model, (2, 8, 8, 3))[0].shape == (2, 1, 10)


@pytest.mark.parametrize("size", [(15, 16), (16, 8)])
def test_images_too_small_for_the_pools_are_refused_with_both_sizes(size):
    model = create("vgg11", num_classes=10, neuron=LIF)
    message = rf"4 pools .* at least 16 x 16, got {size[0]} x {size[1]}; .*pool_after"
    with pytest.raises(ValueError, match=message):
        get_shapes(model, (2, *size, 3))
    assert get_shapes(model, (2, 16, 16, 3))[0].shape == (2, 1, 10)


def test_a_wrong_number_of_input_channels_is_an_error_with_both_numbers():
    model = create("vgg11", num_classes=10, neuron=LIF)
    _, variables = get_shapes(model, (2, 16, 16, 2))
    with pytest.raises(ValueError, match="for 2 input channels, but the input has 3"):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32))


def make_small(**kw):
    """Return a VGG with two convolutions, a pool after the second, and identity norms."""
    norm = partial(_identity, nn.BatchNorm, epsilon=0)
    return VGG(
        num_classes=5, neuron=ReLU, num_steps=2, widths=(4, 6), pool_after=(2,), norm=norm, **kw
    )


def _identity(norm, use_running_average, **kw):
    return norm(use_running_average=True, **kw)


@cache
def init_small():
    """Return the variables of `make_small`, which do not depend on dropout rates."""
    return jit_once(make_small().init)(KEY, jnp.ones((3, 8, 8, 2)))


def run_dropout(model, **kw):
    """Return the outputs of dropouts and neurons for a bright image."""
    image = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (3, 8, 8, 2)), jnp.float32)
    run = partial(model.apply, mutable=["intermediates"], capture_intermediates=True, **kw)
    _, new = jit_once(run)(init_small(), image, rngs={"dropout": KEY})
    return collect_by_layer(new["intermediates"], "__call__")


def test_dropout_follows_each_neuron_before_the_pool_with_one_mask_for_all_steps():
    outputs = run_dropout(make_small(dropout=0.25, head_dropout=0.0), train=True)
    for layer in ("0", "1"):
        spikes, kept = outputs[f"ReLU_{layer}"], outputs[f"Dropout_{layer}"]
        assert kept.shape[2:4] == (8, 8)
        np.testing.assert_array_equal(kept[:, 0], kept[:, 1])
        mask = np.asarray(kept != 0)
        np.testing.assert_allclose(kept[mask], spikes[mask] / 0.75, rtol=1e-6)
        assert 0.2 < np.mean(~mask[spikes > 0]) < 0.3
        assert (mask[0] != mask[1]).any()  # Samples have different masks.
    np.testing.assert_allclose(outputs["Dropout_2"], pool_for_head(kept), rtol=1e-6)


def pool_for_head(x):
    return flatten(adaptive(pool2x2(np.asarray(x), np.mean), 3))


def test_the_head_drops_a_quarter_of_its_inputs_with_one_mask_for_all_steps():
    outputs = run_dropout(make_small(), train=True)
    kept = np.asarray(outputs["Dropout_2"])
    assert kept.shape == (3, 2, 3 * 3 * 6)
    np.testing.assert_array_equal(kept[:, 0], kept[:, 1])
    np.testing.assert_array_equal(outputs["Dropout_1"], outputs["ReLU_1"])
    reached = pool_for_head(outputs["ReLU_1"]) > 0
    assert 0.15 < np.mean(kept[reached] == 0) < 0.35


def test_evaluation_drops_nothing():
    outputs = run_dropout(make_small(dropout=0.5))
    for layer in ("0", "1"):
        np.testing.assert_array_equal(outputs[f"Dropout_{layer}"], outputs[f"ReLU_{layer}"])
    np.testing.assert_allclose(outputs["Dropout_2"], pool_for_head(outputs["ReLU_1"]), rtol=1e-6)


def test_initial_weights_follow_the_authors():
    model = create("vgg11", num_classes=100, neuron=ReLU, widths=(64, 128), pool_after=(1, 2))
    names = ["conv1", "conv2", "norm1", "norm2", "head"]
    layers = dict(zip(names, init_layers(model, (1, 8, 8, 3), *names), strict=True))
    kernel = layers["conv2"]["kernel"]  # Normal, variance 2 / fan_out.
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert np.max(np.abs(kernel)) > 4 * np.std(kernel)
    head = layers["head"]["kernel"]
    assert np.std(head) == pytest.approx(0.01, rel=0.02) and abs(np.mean(head)) < 1e-4
    for layer in layers.values():
        assert not layer["bias"].any()
