"""Counts of operations equal loops over every synapse and spike."""

import itertools
from functools import partial

import flax.linen as nn
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pit_jax import neurons
from pit_jax.analysis.energy import BINARY_CODE, EXPANDED, count
from pit_jax.analysis.recorder import recorder
from pit_jax.inference import NotFoldable, compile
from pit_jax.layers.attention import channel_attention, linear_attention
from tests.helpers import jit_once
from tests.inference.random_networks import (
    ALLOW_SILENT_CHANNELS,
    RandomNetwork,
    make_variables,
    random_networks,
)

LEVELS, STEPS = 2, 2
X = jax.random.normal(jax.random.key(0), (3, 6, 5, 3))


def find_row(counts, path, kind=None, source=None):
    (found,) = (
        row
        for row in counts.synapses
        if row.path == path and kind in (None, row.kind) and source in (None, row.source)
    )
    return found


def init_variables(model, x, seed=0):
    return dict(jit_once(model.init)(jax.random.key(seed), x))


def init_saturated(model, x):
    """Return variables with which every neuron fires D in every step."""
    variables = init_variables(model, x)

    def fill(path, leaf):
        values = {"kernel": 0.0, "bias": 100.0}
        return jnp.full_like(leaf, values[path[-1].key]) if path[-1].key in values else leaf

    params = jax.tree_util.tree_map_with_path(fill, variables["params"])
    return {**variables, "params": params}


def count_by_loops(integers, kernel, stride, pad, groups, features, pool=""):
    """Return the sum of counts over samples, steps, outputs, taps and input channels."""
    total = 0
    for k in abs(integers).reshape(-1, *integers.shape[2:]):
        if pool:
            height, width = k.shape[0] // 2, k.shape[1] // 2
            windows = k[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1)
            k = windows.max((1, 3)) if pool == "max" else windows.sum((1, 3))
        height, width, channels = k.shape
        places = [range((n + 2 * pad - kernel) // stride + 1) for n in (height, width)]
        for (oy, ox), o in itertools.product(itertools.product(*places), range(features)):
            group = o // (features // groups)
            inputs = range(group * channels // groups, (group + 1) * channels // groups)
            for ky, kx in itertools.product(range(kernel), range(kernel)):
                y, x = oy * stride + ky - pad, ox * stride + kx - pad
                if 0 <= y < height and 0 <= x < width:
                    total += sum(int(k[y, x, i]) for i in inputs)
    return total


def test_accumulations_equal_loops_over_all_synapses():
    # Pools of both kinds, a stride, groups and padding.
    layers = ((4, 1, 1, 1, "avg"), (4, 3, 2, 2, "max"), (2, 3, 1, 2, ""))
    model = RandomNetwork(partial(neurons.PIT, levels=3), STEPS, layers)
    x = jax.random.normal(jax.random.key(0), (2, 13, 12, 3))
    variables = init_variables(model, x)
    counts, seen = count(model, variables, x), recorder(model)(variables, x)
    pool = ""
    for at, (features, kernel, stride, groups, then) in enumerate(layers):
        found = find_row(counts, f"Conv_{at}")
        if at:
            integers = np.asarray(seen[f"PIT_{at - 1}"].count, int)
            assert integers.any()
            window = kernel, stride, kernel // 2, groups, features
            by_sample = [count_by_loops(sample[None], *window, pool) for sample in integers]
            assert found.by_sample.tolist() == by_sample
            assert found.accumulations == sum(by_sample)
            assert found.spikes == integers.sum()
        assert found.copies == (STEPS if at else 1)  # Each step has its own scale.
        pool = then
    head = np.asarray(seen["PIT_2"].count, int)
    assert find_row(counts, "Dense_0").accumulations == head.sum() * 3


def test_counts_equal_numbers_computed_by_hand():
    layers = ((4, 3, 2, 1, ""), (4, 3, 1, 2, "avg"), (6, 1, 1, 1, ""), (6, 1, 1, 3, "add"))
    model = RandomNetwork(partial(neurons.PIT, levels=LEVELS), STEPS, layers)
    counts = count(model, init_saturated(model, X), X)
    assert counts.samples == 3 and counts.steps == STEPS
    # On 6 x 5 padded by 1, 3 x 3 windows with stride 2 have 8 x 7 of 9 x 9 taps inside.
    stem = find_row(counts, "Conv_0")
    assert (stem.steps, stem.connections, stem.macs) == (1, 8 * 7 * 3 * 4, 81 * 3 * 4)
    assert stem.accumulations == 0 and stem.biases == 3 * 3 * 4
    assert stem.products == 3 * stem.connections  # No pixel is 0.
    # On 3 x 3 x 4 neurons, 3 x 3 windows have 7 x 7 taps inside; a group has 2 of 4 channels.
    grouped = find_row(counts, "Conv_1")
    assert (grouped.connections, grouped.macs) == (49 * 2 * 4, 81 * 2 * 4)
    assert grouped.weights == 9 * 2 * 4 and grouped.copies == STEPS
    # Each neuron sends D in each of T steps of 3 samples.
    sent = LEVELS * STEPS * 3
    assert grouped.accumulations == sent * 49 * 2 * 4
    assert grouped.spikes == sent * 36
    # The pool of 2 x 2 has one window in 3 x 3, and each of its 4 x 4 spikes reaches 6 outputs.
    pooled = find_row(counts, "Conv_2")
    assert (pooled.connections, pooled.macs) == (4 * 4 * 6, 4 * 6)
    assert pooled.accumulations == sent * 4 * 4 * 6
    # The linear layer reads the last neurons and, through the shortcut, those before their block.
    last = find_row(counts, "Dense_0", source="PIT_3")
    shortcut = find_row(counts, "Dense_0", source="PIT_2")
    assert last.accumulations == shortcut.accumulations == sent * 6 * 3
    assert (last.stream, shortcut.stream) == (0, 1)
    assert [layer.neurons for layer in counts.neurons] == [36, 36, 6, 6]
    for layer in counts.neurons:
        assert layer.counted == layer.spikes == sent * layer.neurons
        assert layer.fired == (3 * layer.neurons,) * STEPS
    assert counts.rate == 1.0


class Shortcuts(nn.Module):
    """A current and spikes skip a convolution, then spikes skip one through a projection."""

    @nn.compact
    def __call__(self, x, train=False):
        x = jnp.broadcast_to(x[:, None], (len(x), STEPS, *x.shape[1:]))
        fire = partial(neurons.ILIF, levels=LEVELS, normalize=False)
        current = nn.Conv(4, (3, 3))(x)
        spikes = fire(name="first")(current)
        current = current + nn.Conv(4, (3, 3), use_bias=False)(spikes) + spikes
        spikes = fire(name="second")(current)
        skipped = nn.Conv(4, (1, 1), 2, use_bias=False, name="projection")(spikes)
        spikes = fire(name="third")(nn.Conv(4, (3, 3), 2)(spikes) + skipped)
        return nn.Dense(3)(spikes.mean((2, 3)))


@pytest.fixture(scope="module")
def shortcuts():
    """Return the counts of a network with shortcuts, and the costs of its program."""
    model = Shortcuts()
    variables = init_variables(model, X)
    return count(model, variables, X), compile(model, variables, X, verify=False).costs(X)


def test_a_shortcut_has_one_synapse_for_each_input(shortcuts):
    counts, _ = shortcuts
    shortcut = next(row for row in counts.synapses if row.kind == "shortcut")
    (layer,) = (layer for layer in counts.neurons if layer.path == "first")
    assert shortcut.source == "first" and shortcut.accumulations == layer.spikes > 0
    assert shortcut.connections == layer.neurons and shortcut.macs == 0
    projection = find_row(counts, "projection")  # 1 x 1, at every second place.
    assert projection.macs == projection.connections == projection.outputs * 4 == 3 * 3 * 4 * 4


def test_a_current_on_a_membrane_shortcut_is_added_once(shortcuts):
    counts, costs = shortcuts
    check_costs(counts, costs)
    (passing,) = (row for row in counts.synapses if row.kind == "current")
    assert (passing.connections, passing.steps) == (6 * 5 * 4, STEPS)


class Attending(nn.Module):
    """An attention over three layers of neurons."""

    linear: bool

    @nn.compact
    def __call__(self, x, train=False):
        x = jnp.broadcast_to(x[:, None], (len(x), STEPS, *x.shape[1:]))
        fire = partial(neurons.ILIF, levels=LEVELS, normalize=False)
        if not self.linear:
            fire = partial(neurons.LIF, threshold=0.3)
        query, key, value = (fire()(nn.Dense(4, name=name)(x)) for name in "qkv")
        if self.linear:
            met = linear_attention(query, key, value, heads=2)
        else:
            met = channel_attention(query, key, value, fire(name="gate"))
        met = nn.Dense(6, name="after")(met)
        return nn.Dense(3, name="head")(fire()(met).mean((2, 3)))


def test_linear_attention_is_counted_in_products():
    model = Attending(linear=True)
    counts = count(model, init_variables(model, X), X)
    (attention,) = (row for row in counts.synapses if row.kind == "attention")
    # 30 tokens, 2 heads of 2 x 2 channels: keys by values, scaled, and queries by that.
    assert attention.connections == 2 * (2 * 2) * (30 + 1 + 30)
    assert attention.steps == STEPS and attention.accumulations == 0
    current = find_row(counts, "after")
    assert current.reads == "currents" and current.connections == 30 * 4 * 6


def test_channel_attention_adds_where_two_neurons_fire():
    model = Attending(linear=False)
    variables = init_variables(model, X)
    counts, seen = count(model, variables, X), recorder(model)(variables, X)
    q, k, v, gate = (
        np.asarray(seen[path].count, int) for path in ("LIF_0", "LIF_1", "LIF_2", "gate")
    )
    products = [row for row in counts.synapses if row.kind == "product"]
    assert [row.connections for row in products] == [30 * 4, 30 * 4]
    assert [row.spikes for row in products] == [(k * v).sum(), (q * gate).sum()]
    # A sum over the tokens is one synapse each; the layer after the attention has 6 outputs.
    into_gate = next(row for row in counts.synapses if row.kind == "shortcut")
    assert into_gate.accumulations == (k * v).sum() > 0
    assert find_row(counts, "after").accumulations == (q * gate).sum() * 6 > 0


# A network for each kind of neuron; each runs on frames.
NETWORKS = {
    "PIT": (partial(neurons.PIT, levels=3), ((4, 3, 1, 1, "max"), (4, 3, 2, 2, "add"))),
    "LIF": (partial(neurons.LIF, threshold=0.3), ((4, 3, 1, 1, "avg"),)),
    "Ternary": (neurons.Ternary, ((4, 3, 1, 1, "max"), (4, 1, 2, 1, ""))),
    "RealSpike": (
        partial(neurons.RealSpike, threshold=0.2),
        ((4, 3, 1, 1, "avg"),),
    ),
    "TrainableTernary": (neurons.TrainableTernary, ((4, 3, 1, 1, "max"),)),
    "QBLIF": (partial(neurons.QBLIF, levels=3), ((4, 3, 1, 1, "max"), (4, 3, 2, 2, "add"))),
    "PITFull": (partial(neurons.PITFull, levels=2), ((4, 3, 1, 1, "avg"), (4, 3, 1, 2, "add"))),
}


class Branches(nn.Module):
    """All of `NETWORKS` on the same input; their logits are added."""

    @nn.compact
    def __call__(self, x, train=False):
        branches = [
            RandomNetwork(neuron, STEPS, layers, name=name)
            for name, (neuron, layers) in NETWORKS.items()
        ]
        return sum(branch(x) for branch in branches)


def check_costs(counts, costs):
    """Assert that rows equal the costs of a program, which runs slot by slot."""
    rows = [row for row in counts.synapses if row.kind != "product"]
    for row, cost in zip(rows, costs.rows, strict=True):
        assert row.path == cost.path
        assert row.accumulations / counts.samples == cost.accumulations
        dense = row.connections * row.steps
        assert (cost.additions if row.kind == "current" else cost.dense_macs) == dense
        assert (row.weights, row.copies) == (cost.weights, cost.copies) or row.kind == "current"


def test_counts_equal_the_costs_of_the_compiled_program():
    model = Branches()
    frames = jnp.stack([X, -X], axis=1)
    variables = init_variables(model, frames)
    counts = count(model, variables, frames)
    program = compile(model, variables, frames, verify=False)
    trace = program.trace(frames)
    assert len(counts.neurons) == sum(len(layers) for _, layers in NETWORKS.values())
    for layer in counts.neurons:
        assert layer.spikes == abs(np.asarray(trace[layer.path])).sum() > 0
    check_costs(counts, program.costs(frames))


@ALLOW_SILENT_CHANNELS
@pytest.mark.slow
@given(random_networks(), st.integers(0, 99))
@settings(max_examples=25, phases=[Phase.generate])
def test_counts_of_random_networks_equal_the_costs_of_their_programs(drawn, seed):
    model, shape, code, _ = drawn
    x = jax.random.normal(jax.random.key(seed), (4, *shape))
    variables = make_variables(model, x, seed)
    program = compile(model, variables, x, code=code, verify=False)
    counts = count(model, variables, x, code=EXPANDED if code == "thermometer" else BINARY_CODE)
    on_grid = program.counts(x)
    # On the grid, a membrane close to a boundary may be on its other side.
    assume(all(int(abs(on_grid[each.path]).sum()) == each.counted for each in counts.neurons))
    check_costs(counts, program.costs(x))


@pytest.fixture(scope="module")
def small():
    """Return a network of two layers, its variables, inputs and counts."""
    model = RandomNetwork(
        partial(neurons.PIT, levels=4), STEPS, ((4, 3, 1, 1, "avg"), (4, 3, 1, 1, ""))
    )
    x = jax.random.normal(jax.random.key(1), (8, 6, 5, 3))
    variables = init_variables(model, x)
    return model, variables, x, count(model, variables, x)


def test_the_binary_code_sends_a_spike_for_each_set_bit(small):
    model, variables, x, _ = small
    counts = count(model, variables, x, code=BINARY_CODE)
    check_costs(counts, compile(model, variables, x, code="bitwise", verify=False).costs(x))
    k = np.asarray(recorder(model)(variables, x)["PIT_0"].count, int)
    assert counts.neurons[0].spikes == sum(bin(each).count("1") for each in k.ravel())
    assert counts.neurons[0].counted == k.sum()
    assert [EXPANDED.slots(levels) for levels in (1, 3, 4, 8)] == [1, 3, 4, 8]
    assert [BINARY_CODE.slots(levels) for levels in (1, 3, 4, 8)] == [1, 2, 3, 4]


def test_sums_above_the_integers_of_float32_are_exact():
    model = RandomNetwork(
        partial(neurons.PIT, levels=4), STEPS, ((17, 1, 1, 1, ""), (63, 3, 1, 1, ""))
    )
    x = jnp.ones((1, 63, 65, 3))
    counts = count(model, init_saturated(model, x), [x, x, x])
    # 3 samples, 2 steps and counts of 4; with the odd factors float32 cannot represent the sum.
    expected = 3 * 2 * 4 * (3 * 63 - 2) * (3 * 65 - 2) * 17 * 63
    assert find_row(counts, "Conv_1").accumulations == expected
    assert int(np.float32(expected)) != expected


def test_batches_add_up_and_may_be_sharded(small):
    model, variables, x, whole = small
    assert count(model, variables, iter([x[:4], x[:0], x[4:]])).layers == whole.layers
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    divided = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    everywhere = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    assert count(model, everywhere, divided).layers == whole.layers
    fired = np.asarray(recorder(model)(variables, x)["PIT_1"].count, int)
    by_sample = find_row(whole, "Dense_0").by_sample
    np.testing.assert_array_equal(by_sample, 3 * fired.sum((1, 2, 3, 4)))


def test_a_network_without_spikes_raises_with_the_reason():
    model = RandomNetwork(neurons.ReLU, STEPS, ((4, 3, 1, 1, ""),))
    with pytest.raises(NotFoldable, match=r"ReLU_0 is a ReLU, which sends no spikes"):
        count(model, init_variables(model, X), X)


def test_no_samples_and_mixed_shapes_raise(small):
    model, variables, x, _ = small
    with pytest.raises(ValueError, match="no samples to count; give at least one"):
        count(model, variables, [])
    with pytest.raises(ValueError, match=r"shape \(6, 4, 3\), those before \(6, 5, 3\)"):
        count(model, variables, [x, x[:, :, :4]])
