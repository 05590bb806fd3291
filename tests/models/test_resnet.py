"""Pre-activation ResNets: sizes, shapes, encoding, normalization and shortcuts."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import create
from pit_jax.models.count import parameters_by_kind
from pit_jax.models.residual import Layers
from pit_jax.models.resnet import PreActBlock
from pit_jax.neurons import ILIF, NEURONS, PIT, ReLU
from tests.helpers import collect_by_layer, count_thresholds, jit_once, walk_equations
from tests.models.helpers import KEY, Unmoved, get_shapes, init_layers
from tests.models.reduced import DISTINCT, REDUCED
from tests.models.reference import random_variables


@pytest.mark.parametrize(
    "num_classes, num_steps, total",
    [(10, 4, 11_176_906), pytest.param(100, 1, 11_223_076, marks=pytest.mark.slow)],
)
def test_resnet18_has_the_parameters_of_the_paper_and_one_scale_per_channel_and_step(
    num_classes, num_steps, total
):
    model = create("resnet18", num_classes=num_classes, neuron=PIT, num_steps=num_steps)
    kinds = parameters_by_kind(get_shapes(model, (2, 32, 32, 3))[1]["params"])
    assert kinds == {
        "conv kernel": 11_159_232,
        "conv bias": 4_736,
        "norm": 7_808,
        "linear kernel": 512 * num_classes,
        "linear bias": num_classes,
        "neuron": 3_904 * num_steps,
    }
    assert kinds.total() - kinds["neuron"] == total


def test_resnet18_with_another_neuron_has_no_scales():
    model = create("resnet18", num_classes=10, neuron=ILIF, stages=(1, 1))
    kinds = parameters_by_kind(get_shapes(model, (2, 8, 8, 3))[1]["params"])
    assert kinds["neuron"] == 0 and kinds["norm"] > 0


def test_each_stage_of_resnet18_but_the_first_halves_the_feature_map():
    model = create("resnet18", num_classes=10, neuron=Unmoved, num_steps=2)
    _, variables = get_shapes(model, (3, 32, 32, 3), capture_intermediates=True)
    outputs = {
        k: v.shape for k, v in collect_by_layer(variables["intermediates"], "__call__").items()
    }
    assert outputs["stem"] == (3, 1, 32, 32, 64)  # Once for both steps.
    for stage, (size, channels) in enumerate([(32, 64), (16, 128), (8, 256), (4, 512)], start=1):
        for block in (1, 2):
            assert outputs[f"stage{stage}_block{block}"] == (3, 2, size, size, channels)
    assert outputs["norm"] == (3, 2, 4, 4, 512)
    assert outputs["head"] == (3, 2, 10)


@pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)
def test_images_and_frames_have_logits_for_every_step_with_every_neuron(neuron):
    model = create("resnet8", num_classes=7, neuron=neuron, num_steps=4, stages=(1,))
    assert get_shapes(model, (3, 8, 8, 3), train=True)[0].shape == (3, 4, 7)
    assert get_shapes(model, (3, 4, 8, 8, 2), train=True)[0].shape == (3, 4, 7)


@pytest.mark.parametrize("name", DISTINCT)
def test_every_network_returns_logits_for_every_step_of_images_and_frames(name):
    row = REDUCED[name]
    model = create(name, num_classes=7, neuron=Unmoved, num_steps=4, **row.kw)
    size = row.shape[:2]
    assert get_shapes(model, (3, *size, 3), train=True)[0].shape == (3, 4, 7)
    assert get_shapes(model, (3, 4, *size, 2), train=True)[0].shape == (3, 4, 7)


def test_computing_in_bfloat16_keeps_parameters_and_statistics_in_float32():
    model = create("resnet8", num_classes=7, neuron=PIT, dtype=jnp.bfloat16)
    logits, variables = get_shapes(model, (3, 16, 16, 3), train=True, capture_intermediates=True)
    assert logits.dtype == jnp.bfloat16
    for collection in ("params", "batch_stats"):
        assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables[collection]))
    membranes = collect_by_layer(variables["intermediates"], "membrane")
    assert all(u.dtype == jnp.float32 for u in membranes.values())


def test_repeating_an_image_as_frames_does_not_change_logits(x64):
    model = create("resnet8", num_classes=5, neuron=ILIF, num_steps=2, stages=(1, 1), width=4)
    image = np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    frames = np.repeat(image[:, None], 2, axis=1)
    variables = random_variables(model, image.shape)
    for train in (False, True):
        apply = jit_once(partial(model.apply, train=train, mutable=["batch_stats"]))
        from_image, from_frames = apply(variables, image), apply(variables, frames)
        np.testing.assert_allclose(from_image[0], from_frames[0], rtol=0, atol=1e-9)
        assert np.ptp(from_image[0], axis=(0, 1)).min() > 1e-3  # Samples and steps differ.


@pytest.mark.parametrize(
    "shape, message",
    [
        ((16, 16, 3), r"images \[B, H, W, C\] or frames .*got shape \(16, 16, 3\)"),
        ((1, 2, 3, 16, 16, 3), "images .* or frames .*got shape"),
        ((2, 4, 16, 16, 3), "num_steps=3 steps, but the frames .* have T=4.*num_steps=4"),
    ],
)
def test_an_input_of_the_wrong_shape_is_an_error_with_the_right_one(shape, message):
    model = create("resnet8", num_classes=5, neuron=PIT, num_steps=3)
    with pytest.raises(ValueError, match=message):
        get_shapes(model, shape)


def test_a_wrong_number_of_input_channels_is_an_error_with_both_numbers():
    model = create("resnet8", num_classes=5, neuron=PIT, num_steps=3)
    _, variables = get_shapes(model, (2, 16, 16, 3))
    with pytest.raises(ValueError, match="for 3 input channels, but the input has 4"):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((2, 16, 16, 4), jnp.float32))


def test_lists_in_fields_become_tuples():
    model = create("vgg11", num_classes=5, neuron=PIT, widths=[4, 8], pool_after=[1, 2])
    assert (model.widths, model.pool_after) == ((4, 8), (1, 2))
    assert isinstance(hash(model), int)


def test_an_unknown_network_is_an_error_with_the_nearest_name_and_all_names():
    with pytest.raises(ValueError, match="did you mean 'resnet8'.*known: .*resnet18, resnet19"):
        create("resnet81", num_classes=5, neuron=PIT)
    with pytest.raises(ValueError, match="no network 'mlp'; known: "):
        create("mlp", num_classes=5, neuron=PIT)


def test_equations_are_found_at_any_depth():
    def convolve(x, kernel):
        return jax.lax.conv(x, kernel, (1,), "SAME")

    def loop(x, kernel):
        step = jax.jit(lambda carry, _: (jnp.tanh(convolve(carry, kernel)), None))
        return jax.lax.scan(step, x, None, length=3, unroll=1)[0].sum()

    jaxpr = jax.make_jaxpr(jax.grad(loop))(jnp.ones((1, 2, 5)), jnp.ones((2, 2, 3)))
    around = [
        around for name, around in walk_equations(jaxpr.jaxpr) if name == "conv_general_dilated"
    ]
    assert len(around) >= 2 and all("scan" in names for names in around)


def test_no_convolution_runs_inside_the_loop_over_time():
    neuron = partial(PIT, levels=4, unroll=1)
    model = create("resnet8", num_classes=5, neuron=neuron, num_steps=2, stages=(1, 1))
    _, variables = get_shapes(model, (2, 8, 8, 3))

    def loss(params, stats, x):
        variables = {"params": params, "batch_stats": stats}
        logits, new = model.apply(variables, x, train=True, mutable=["batch_stats"])
        return jnp.mean(logits**2), new

    jaxpr = jax.make_jaxpr(jax.grad(loss, has_aux=True))(
        variables["params"],
        variables["batch_stats"],
        jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32),
    )
    found = list(walk_equations(jaxpr.jaxpr))
    scans = [around for name, around in found if name == "scan"]
    assert len(scans) >= 10  # Forward and backward through five neuron layers.
    convolutions = [around for name, around in found if name == "conv_general_dilated"]
    # The stem and five others forward; backward two for each, but one for the stem.
    assert len(convolutions) >= 6 + 11
    assert not [around for around in convolutions if {"scan", "while"} & set(around)]


def test_batch_norm_uses_each_channels_statistics_over_batch_and_time(x64):
    model = create("resnet8", num_classes=5, neuron=PIT, num_steps=2, stages=(1,), width=6)
    frames = (
        np.random.default_rng(0).normal(size=(3, 2, 8, 8, 2))
        + np.array([0, 3])[:, None, None, None]
    )
    variables = jit_once(model.init)(KEY, frames)
    # Flax starts them in float32, even under x64.
    variables["batch_stats"] = jax.tree.map(lambda x: x.astype(float), variables["batch_stats"])
    _, new = jit_once(
        partial(
            model.apply,
            train=True,
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=True,
        )
    )(variables, frames)
    outputs = collect_by_layer(new["intermediates"], "__call__")
    x = np.asarray(outputs["stem"])
    mean, var = np.empty(6), np.empty(6)
    for c in range(6):
        values = x[..., c].ravel()
        mean[c] = sum(values) / len(values)
        var[c] = sum((values - mean[c]) ** 2) / len(values)
    normalized = (x - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(outputs["stage1_block1/norm1"], normalized, rtol=0, atol=1e-10)
    stats = new["batch_stats"]["stage1_block1"]["norm1"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stages", [(), (2, 0), (1, -1)])
def test_stages_without_blocks_are_refused(stages):
    with pytest.raises(ValueError, match=r"stages(\[1\])? must (be|have) at least 1"):
        create("resnet8", num_classes=5, neuron=PIT, stages=stages)


def block(features, stride):
    norm = partial(nn.BatchNorm, epsilon=0)
    layers = Layers.bind(partial(ILIF, levels=4), norm, dtype=None, train=False)
    return PreActBlock(features=features, stride=stride, layers=layers)


def init_silent_branch(block, x):
    """Return variables with conv2 = 0, so that the block returns its shortcut."""
    variables = jit_once(block.init)(KEY, x)
    variables["params"]["conv2"] = jax.tree.map(jnp.zeros_like, variables["params"]["conv2"])
    return variables


def test_the_identity_shortcut_carries_spikes_not_the_input():
    x = np.random.default_rng(0).normal(1, 2, (2, 1, 4, 4, 3)).astype(np.float32)
    variables = init_silent_branch(block(3, 1), x)
    assert "shortcut" not in variables["params"]
    y = jit_once(block(3, 1).apply)(variables, x)
    np.testing.assert_array_equal(y, count_thresholds(x, 4))  # Norms start as the identity.


def test_the_branch_is_added_to_the_spikes():
    x = np.random.default_rng(0).normal(1, 2, (2, 1, 4, 4, 3)).astype(np.float32)
    variables = init_silent_branch(block(3, 1), x)
    variables["params"]["conv2"]["bias"] = jnp.array([1.0, 2.0, -4.0])
    y = jit_once(block(3, 1).apply)(variables, x)
    np.testing.assert_array_equal(y, count_thresholds(x, 4) + np.array([1, 2, -4], np.float32))


@pytest.mark.parametrize("stride, features", [(2, 3), (1, 5)])
def test_the_projection_shortcut_is_a_one_by_one_convolution_of_the_spikes(stride, features):
    x = np.random.default_rng(0).normal(1, 2, (2, 1, 4, 4, 3)).astype(np.float32)
    variables = init_silent_branch(block(features, stride), x)
    shortcut = variables["params"]["shortcut"]
    assert shortcut["kernel"].shape == (1, 1, 3, features)
    y = jit_once(block(features, stride).apply)(variables, x)
    spikes = count_thresholds(x, 4)[:, :, ::stride, ::stride].astype(np.float64)
    want = spikes @ np.asarray(shortcut["kernel"][0, 0], np.float64) + shortcut["bias"]
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-5)


def test_a_strided_convolution_pads_both_sides_by_one():
    model = create("resnet8", num_classes=2, neuron=ILIF, stages=(1,), width=1, stem_stride=2)
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).astype(np.float32)
    variables = jit_once(model.init)(KEY, x)
    corner = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1)  # Reads the pixel up and left.
    variables["params"]["stem"]["kernel"] = corner
    run = partial(model.apply, mutable=["intermediates"], capture_intermediates=True)
    _, new = jit_once(run)(variables, x)
    stem = collect_by_layer(new["intermediates"], "__call__")["stem"][0, 0, ..., 0]
    want = np.zeros((3, 3), np.float32)
    want[1:, 1:] = x[0, 1:5:2, 1:5:2, 0]
    np.testing.assert_array_equal(stem, want)


def test_initial_weights_follow_pytorch_and_the_authors():
    model = create("resnet8", num_classes=1000, neuron=ReLU, width=64, stages=(1, 1))
    # The block has 64 to 128 channels.
    block, head = init_layers(model, (1, 8, 8, 3), "stage2_block1", "head")

    kernel = block["conv1"]["kernel"]  # Normal, variance 2 / fan_out.
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert abs(np.mean(kernel)) < 1e-3 and np.max(np.abs(kernel)) > 4 * np.std(kernel)

    for values, fan_in in [
        (block["conv1"]["bias"], 9 * 64),
        (block["shortcut"]["bias"], 64),
        (head["kernel"], 128),
    ]:  # Uniform within 1 / sqrt(fan_in).
        assert 0.9 < np.max(np.abs(values)) * np.sqrt(fan_in) <= 1
        assert np.std(values) * np.sqrt(3 * fan_in) == pytest.approx(1, rel=0.15)
    assert not head["bias"].any()
    assert (block["norm1"]["scale"] == 1).all() and not block["norm1"]["bias"].any()
