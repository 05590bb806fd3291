"""Layers and their costs against hand counts for small networks."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import pytest

from pit_jax.layers import conv, dense
from pit_jax.models import MODELS, create
from pit_jax.models.count import count_layers, count_totals, parameters_by_kind
from pit_jax.models.published_inputs import INPUTS
from pit_jax.models.trace import trace
from pit_jax.neurons import LIF, NEURONS, PIT, ReLU
from pit_jax.neurons.probe import record

resnet = partial(create, "resnet8", num_classes=5, stages=(1, 1), width=4)


class Attention(nn.Module):
    """Products of activations by matrix and by element, and a pool of each kind."""

    @nn.compact
    def __call__(self, x, train=False):
        x = x[:, None].reshape(x.shape[0], 1, -1, x.shape[-1])
        q, k = dense(6, name="q")(x), dense(6, name="k")(x)
        mixed = jnp.einsum("btnc,btmc->btnm", q, k) @ q
        gated = LIF(name="gate")(jnp.sum(mixed * k, axis=2, keepdims=True)) * q
        return dense(5, name="head")(gated.mean(axis=2) + q.mean(axis=2))


class Pools(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = conv(4, 5, 2, groups=2, name="stem")(x[:, None])
        x = nn.avg_pool(nn.max_pool(x, (3, 3), (2, 2)), (2, 2), (2, 2))
        return dense(5, bias=None, name="head")(x.reshape(*x.shape[:2], -1))


def test_layers_are_listed_in_execution_order():
    rows = count_layers(resnet(neuron=PIT), (1, 8, 8, 3))
    assert [(row.path, row.kind) for row in rows] == [
        ("stem", "conv"),
        ("stage1_block1/norm1", "norm"),
        ("stage1_block1/PIT_0", "neuron"),
        ("stage1_block1/conv1", "conv"),
        ("stage1_block1/norm2", "norm"),
        ("stage1_block1/PIT_1", "neuron"),
        ("stage1_block1/conv2", "conv"),
        ("stage2_block1/norm1", "norm"),
        ("stage2_block1/PIT_0", "neuron"),
        ("stage2_block1/conv1", "conv"),
        ("stage2_block1/norm2", "norm"),
        ("stage2_block1/PIT_1", "neuron"),
        ("stage2_block1/conv2", "conv"),
        ("stage2_block1/shortcut", "conv"),
        ("norm", "norm"),
        ("PIT_0", "neuron"),
        ("head", "linear"),
    ]


def test_a_convolution_costs_its_outputs_times_its_window():
    stem, *_, head = count_layers(resnet(neuron=PIT), (2, 8, 8, 3))
    assert (stem.shape, stem.parameters) == ((2, 1, 8, 8, 4), 3 * 3 * 3 * 4)
    assert stem.macs == 8 * 8 * 4 * 3 * 3 * 3
    assert stem.bytes == 2 * 8 * 8 * 4 * 4
    assert (head.shape, head.parameters, head.macs) == ((2, 1, 5), 8 * 5 + 5, 8 * 5)


def test_groups_divide_the_cost_of_a_convolution():
    stem, _ = count_layers(Pools(), (1, 32, 32, 6))
    assert stem.shape == (1, 1, 16, 16, 4)
    assert stem.macs == 16 * 16 * 4 * 5 * 5 * 3


def test_steps_multiply_the_cost_of_all_layers_but_the_stem_of_an_image():
    one = count_layers(resnet(neuron=PIT), (1, 8, 8, 3))
    four = count_layers(resnet(neuron=PIT, num_steps=4), (1, 8, 8, 3))
    assert four[0].macs == one[0].macs
    for before, after in zip(one[1:], four[1:], strict=True):
        assert (after.macs, after.neurons) == (4 * before.macs, before.neurons)
    frames = count_layers(resnet(neuron=PIT, num_steps=4), (1, 4, 8, 8, 3))
    assert frames[0].macs == 4 * one[0].macs


def test_only_activation_bytes_grow_with_the_batch():
    one, eight = (count_totals(resnet(neuron=PIT), (b, 8, 8, 3)) for b in (1, 8))
    assert (one.macs, one.neurons, one.parameters) == (eight.macs, eight.neurons, eight.parameters)
    assert eight.activation_bytes == 8 * one.activation_bytes


def test_bfloat16_halves_the_activation_bytes():
    wide = count_totals(resnet(neuron=PIT), (1, 8, 8, 3))
    half = count_totals(resnet(neuron=PIT, dtype=jnp.bfloat16), (1, 8, 8, 3))
    assert 2 * half.activation_bytes == wide.activation_bytes


@pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)
def test_neuron_counts_do_not_depend_on_the_neuron(neuron):
    counts = count_totals(resnet(neuron=neuron, num_steps=2), (1, 8, 8, 3))
    assert (counts.neuron_layers, counts.neurons) == (5, 8 * 8 * 4 * 3 + 4 * 4 * 8 * 2)
    assert (counts.layers, counts.products) == (7, 0)


def test_products_of_activations_have_their_own_count_and_the_path_of_their_module():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return Attention(name="attention")(x)

    rows = [row for row in count_layers(Network(), (2, 4, 4, 3)) if row.kind == "product"]
    # 16 tokens of 6 channels: q k^T, its product with q, then two by element.
    assert [row.macs for row in rows] == [16 * 16 * 6, 16 * 6 * 16, 16 * 6, 16 * 6]
    assert {row.path for row in rows} == {"attention"}
    counts = count_totals(Network(), (2, 4, 4, 3))
    assert counts.products == 2 * 16 * 16 * 6 + 2 * 16 * 6
    assert counts.macs == 2 * 16 * 3 * 6 + 6 * 5


def test_the_trace_has_the_inputs_of_each_node():
    nodes = trace(Attention(), (2, 4, 4, 3)).nodes
    kinds = [(node.kind, node.inputs) for node in nodes]
    assert kinds == [
        ("input", ()),
        ("linear", (0,)),
        ("linear", (0,)),
        ("product", (1, 2)),
        ("product", (3, 1)),
        ("product", (4, 2)),
        ("sum", (5,)),
        ("neuron", (6,)),
        ("product", (7, 1)),
        ("mean", (8,)),
        ("mean", (1,)),
        ("add", (9, 10)),
        ("linear", (11,)),
    ]


def test_the_trace_has_windows_and_strides_of_convolutions_and_pools():
    nodes = trace(Pools(), (1, 32, 32, 6)).nodes
    assert [(node.kind, node.window) for node in nodes[1:]] == [
        ("conv", (5, 2)),
        ("max pool", (3, 2)),
        ("average pool", (2, 2)),
        ("linear", None),
    ]
    assert nodes[3].shape == (1, 1, 3, 3, 4)


@pytest.mark.parametrize("name", ["resnet8", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_layers_have_all_parameters_of_the_network(name):
    x = INPUTS[name]
    model = create(name, num_classes=x.num_classes, neuron=PIT)
    traced = trace(model, x.batch(1, 1))
    held = sum(row.parameters for row in count_layers(model, x.batch(1, 1)))
    assert held == parameters_by_kind(traced.params).total()


def test_every_network_has_the_input_of_its_publication():
    assert set(INPUTS) == set(MODELS)


def test_frames_come_with_a_time_axis_and_images_without():
    image = INPUTS["resnet18"]
    assert image.batch(8, 4) == (8, 32, 32, 3)
    assert image._replace(frames=True).batch(8, 4) == (8, 4, 32, 32, 3)


def test_a_network_of_relu_has_layers_of_neurons_without_parameters():
    counts = count_totals(resnet(neuron=ReLU), (1, 8, 8, 3))
    assert (counts.parameters["neuron"], counts.neuron_layers) == (0, 5)


def test_a_neuron_with_a_norm_inside_is_one_layer():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, current):
            normed = nn.BatchNorm(use_running_average=True)(current)
            record(self, normed, normed, levels=1)
            return normed

    rows = count_layers(resnet(neuron=Normed), (1, 8, 8, 3))
    names = [row.path for row in count_layers(resnet(neuron=LIF), (1, 8, 8, 3))]
    assert [row.path for row in rows] == [name.replace("LIF", "Normed") for name in names]
    assert rows[2].parameters == 2 * 4
