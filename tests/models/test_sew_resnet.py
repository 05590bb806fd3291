"""SEW ResNets: joins, positions of neurons, and whole networks against NumPy."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import create
from pit_jax.models.count import parameters_by_kind
from pit_jax.models.sew_resnet import JOINS, add, conjunction, iand
from pit_jax.neurons import IF, ILIF, RealSpike
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import get_shapes
from tests.models.reference import (
    conv_norm,
    fire,
    max_pool,
    mean_dense,
    random_variables,
    run_training_mode,
)

IMAGE = np.random.default_rng(0).normal(size=(3, 16, 16, 3))


def make_small(name, neuron=ILIF, stages=(1, 1), **kw):
    return create(name, num_classes=5, neuron=neuron, width=4, stages=stages, **kw)


@pytest.mark.parametrize(
    "join, table", [(add, [0, 1, 1, 2]), (conjunction, [0, 0, 0, 1]), (iand, [0, 0, 1, 0])]
)
def test_joins_of_binary_spikes_match_their_truth_tables(join, table):
    shortcut, branch = jnp.array([0.0, 0, 1, 1]), jnp.array([0.0, 1, 0, 1])
    np.testing.assert_array_equal(join(shortcut, branch), table)


def basic_block(p, x, stride, join):
    y = fire(conv_norm(x, p["conv1"], p["norm1"], stride))
    y = fire(conv_norm(y, p["conv2"], p["norm2"]))
    if "shortcut" in p:
        x = fire(conv_norm(x, p["shortcut"], p["shortcut_norm"], stride))
    return join(x, y)


def bottleneck(p, x, stride, join):
    y = fire(conv_norm(x, p["conv1"], p["norm1"]))
    y = fire(conv_norm(y, p["conv2"], p["norm2"], stride))
    y = fire(conv_norm(y, p["conv3"], p["norm3"]))
    if "shortcut" in p:
        x = fire(conv_norm(x, p["shortcut"], p["shortcut_norm"], stride))
    return join(x, y)


@pytest.mark.parametrize(
    "name, block, join, reference",
    [
        ("sew_resnet18", basic_block, "add", lambda x, y: x + y),
        ("sew_resnet18", basic_block, "iand", lambda x, y: x - x * y),
        ("sew_resnet50", bottleneck, "add", lambda x, y: x + y),
    ],
    ids=["basic blocks, add", "basic blocks, iand", "bottlenecks, add"],
)
def test_a_network_computes_the_same_as_its_layers_in_numpy(x64, name, block, join, reference):
    logits, p = run_training_mode(make_small(name, num_steps=2, join=join), IMAGE)
    x = np.repeat(IMAGE[:, None], 2, axis=1)
    x = max_pool(fire(conv_norm(x, p["stem"], p["stem_norm"], 2)))
    x = block(p["stage1_block1"], x, 1, reference)
    x = block(p["stage2_block1"], x, 2, reference)
    np.testing.assert_allclose(logits, mean_dense(x, p["head"]), rtol=0, atol=1e-9)


def test_only_a_block_that_changes_shape_has_a_projection():
    blocks = {"stage1_block1", "stage1_block2", "stage2_block1", "stage2_block2"}
    for name, want in [
        ("sew_resnet18", {"stage2_block1"}),
        ("sew_resnet50", {"stage1_block1", "stage2_block1"}),
    ]:
        params = get_shapes(make_small(name, stages=(2, 2)), (1, 16, 16, 3))[1]["params"]
        assert {block for block in blocks if "shortcut" in params[block]} == want


def run_blocks(join):
    """Return the outputs of the four blocks of a small network with binary spikes."""
    model = make_small("sew_resnet18", IF, stages=(2, 2), num_steps=2, join=join)
    variables = random_variables(model, IMAGE.shape)
    run = partial(model.apply, train=True, mutable=True, capture_intermediates=True)
    _, new = jit_once(run)(variables, IMAGE)
    outputs = collect_by_layer(new["intermediates"], "__call__")
    return [np.asarray(outputs[f"stage{s}_block{b}"]) for s in (1, 2) for b in (1, 2)]


def test_add_outputs_integers_that_grow_by_one_with_each_block_of_a_stage():
    # Each stage starts with one stream: the spikes of the stem or of the projection.
    for spikes, streams in zip(run_blocks("add"), (2, 3, 2, 3), strict=True):
        assert set(np.unique(spikes)) == set(range(streams + 1))


@pytest.mark.parametrize("join", ["and", "iand"])
def test_and_and_iand_output_binary_spikes(join):
    outputs = run_blocks(join)
    assert all(set(np.unique(spikes)) <= {0, 1} for spikes in outputs)
    assert np.unique(outputs[0]).size == 2


def test_a_join_is_a_function_or_its_name():
    for name, join in JOINS.items():
        of_name, of_function = (make_small("sew_resnet18", join=given) for given in (name, join))
        assert of_name.block.keywords == of_function.block.keywords


def test_an_unknown_join_is_an_error_that_lists_the_joins():
    with pytest.raises(ValueError, match="unknown join 'xor'; use add, and, iand, or a function"):
        make_small("sew_resnet18", join="xor")


@pytest.mark.parametrize(
    "name, total", [("sew_resnet18", 11_693_416), ("sew_resnet34", 21_805_288)]
)
def test_real_spike_amplitudes_are_in_all_neurons_except_after_projections(name, total):
    model = create(name, num_classes=1000, neuron=RealSpike, downsample_neuron=IF)
    _, variables = get_shapes(model, (1, 224, 224, 3))
    assert parameters_by_kind(variables["params"]).total() == total


@pytest.mark.parametrize("name", ["sew_resnet18", "sew_resnet50"])
def test_the_downsample_neuron_is_used_only_after_projections(name):
    model = make_small(name, stages=(1, 2), downsample_neuron=IF)
    _, variables = get_shapes(model, (1, 16, 16, 3))
    layers = collect_by_layer(variables["intermediates"], "count")
    projections = {
        f"{block}/IF_0" for block, layer in variables["params"].items() if "shortcut" in layer
    }
    assert projections
    assert {layer for layer in layers if layer.split("/")[-1].startswith("IF")} == projections


def test_the_stem_runs_once_per_image_and_its_neuron_and_pool_at_every_step():
    model = make_small("sew_resnet18", num_steps=4)
    _, variables = get_shapes(model, (3, 16, 16, 3), capture_intermediates=True)
    outputs = {
        k: v.shape for k, v in collect_by_layer(variables["intermediates"], "__call__").items()
    }
    assert outputs["stem"] == outputs["stem_norm"] == (3, 1, 8, 8, 4)
    assert outputs["ILIF_0"] == (3, 4, 8, 8, 4)
    assert outputs["stage1_block1"] == (3, 4, 4, 4, 4)
