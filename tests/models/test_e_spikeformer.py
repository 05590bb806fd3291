"""E-SpikeFormer: order of layers, positions of neurons, maps and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.layers.norm import batch_norm
from pit_jax.models import ESpikeFormer, create
from pit_jax.neurons import IF, ILIF, LIF
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import Unmoved, get_shapes, init_layers, list_neurons
from tests.models.reference import Network, fire, random_variables, repeat_steps

SMALL = {"widths": (4, 8), "stages": (1, 1), "strides": (2, 1), "conv_stages": 1, "heads": 2}
create_s = partial(create, "e_spikeformer_s", num_classes=5)
quarters = partial(fire, unit=1 / 4)


def attend(q, k, v, heads):
    """Compute scores of all pairs of tokens, then weighted sums of values, head by head."""
    tokens = (q.shape[0], q.shape[1], -1)
    outputs = []
    for head in range(heads):
        q_, k_, v_ = (np.split(x, heads, axis=-1)[head] for x in (q, k, v))
        scores = q_.reshape(*tokens, q_.shape[-1]) @ np.swapaxes(
            k_.reshape(*tokens, k_.shape[-1]), -1, -2
        )
        mixed = scores @ v_.reshape(*tokens, v_.shape[-1])
        outputs.append(mixed.reshape(v_.shape) * 2 / np.sqrt(q_.shape[-1]))
    return np.concatenate(outputs, axis=-1)


def run_in_numpy(network, x, num_steps):
    """Return logits, and intermediate spikes that must vary for a meaningful comparison."""

    def separable(x, part):
        for name in ("expand", "depthwise", "contract"):
            x = part.layer(quarters(x), name)
        return x

    def mlp(x, part):
        for name in ("expand", "contract"):
            x = part.layer(quarters(x), name)
        return x

    x = repeat_steps(network.layer(x, "stage1_down", stride=2), num_steps)
    block = network["stage1_block1"]
    x = x + separable(x, block["separable"])
    x = x + mlp(x, block["mlp"])

    x = network.layer(quarters(x), "stage2_down")
    block = network["stage2_block1"]
    x = x + separable(x, block["separable"])
    attention, spikes = block["attention"], quarters(x)
    q, k, v = (quarters(attention.layer(spikes, name)) for name in ("query", "key", "value"))
    mixed = quarters(attend(q, k, v, heads=2))
    x = x + attention.layer(mixed, "projection")
    x = x + mlp(x, block["mlp"])

    last = fire(x.mean(axis=(2, 3)))
    return network.linear(last, "head"), (spikes, q, k, v, mixed, last)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((6, 9, 8, 3), id="image"),
        pytest.param((6, 2, 8, 9, 2), id="frames", marks=pytest.mark.slow),
    ],
)
def test_logits_equal_those_of_a_network_in_numpy(x64, shape):
    model = ESpikeFormer(
        num_classes=5,
        neuron=partial(ILIF, levels=4, normalize=True),
        head_neuron=partial(ILIF, levels=4),
        num_steps=2,
        **SMALL,
    )
    x = np.random.default_rng(1).normal(0.5, 2, size=shape)
    variables = random_variables(model, shape)
    frames = x if len(shape) == 5 else x[:, None]
    want, between = run_in_numpy(Network(variables), frames, num_steps=2)
    assert all(len(np.unique(spikes)) > 2 for spikes in between)
    assert (want[:, 0] != want[:, 1]).any() and np.ptp(want, axis=0).any()
    np.testing.assert_allclose(jit_once(model.apply)(variables, x), want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("width", [16, 40])
def test_blocks_have_the_published_number_of_weights(width):
    model = create_s(neuron=IF, **{**SMALL, "widths": (width, width)})
    params = get_shapes(model, (1, 16, 16, 3))[1]["params"]
    convolves, attends = (
        sum(leaf.size for leaf in jax.tree.leaves(params[f"stage{stage}_block1"]))
        for stage in (1, 2)
    )
    assert convolves == 76 * width**2 + 118 * width
    assert attends == 22 * width**2 + 57 * width


def test_neurons_run_in_the_published_order():
    parts = {"stage1_block1": (("separable", 3), ("mlp", 2))}
    parts["stage2_block1"] = (("separable", 3), ("attention", 5), ("mlp", 2))
    first, second = (
        [f"{block}/{part}/IF_{i}" for part, count in parts[block] for i in range(count)]
        for block in parts
    )
    layers = list_neurons(create_s(neuron=IF, **SMALL), (2, 16, 16, 3))
    assert list(layers) == [*first, "IF_0", *second, "IF_1"]


def test_the_head_neuron_is_used_only_before_the_head():
    layers = list_neurons(create_s(neuron=IF, head_neuron=LIF, **SMALL), (2, 16, 16, 3))
    assert [path for path in layers if "LIF" in path] == [*layers][-1:] == ["LIF_0"]
    assert layers["LIF_0"] == (2, 1, 8)


@pytest.mark.parametrize("side, sides", [(33, (17, 9, 5, 3, 3)), (1, (1, 1, 1, 1, 1))], ids=str)
def test_each_stage_but_the_last_halves_the_map_rounding_up(side, sides):
    small = {"widths": (4, 4, 4, 8, 8), "stages": (1, 1, 1, 1, 1)}
    _, variables = get_shapes(
        create_s(neuron=IF, **small), (1, side, side, 3), capture_intermediates=True
    )
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert tuple(outputs[f"stage{n}_block1"].shape[2] for n in range(1, 6)) == sides


def test_the_stem_runs_once_per_image():
    model = create_s(neuron=Unmoved, num_steps=4, **SMALL)
    _, variables = get_shapes(model, (3, 16, 16, 3), capture_intermediates=True)
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert outputs["stage1_down_norm"].shape == (3, 1, 8, 8, 4)
    assert outputs["stage1_block1/separable/Unmoved_0"].shape == (3, 4, 8, 8, 4)


def test_the_given_norm_follows_every_convolution():
    norms = []

    def norm(*, name, **kw):
        norms.append(name)
        return batch_norm(name=name, **kw)

    model = create_s(neuron=IF, norm=norm, **SMALL)
    params = get_shapes(model, (1, 8, 8, 3))[1]["params"]
    layers = [path[-2] for path in flatten_dict(params) if path[-1] == "kernel"]
    unnormed = ("head", "talking_heads")
    assert sorted(norms) == sorted(f"{name}_norm" for name in layers if name not in unnormed)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"stages": (1, 1)}, r"same length, at least 1; got .*\(1, 1\)"),
        ({"strides": (2, 2, 2, 2)}, r"same length, at least 1; got .*\(2, 2, 2, 2\)"),
        (
            {"widths": (), "stages": (), "strides": ()},
            r"same length, at least 1; got \(\), \(\) and \(\)",
        ),
        ({"heads": 5}, "128 channels cannot be split equally into heads=5"),
    ],
)
def test_invalid_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        create_s(neuron=IF, **fields)


def test_a_wrong_number_of_input_channels_is_an_error_with_both_numbers():
    model = create_s(neuron=IF, **SMALL)
    _, variables = get_shapes(model, (1, 8, 8, 3))
    with pytest.raises(ValueError, match="for 3 input channels, but the input has 2"):
        jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32))


def test_initial_weights_follow_the_authors():
    model = create_s(neuron=IF, num_classes=400, **{**SMALL, "widths": (16, 64)})
    block = "stage2_block1"
    names = ["stage2_down", f"{block}/separable/depthwise", f"{block}/mlp/contract", "head"]
    *layers, head = init_layers(model, (1, 4, 4, 3), *names)
    for layer, fan_in in zip(layers, (9 * 16, 9, 256), strict=True):
        # PyTorch's initial values, uniform within 1 / sqrt(fan_in).
        for leaf in layer.values():
            assert 0.9 < np.max(np.abs(leaf)) * np.sqrt(fan_in) <= 1
    assert np.std(head["kernel"]) == pytest.approx(0.02, rel=0.05)
    assert not head["bias"].any()
