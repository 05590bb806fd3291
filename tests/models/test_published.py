"""Every network has the integers of its publication, counted from shapes."""

import math
from functools import cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import pytest

from pit_jax.models import MODELS, create
from pit_jax.models.count import count_layers, count_traced_totals, parameters_by_kind
from pit_jax.models.trace import Trace, trace
from pit_jax.neurons import PIT, ReLU
from tests.models.helpers import Unmoved, count_parameters
from tests.models.published import PUBLISHED

ROWS = {str(row): row for row in PUBLISHED}
# The first row of each network is quick; variants and other numbers of classes are slow.
FIRST = {row.name: key for key, row in reversed(ROWS.items())}
MARKED = [
    pytest.param(key, marks=[] if FIRST[row.name] == key else pytest.mark.slow)
    for key, row in ROWS.items()
]


class Traced(NamedTuple):
    """A trace of a network, and the output shape of each of its modules by path."""

    trace: Trace
    outputs: dict[str, tuple[int, ...]]


@cache
def trace_row(key: str) -> Traced:
    """Trace the network of a row once for all tests."""
    row = ROWS[key]
    outputs = {}

    def record_shape(run: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = run(*args, **kwargs)
        if context.method_name == "__call__":
            outputs["/".join(context.module.path)] = out.shape
        return out

    model = create(row.name, num_classes=row.num_classes, neuron=Unmoved, **row.kw)
    with nn.intercept_methods(record_shape):
        return Traced(trace(model, (1, *row.shape)), outputs)


def test_every_row_has_another_key():
    assert len(ROWS) == len(PUBLISHED)
    assert set(FIRST) == set(MODELS) - {"resnet8"}  # The small network for laptops.


@pytest.mark.parametrize("key", MARKED)
def test_parameters_neurons_and_maps_equal_the_publication(key):
    row, (traced, outputs) = ROWS[key], trace_row(key)
    assert outputs[""] == (1, 1, row.num_classes)
    kinds = parameters_by_kind(traced.params)
    assert kinds.pop("neuron") == row.channels
    assert (kinds, kinds.total()) == (row.parameters, row.total)
    neurons = [node.shape for node in traced.nodes if node.kind == "neuron"]
    assert len(neurons) == row.layers
    assert sum(map(math.prod, neurons)) == row.neurons
    assert {name: outputs[name][2:] for name in row.maps} == row.maps


@pytest.mark.parametrize("key", [key for key in MARKED if ROWS[key.values[0]].macs])
def test_macs_equal_the_publication(key):
    assert count_traced_totals(trace_row(key).trace).macs == ROWS[key].macs


def test_the_stem_of_resnet18_has_the_macs_of_the_energy_tables():
    stem, *_ = count_layers(create("resnet18", num_classes=10, neuron=ReLU), (1, 32, 32, 3))
    assert (stem.path, stem.macs) == ("stem", 1_769_472)


@pytest.mark.parametrize(
    "name, side, num_classes, total",
    [
        ("resnet18", 32, 10, 11_180_810),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [
                ("resnet19", 32, 10, 12_702_730),
                ("sew_resnet18", 224, 1000, 11_694_312),
                ("sew_resnet34", 224, 1000, 21_806_184),
                ("spike_driven_transformer", 224, 1000, 16_848_360),
                ("e_spikeformer_s", 224, 1000, 5_131_992),
                ("e_spikeformer_m", 224, 1000, 10_060_624),
            ]
        ),
    ],
)
def test_pit_adds_one_scale_per_channel_of_a_neuron_layer(name, side, num_classes, total):
    # In the quick tests the channels of all networks are counted with `Unmoved`.
    assert count_parameters(name, (side, side, 3), num_classes, PIT).total() == total


def test_the_spike_driven_transformer_has_512_unused_parameters():
    params = trace_row(FIRST["spike_driven_transformer"]).trace.params
    leaves = jax.tree.leaves_with_path(params)
    unread = sum(leaf.size for path, leaf in leaves if path[-2].key == "talking_heads")
    kinds = parameters_by_kind(params)
    assert (unread, kinds.total() - kinds["neuron"] - unread) == (512, 16_816_024)
