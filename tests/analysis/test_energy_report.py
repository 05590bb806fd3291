"""From counts to energy: prices, bits, the quantized twin, and the numbers of the paper."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.analysis.energy import (
    BINARY_CODE,
    EXPANDED,
    INT8,
    TABLE_3,
    TABLE_10,
    Bits,
    Counts,
    EnergyReport,
    Memory,
    Picojoules,
    paper_table3,
    paper_table10,
    report,
    s_ace,
)
from pit_jax.analysis.energy.counts import Neurons
from pit_jax.analysis.energy.layers import Prices, price_layer, price_twin
from pit_jax.analysis.energy.operations import NeuronOperations, operations
from pit_jax.analysis.energy.synapses import Synapses
from pit_jax.inference.compiler.neuron_rules import find_rule
from pit_jax.inference.compiler.trace import ModelLayer
from pit_jax.models import create
from pit_jax.models.count import count_layers
from pit_jax.neurons import CLIF, IF, ILIF, LIF, PIT, Ternary
from tests.analysis.test_energy import init_saturated
from tests.inference.random_networks import RandomNetwork

PRICES = Prices(Bits(), Picojoules(), Memory())
EACH = NeuronOperations(1, 1, 8, subtracts=True, scaled=True)
# 2 samples of 2 steps: 60 places send 300 spikes in 4 levels, of which each reaches 9 outputs.
CONV = Synapses(
    *("conv", "conv", "spikes", "PIT_0"),
    steps=2,
    inputs=60,
    outputs=90,
    connections=540,
    levels=4,
    macs=600,
    biases=90,
    weights=54,
    copies=2,
    counted=300,
    spikes=300,
    accumulations=2700,
    by_sample=np.array([1200.0, 1500.0]),
)
PIXELS = Synapses(
    *("stem", "conv", "pixels", ""),
    steps=1,
    inputs=75,
    outputs=60,
    connections=500,
    macs=540,
    weights=27,
    products=900,
)
NEURONS = Neurons("PIT_0", 60, 4, 2, EACH, counted=300, spikes=300, fired=(70, 50))


def make_counts(*rows, code=EXPANDED):
    return Counts([*rows], 2, 2, code, parameters=90, bytes=400, weights=80, zero_weights=20)


@pytest.fixture(scope="module")
def resnet18():
    model = create("resnet18", num_classes=10, neuron=partial(PIT, levels=4))
    return count_layers(model, (1, 32, 32, 3))


def test_resnet18_has_the_numbers_of_the_paper(resnet18):
    macs, neurons = sum(row.macs for row in resnet18), sum(row.neurons for row in resnet18)
    assert (macs, neurons, resnet18[0].macs) == (555_422_720, 557_056, 1_769_472)
    assert paper_table10(1_769_472, neurons, 0.0, scaled=False)[0] == 2_326_528
    assert paper_table10(1_769_472, neurons, 0.0, scaled=True)[0] == 2_883_584


@pytest.mark.parametrize("row", TABLE_10, ids=lambda row: row.method)
def test_table_10_prints_the_energy_of_its_operations(row, resnet18):
    neurons = sum(layer.neurons for layer in resnet18)
    macs, energy = paper_table10(
        resnet18[0].macs, neurons, row.acs * 1e6, scaled=row.method == "PIT"
    )
    assert round(macs / 1e6, 2) == row.macs
    assert energy / 1e6 == pytest.approx(row.energy, abs=0.01)


def test_table_3_rounds_the_products_first(resnet18):
    macs = sum(row.macs for row in resnet18)
    exact = s_ace(macs, weight_bits=16, steps=1, spike_bits=4)
    assert round(exact / 1e9, 3) == 35.547
    for row in TABLE_3:
        steps, levels = row.steps or 1, row.levels or 4
        found, _ = paper_table3(macs, 0.0, steps=steps, levels=levels)
        assert found / 1e9 == pytest.approx(row.s_ace, abs=1e-9)
    with_rate = [paper_table3(macs, rate, steps=1, levels=4)[1] / 1e9 for rate in (0.18, 0.16)]
    assert [round(x, 2) for x in with_rate] == [6.45, 5.73]


@pytest.mark.parametrize(
    ("first", "rest", "expected"),
    [
        pytest.param((8, 1), (4, 4), 35.660, id="pixels of 8 bits once"),
        pytest.param((8, 4), (4, 4), 36.340, id="at every step"),
        pytest.param((16, 1), (4, 4), 35.887, id="of 16 bits once"),
        pytest.param((3, 1), (3, 1), 26.66, id="five levels in 3 bits"),
    ],
)
def test_s_ace_by_other_conventions(resnet18, first, rest, expected):
    macs = sum(row.macs for row in resnet18) - resnet18[0].macs
    bits, steps = first
    stem = s_ace(resnet18[0].macs, weight_bits=16, steps=steps, spike_bits=bits)
    # T · D is 4 in either order.
    others = s_ace(macs, weight_bits=16, steps=1, spike_bits=rest[0])
    assert (stem + others) / 1e9 == pytest.approx(expected, abs=0.005)


def test_a_layer_that_reads_spikes_adds_once_per_spike_and_synapse():
    layer = price_layer(CONV, make_counts(CONV), PRICES)
    assert layer.operations.accumulations == 1350 and layer.operations.macs == 0
    assert layer.operations.additions == 2 * 90
    assert layer.energy == pytest.approx(0.9 * (1350 + 180))
    assert layer.bit_budget == 2 * 16 * 4
    assert layer.s_ace == 600 * layer.bit_budget
    assert layer.ns_ace == 1350 * 16
    # Each accumulation reads a weight and reads and writes a membrane.
    # Each spike is read as an address below 60.
    traffic = layer.traffic
    assert traffic.weights.moved == 1350 * 16 and traffic.weights.stored == 54 * 2 * 16
    assert traffic.membranes.moved == 1350 * 2 * 32
    assert traffic.activations.moved == 150 * 6
    assert layer.memory_energy == pytest.approx(traffic.moved * 10 / 64)


def test_the_binary_code_has_fewer_slots():
    layer = price_layer(CONV, make_counts(CONV, code=BINARY_CODE), PRICES)
    assert layer.bit_budget == 2 * 16 * 3


def test_pixels_are_multiplied_with_their_own_bits():
    layer = price_layer(PIXELS, make_counts(PIXELS), PRICES)
    assert layer.operations.macs == 500 and layer.energy == pytest.approx(4.6 * 500)
    assert layer.bit_budget == 1 * 16 * 8
    assert layer.s_ace == layer.ns_ace == 540 * 16 * 8


def test_neurons_compare_leak_and_subtract():
    layer = price_layer(NEURONS, make_counts(NEURONS), PRICES)
    assert layer.operations.multiplications == 60 and layer.operations.comparisons == 8 * 60
    assert layer.operations.additions == 60 + 150
    assert layer.energy == pytest.approx(3.7 * 60 + 0.9 * (8 * 60 + 60 + 150))
    # Two steps read the membranes twice and write them once.
    assert layer.traffic.membranes.moved == 3 * 60 * 32


def test_the_twin_multiplies_densely_in_few_bits():
    conv, stem, fired = (price_twin(row, PRICES) for row in (CONV, PIXELS, NEURONS))
    assert conv.operations.macs == 540 and conv.operations.accumulations == 0
    assert conv.bit_budget == 16 * 3 and conv.s_ace == conv.ns_ace == 600 * 16 * 3
    assert conv.traffic.activations.moved == 540 * 3
    assert stem.operations.macs == 500
    assert fired.operations.multiplications == 60 and fired.operations.comparisons == 120
    # An activation of one bit is added, not multiplied.
    binary = price_twin(Synapses(**{**vars(CONV), "levels": 1}), PRICES)
    assert (binary.operations.macs, binary.operations.accumulations) == (0, 540)
    # A second source of the same weights is first added to the first one.
    stream = Synapses(**{**vars(CONV), "stream": 1})
    assert price_twin(stream, PRICES).operations.macs == 0
    assert price_twin(stream, PRICES).operations.additions == 60


def test_prices_and_widths_can_be_changed():
    cheap = Prices(Bits(weight=8), INT8, Memory(sizes=(), beyond=640.0))
    layer = price_layer(CONV, make_counts(CONV), cheap)
    assert layer.energy == pytest.approx(0.1 * (1350 + 180))
    assert layer.ns_ace == 1350 * 8
    assert layer.memory_energy == pytest.approx(layer.traffic.moved * 10)


@pytest.mark.parametrize(
    ("stored", "picojoules"), [(8, 10), (8.1, 20), (32, 20), (1024, 100), (1025, 1300)]
)
def test_a_bit_is_read_from_the_smallest_memory_that_holds_the_layer(stored, picojoules):
    assert Memory().per_bit(stored * 1024 * 8) == picojoules / 64


RULES = [
    # Multiplications, additions and comparisons in 4 steps.
    (IF(), (0, 3, 4)),
    (LIF(), (3, 3, 4)),
    (LIF(decay=0.0), (0, 0, 4)),
    (ILIF(levels=3), (3, 3, 12)),
    (Ternary(), (3, 3, 8)),
    (CLIF(), (3 + 12, 3 + 8, 4)),
]


@pytest.mark.parametrize(("neuron", "expected"), RULES, ids=lambda x: str(x)[:12].split("(")[0])
def test_the_operations_of_a_neuron(neuron, expected):
    rule = find_rule(ModelLayer("", neuron, {}))
    found = operations(rule, channels=5, steps=4, slots=rule.levels)
    assert (found.multiplications, found.additions, found.comparisons) == expected
    assert not found.scaled


def test_a_membrane_of_one_step_does_not_leak():
    a = jnp.ones((1, 5)) * 0.3
    rule = find_rule(ModelLayer("", PIT(levels=4), {"params": {"a": a}}))
    found = operations(rule, channels=5, steps=1, slots=3)
    assert found == NeuronOperations(0, 0, 3, subtracts=True, scaled=True)


def test_totals_have_the_names_of_neurobench():
    found = EnergyReport([], [], make_counts(PIXELS, NEURONS, CONV), PRICES).neurobench
    assert found == {
        "footprint": 400,
        "parameter_count": 90,
        "connection_sparsity": 0.25,
        "activation_sparsity": 1 - 150 / (60 * 2 * 4),
        "synaptic_operations": {
            "Effective_MACs": 450.0,
            "Effective_ACs": 1350.0,
            "Dense": 500 + 540 * 2 * 4,
        },
        "membrane_updates": 60 + 25,
    }


def test_a_report_has_the_totals_of_all_conventions():
    model = RandomNetwork(partial(PIT, levels=2), 2, ((4, 3, 1, 1, ""), (4, 3, 1, 1, "")))
    x = np.ones((2, 6, 5, 3), np.float32)
    found = report(model, init_saturated(model, x), x)
    honest, table3 = found.conventions["honest"], found.conventions["paper_table3"]
    table10, twin = found.conventions["paper_table10"], found.conventions["twin"]
    # 3 x 3 windows in 6 x 5 have 16 x 13 of 18 x 15 taps inside; the head reads 6 x 5 x 4.
    inside, nominal = 16 * 13, 18 * 15
    assert honest.macs == inside * 3 * 4
    assert honest.accumulations == 2 * 2 * (inside * 4 * 4 + 120 * 3)
    # The head is a linear layer after a mean, which adds before the weights multiply.
    products = nominal * 4 * 4 + 4 * 3
    assert table10.accumulations == products
    assert table10.macs == nominal * 3 * 4 + 2 * 240
    assert table10.energy == pytest.approx(0.9 * products + 4.6 * table10.macs)
    rounded = float(f"{nominal * 3 * 4 + products:.1e}")
    assert table3.s_ace == table3.ns_ace == rounded * 16 * 4
    assert table3.energy is None
    assert twin.macs == inside * 7 * 4 + 120 * 3
    assert honest.energy == found.energy and found.energy_deviation == 0.0
    assert found.memory_energy == sum(layer.memory_energy for layer in found.layers)
    assert str(found).splitlines()[-1].startswith("total")
    assert [layer.path for layer in found.layers] == [layer.path for layer in found.twin]


def test_energy_differs_between_samples():
    found = EnergyReport([], [], make_counts(CONV), PRICES)
    assert found.energy_deviation == pytest.approx(150 * 0.9)
