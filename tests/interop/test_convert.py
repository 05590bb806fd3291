"""State dicts with published names become variables, completely or not at all."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.interop import LAYOUTS, CheckpointError, convert, find_layout
from pit_jax.models import create
from pit_jax.neurons import PIT, ReLU
from tests.helpers import jit_once
from tests.interop.families import FAMILIES, FULL_SIZE
from tests.interop.published import clif_resnet, torchvision

ONE_STAGE = {"stages": (1,), "width": 4}


def make_network(family, neuron=ReLU, **kw):
    fields = {"num_classes": 5, "neuron": neuron} | family.kw | kw
    return create(family.model, **fields)


def describe_images(family, batch=2):
    return jax.ShapeDtypeStruct((batch, *family.shape), jnp.float32)


def convert_family(family, state_dict, **kw):
    return convert(state_dict, make_network(family), describe_images(family), **kw)


def flatten_paths(variables):
    return flatten_dict(variables, sep="/")


def reorder_axes(array):
    """Return a kernel [out, in, space] as [space, in, out], moved index by index."""
    if array.ndim < 2:
        return array
    out, into, *space = array.shape
    turned = np.empty((*space, into, out), array.dtype)
    for o in range(out):
        for i in range(into):
            turned[..., i, o] = array[o, i]
    return turned


def test_every_layout_is_tested():
    assert list(FAMILIES) == list(LAYOUTS)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_value_lands_in_its_layer(name):
    family = FAMILIES[name]
    state_dict = family.state_dict()
    assert find_layout(state_dict) == name
    variables = flatten_paths(convert_family(family, state_dict))
    for theirs, ours in family.places.items():
        expected = reorder_axes(state_dict[theirs])
        found = variables[f"params/{ours}"]
        np.testing.assert_array_equal(np.squeeze(found), np.squeeze(expected), err_msg=ours)
        if ours.endswith("scale"):
            norm, layer = ours.removesuffix("/scale"), theirs.removesuffix(".weight")
            variance = variables[f"batch_stats/{norm}/var"]
            np.testing.assert_array_equal(variance, state_dict[f"{layer}.running_var"])
    # All values are random, so a value that was used twice would show up here.
    values = [np.ravel(leaf) for path, leaf in variables.items() if "talking" not in path]
    assert len(np.unique(np.concatenate(values))) > 0.98 * sum(map(len, values))


@pytest.mark.parametrize("name", FAMILIES)
def test_one_error_lists_all_missing_unused_and_misshapen_names(name):
    family = FAMILIES[name]
    state_dict = family.state_dict() | {"extra.weight": np.ones((3, 2))}
    (wide, its_place), *lacking = family.places.items()
    state_dict[wide] = np.ones((9, *state_dict[wide].shape[1:]), np.float32)
    for theirs, _ in lacking:
        del state_dict[theirs]
    with pytest.raises(CheckpointError) as error:
        convert_family(family, state_dict, layout=name)
    message = str(error.value)
    assert f"  {len(lacking)} missing: " in message
    for theirs, ours in lacking:
        assert f"{theirs} for params/{ours} (" in message
    assert "; 1 unused: extra.weight (3, 2); " in message
    shape = state_dict[wide].shape
    assert f"; 1 misshapen: {wide} {shape} float32 for params/{its_place} (" in message


def test_integer_weights_are_refused():
    family = FAMILIES["clif_resnet"]
    state_dict = family.state_dict()
    state_dict["linear.bias"] = np.arange(5)
    with pytest.raises(CheckpointError, match=r"1 misshapen: linear.bias \(5,\) int64 for"):
        convert_family(family, state_dict)


def test_long_lists_of_names_are_shortened_and_counted():
    family = FAMILIES["clif_resnet"]
    extra = {f"extra{i}.weight": np.ones(1) for i in range(13)}
    with pytest.raises(CheckpointError, match="13 unused: extra0.*extra9.*, and 3 more"):
        convert_family(family, family.state_dict() | extra)


def mark_slow(names):
    # The others have each layout once.
    slow = (
        "resnet34",
        "sew_resnet50",
        "sew_resnet101",
        "sew_resnet152",
        "e_spikeformer_m",
        "ms_resnet34",
    )
    return [pytest.param(x, marks=[pytest.mark.slow] if x in slow else []) for x in names]


@pytest.mark.parametrize("name", mark_slow(FULL_SIZE))
def test_published_checkpoints_fit_our_network_at_full_size(name):
    names, kw = FULL_SIZE[name]
    # One broadcast value, so nothing is allocated here.
    state_dict = {x: np.broadcast_to(np.float32(1), shape) for x, shape in names().items()}
    head = next(x for x in reversed(state_dict) if x.endswith("weight"))
    stem = next(x for x in state_dict if x.endswith("weight"))
    model = create(name, num_classes=len(state_dict[head]), neuron=ReLU, **kw)
    sample = jax.ShapeDtypeStruct((1, 64, 64, state_dict[stem].shape[1]), jnp.float32)
    variables = convert(state_dict, model, sample)
    ours = sum(x.size for x in jax.tree.leaves(variables))
    assert ours == sum(x.size for x in state_dict.values() if x.ndim)


def test_a_converted_convolution_matches_its_definition():
    # PyTorch: y[o, i, j] = sum of w[o, c, di, dj] x[c, i + di, j + dj] over c, di and dj.
    family = FAMILIES["clif_resnet"]
    state_dict = family.state_dict()
    model, variables = make_network(family), convert_family(family, state_dict)
    x = np.random.default_rng(1).normal(size=(1, *family.shape)).astype(np.float32)
    run = partial(
        model.apply, capture_intermediates=lambda m, _: m.name == "stem", mutable="intermediates"
    )
    _, inner = jit_once(run)(variables, x)
    found = inner["intermediates"]["stem"]["__call__"][0][0, 0]
    padded = np.pad(x[0].transpose(2, 0, 1), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.einsum("ocde,cijde->ijo", state_dict["conv1.weight"], windows)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name, size", [("vggsnn", 3), ("clif_vgg11", 7)])
def test_the_head_kernel_is_reordered_from_channels_first(name, size):
    family = FAMILIES[name]
    state_dict = family.state_dict()
    model, variables = make_network(family), convert_family(family, state_dict)
    kernel = variables["params"]["head"]["kernel"]
    a_map = np.random.default_rng(1).normal(size=(size, size, 6))
    theirs = next(x for x in state_dict if x.startswith("classifier") and x.endswith("weight"))
    np.testing.assert_allclose(
        a_map.reshape(-1) @ np.asarray(kernel),
        state_dict[theirs] @ a_map.transpose(2, 0, 1).reshape(-1),
        rtol=1e-5,
    )
    assert model.head in ("flatten", "adaptive7")


def test_a_bias_absorbed_by_a_norm_shifts_its_mean():
    # norm(x w + b) equals norm(x w) with the mean less b.
    family = FAMILIES["spikingjelly_sdt"]
    state_dict = family.state_dict()
    stats = convert_family(family, state_dict)["batch_stats"]
    for theirs, norm in (("stages.0", "patch1_norm"), ("final_stage", "patch4_norm")):
        mean = state_dict[f"patch_embed.{theirs}.1.running_mean"]
        bias = state_dict[f"patch_embed.{theirs}.0.bias"]
        np.testing.assert_array_equal(stats[norm]["mean"], mean - bias)
    state_dict["patch_embed.stages.0.0.bias"] = np.ones(7, np.float32)
    with pytest.raises(CheckpointError, match=r"1 misshapen: patch_embed.stages.0.0.bias \(7,\)"):
        convert_family(family, state_dict)


def test_unread_parameters_missing_from_the_checkpoint_are_zero():
    family = FAMILIES["spikingjelly_sdt"]
    block = convert_family(family, family.state_dict())["params"]["block2"]
    assert not np.any(block["attention"]["talking_heads"]["kernel"])


def test_names_that_match_no_layout_or_two_are_an_error():
    with pytest.raises(CheckpointError, match="no layout matches names like a.weight, b.bias. "):
        find_layout({"a.weight": 0, "b.bias": 0})
    with pytest.raises(CheckpointError, match="no layout matches names"):
        find_layout({})
    blocks_only = {x: 0 for x in clif_resnet() if ".conv" in x} & torchvision().keys()
    with pytest.raises(CheckpointError, match="torchvision and .*clif_resnet equally; choose one"):
        find_layout(dict.fromkeys(blocks_only))
    with pytest.raises(CheckpointError, match="unknown layout 'resnet'; known: torchvision"):
        convert_family(FAMILIES["clif_resnet"], {}, layout="resnet")


def test_a_skipped_head_is_initialized_from_the_key_and_the_rest_is_converted():
    family = replace(FAMILIES["sew_resnet"], small=ONE_STAGE, kw=ONE_STAGE)
    state_dict = family.state_dict()
    model = make_network(family, num_classes=3)
    with pytest.raises(CheckpointError, match=r"fc.weight \(5, 4\) .*head/kernel \(4, 3\)"):
        convert(state_dict, model, describe_images(family))
    start = partial(convert, state_dict, model, describe_images(family), skip=("head",))
    variables, other = start(key=jax.random.key(0)), start(key=jax.random.key(1))
    whole = flatten_paths(convert_family(family, state_dict))
    for path, leaf in flatten_paths(variables).items():
        if "head" not in path:
            np.testing.assert_array_equal(leaf, whole[path])
    kernel, another = variables["params"]["head"]["kernel"], other["params"]["head"]["kernel"]
    assert kernel.shape == (4, 3) and np.any(kernel != another)
    assert np.abs(kernel).max() <= 4**-0.5  # PyTorch's start.
    with pytest.raises(CheckpointError, match=r"2 leaves are not in the checkpoint .*give key="):
        start()
    with pytest.raises(CheckpointError, match="cannot skip 'fc': the network has .* stem"):
        start(skip=("fc",))


def test_pit_scales_are_initialized_from_a_batch_after_the_converted_weights():
    # After a norm in training, currents have its bias as mean and its scale as deviation.
    family = replace(FAMILIES["clif_resnet"], small=ONE_STAGE, kw=ONE_STAGE)
    state_dict = family.state_dict()
    model = make_network(family, partial(PIT, levels=4), num_steps=2)
    x = np.random.default_rng(2).normal(size=(8, *family.shape)).astype(np.float32)
    variables = convert(state_dict, model, jnp.asarray(x), key=jax.random.key(0))
    a = variables["params"]["stage1_block1"]["PIT_0"]["a"]
    mean, deviation = (state_dict[f"layer1.0.bn1.{leaf}"] for leaf in ("bias", "weight"))
    assert a.shape == (2, 4)
    np.testing.assert_allclose(a[0], (mean + 3 * deviation) / 2, rtol=1e-3)
    np.testing.assert_array_equal(
        variables["batch_stats"]["norm"]["mean"], state_dict["bn1.running_mean"]
    )
    logits = jit_once(model.apply)(variables, jnp.asarray(x))
    assert logits.shape == (8, 2, 5) and np.isfinite(logits).all()
    with pytest.raises(CheckpointError, match="from a training batch .*; pass it as sample"):
        convert(state_dict, model, describe_images(family), key=jax.random.key(0))


def test_values_keep_the_precision_of_the_network(x64):
    family = FAMILIES["clif_resnet"]
    state_dict = {
        name: array.astype(np.float64) / 3 if array.ndim else array
        for name, array in family.state_dict().items()
    }
    variables = convert_family(family, state_dict)
    for collection, layer, leaf, theirs in (
        ("params", "head", "bias", "linear.bias"),
        ("batch_stats", "norm", "mean", "bn1.running_mean"),
    ):
        found = variables[collection][layer][leaf]
        np.testing.assert_array_equal(found, state_dict[theirs], strict=True)
