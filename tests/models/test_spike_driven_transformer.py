"""Spike-driven Transformer: order of layers, positions of neurons, pools and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.layers.norm import batch_norm
from pit_jax.models import SpikeDrivenTransformer, create
from pit_jax.neurons import IF, ILIF, LIF
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import Unmoved, get_shapes, init_layers, list_neurons
from tests.models.reference import Network, fire, max_pool, random_variables, repeat_steps

NAME = "spike_driven_transformer"
counts = partial(fire, levels=2)
SMALL = {"num_classes": 5, "depth": 1, "width": 16, "heads": 2}


def run_in_numpy(network, x, num_steps, pool_after, second_shortcut):
    """Return logits, and intermediate spikes that must vary for a meaningful comparison."""
    x = repeat_steps(network.layer(x, "patch1"), num_steps)
    for number in (1, 2, 3):
        x = counts(x)
        if number in pool_after:
            x = max_pool(x)
        x = network.layer(x, f"patch{number + 1}")
    if 4 in pool_after:
        x = max_pool(x)
    x = x + network.layer(counts(x), "position")

    attention, mlp = network["block1"]["attention"], network["block1"]["mlp"]
    spikes = counts(x)
    q, k, v = (counts(attention.layer(spikes, name)) for name in ("query", "key", "value"))
    kv = fire((k * v).sum(axis=(2, 3), keepdims=True), levels=1)
    x = x + attention.layer(q * kv, "projection")
    y = mlp.layer(counts(x), "expand")
    if second_shortcut:
        x = y = x + y
    x = x + mlp.layer(counts(y), "contract")

    last = counts(x.mean(axis=(2, 3)))
    return network.linear(last, "head"), (spikes, q, kv, last)


@pytest.mark.parametrize(
    "shape, pool_after, mlp_ratio",
    [
        pytest.param((6, 9, 8, 3), (1, 2, 3, 4), 4.0, id="image"),
        # Equal widths inside and outside of the MLP: the authors' code adds a second shortcut.
        pytest.param((6, 2, 8, 8, 2), (3, 4), 1.0, id="frames, ratio 1"),
        pytest.param((6, 8, 8, 3), (2,), 2.0, id="one pool", marks=pytest.mark.slow),
    ],
)
def test_logits_equal_those_of_a_network_in_numpy(x64, shape, pool_after, mlp_ratio):
    model = SpikeDrivenTransformer(
        neuron=partial(ILIF, levels=2),
        gate_neuron=partial(ILIF, levels=1),
        num_steps=2,
        pool_after=pool_after,
        mlp_ratio=mlp_ratio,
        **SMALL,
    )
    x = np.random.default_rng(1).normal(0.5, 2, size=shape)
    variables = random_variables(model, shape)
    frames = x if len(shape) == 5 else x[:, None]
    want, between = run_in_numpy(Network(variables), frames, 2, pool_after, mlp_ratio == 1)
    assert all(len(np.unique(spikes)) > 1 for spikes in between)
    assert (want[:, 0] != want[:, 1]).any() and np.ptp(want, axis=0).any()
    np.testing.assert_allclose(jit_once(model.apply)(variables, x), want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("width, heads", [(16, 8), (24, 8), (16, 2)])
def test_a_block_has_the_published_weights_and_an_unused_kernel_of_heads_squared(width, heads):
    model = create(NAME, num_classes=5, neuron=IF, depth=1, width=width, heads=heads)
    block = get_shapes(model, (1, 16, 16, 3))[1]["params"]["block1"]
    assert block["attention"]["talking_heads"]["kernel"].shape == (1, heads, heads)
    count = sum(leaf.size for leaf in jax.tree.leaves(block))
    assert count == 12 * width**2 + 24 * width + heads**2


def test_the_unused_kernel_does_not_change_logits():
    model = create(NAME, neuron=LIF, **SMALL)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    variables = random_variables(model, x.shape)
    want = jit_once(model.apply)(variables, x)
    variables["params"]["block1"]["attention"]["talking_heads"]["kernel"] *= np.nan
    np.testing.assert_array_equal(jit_once(model.apply)(variables, x), want)


def test_neurons_run_in_the_published_order():
    small = {**SMALL, "depth": 2}
    patches = [f"IF_{i}" for i in range(4)]
    blocks = [
        f"block{block}/{part}/IF_{i}"
        for block in (1, 2)
        for part, count in (("attention", 5), ("mlp", 2))
        for i in range(count)
    ]
    layers = list_neurons(create(NAME, neuron=IF, **small), (2, 16, 16, 3))
    assert list(layers) == [*patches, *blocks, "IF_4"]


def test_the_gate_neuron_is_used_only_on_the_sum_over_tokens():
    model = create(NAME, neuron=IF, gate_neuron=partial(LIF, threshold=0.5), **SMALL)
    layers = list_neurons(model, (2, 64, 64, 3))
    assert [path for path in layers if "LIF" in path] == ["block1/attention/LIF_0"]
    # After those of the patches, of the input, query, key and value.
    assert [*layers].index("block1/attention/LIF_0") == 4 + 4
    assert layers["block1/attention/LIF_0"] == (2, 1, 1, 1, 16)


@pytest.mark.parametrize(
    "pool_after, sides",
    [((1, 2, 3, 4), (33, 17, 9, 5, 3)), ((3, 4), (33, 33, 33, 17, 9)), ((), (33,) * 5)],
    ids=str,
)
def test_a_pool_halves_the_map_after_the_listed_convolutions(pool_after, sides):
    model = create(NAME, neuron=IF, pool_after=pool_after, **SMALL)
    _, variables = get_shapes(model, (1, 33, 33, 3), capture_intermediates=True)
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    names = ("patch1", "patch2", "patch3", "patch4", "position")
    assert tuple(outputs[name].shape[2] for name in names) == sides


def test_an_image_of_one_pixel_has_one_token():
    model = create(NAME, neuron=IF, **SMALL)
    logits, variables = get_shapes(model, (1, 1, 1, 3), capture_intermediates=True)
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert outputs["block1"].shape == (1, 1, 1, 1, 16) and logits.shape == (1, 1, 5)


def test_the_first_convolution_runs_once_per_image():
    model = create(NAME, neuron=Unmoved, num_steps=4, **SMALL)
    _, variables = get_shapes(model, (3, 16, 16, 3), capture_intermediates=True)
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert outputs["patch1"].shape == outputs["patch1_norm"].shape == (3, 1, 16, 16, 2)
    assert outputs["Unmoved_0"].shape == (3, 4, 16, 16, 2)


def test_the_given_norm_follows_every_convolution():
    norms = []

    def norm(*, name, **kw):
        norms.append(name)
        return batch_norm(name=name, **kw)

    model = create(NAME, neuron=IF, norm=norm, **SMALL)
    params = get_shapes(model, (1, 8, 8, 3))[1]["params"]
    layers = [path[-2] for path in flatten_dict(params) if path[-1] == "kernel"]
    unnormed = ("head", "talking_heads")
    assert sorted(norms) == sorted(f"{name}_norm" for name in layers if name not in unnormed)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"width": 20, "heads": 8}, "20 channels cannot be split equally into heads=8"),
        ({"width": 4, "heads": 2}, "width must be at least 8, got 4"),
        ({"pool_after": (0, 1)}, r"pool_after\[0\] must be at least 1, got 0"),
        ({"pool_after": (5,)}, r"pool_after\[0\] must be at most 4, got 5"),
    ],
)
def test_invalid_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        create(NAME, num_classes=5, neuron=IF, **fields)


def test_a_wrong_number_of_input_channels_is_an_error_with_both_numbers():
    model = create(NAME, neuron=IF, **SMALL)
    _, variables = get_shapes(model, (1, 8, 8, 3))
    with pytest.raises(ValueError, match="for 3 input channels, but the input has 2"):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32))


def test_initial_weights_follow_the_authors():
    model = create(NAME, neuron=IF, num_classes=100, depth=1, width=64, heads=8)
    names = ["position", "block1/mlp/expand", "block1/attention/projection", "head"]
    position, expand, projection, head = init_layers(model, (1, 4, 4, 3), *names)
    for kernel in (position["kernel"], expand["kernel"]):
        assert np.std(kernel) == pytest.approx(0.02, rel=0.05)
        assert np.max(np.abs(kernel)) > 3 * np.std(kernel)  # Normal, not uniform.
    assert not projection["bias"].any()
    for leaf in head.values():  # PyTorch's initial values, uniform within 1 / sqrt(fan_in).
        assert 0.9 < np.max(np.abs(leaf)) * np.sqrt(64) <= 1
