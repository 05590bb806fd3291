"""Every network has the integers of its publication, counted from shapes."""

import jax
import numpy as np
import pytest

from pit_jax.models import create
from pit_jax.models.count import count_layers, count_totals, parameters_by_kind
from pit_jax.neurons import PIT, ReLU
from tests.helpers import collect_by_layer
from tests.models.helpers import Unmoved, count_parameters, get_shapes
from tests.models.published import PUBLISHED


@pytest.mark.parametrize("row", PUBLISHED, ids=str)
def test_parameters_neurons_and_maps_equal_the_publication(row):
    model = create(row.name, num_classes=row.num_classes, neuron=Unmoved, **row.kw)
    logits, variables = get_shapes(model, (1, *row.shape), capture_intermediates=True)

    assert logits.shape == (1, 1, row.num_classes)
    kinds = parameters_by_kind(variables["params"])
    assert kinds.pop("neuron") == row.channels
    assert (kinds, kinds.total()) == (row.parameters, row.total)
    counts = collect_by_layer(variables["intermediates"], "count")
    assert len(counts) == row.layers
    assert sum(int(np.prod(count.shape)) for count in counts.values()) == row.neurons
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert {name: outputs[name].shape[2:] for name in row.maps} == row.maps


@pytest.mark.parametrize("row", [row for row in PUBLISHED if row.macs], ids=str)
def test_macs_equal_the_publication(row):
    model = create(row.name, num_classes=row.num_classes, neuron=ReLU, **row.kw)
    assert count_totals(model, (1, *row.shape)).macs == row.macs


def test_the_stem_of_resnet18_has_the_macs_of_the_energy_tables():
    stem, *_ = count_layers(create("resnet18", num_classes=10, neuron=ReLU), (1, 32, 32, 3))
    assert (stem.path, stem.macs) == ("stem", 1_769_472)


@pytest.mark.parametrize(
    "name, side, num_classes, total",
    [
        ("resnet18", 32, 10, 11_180_810),
        ("resnet19", 32, 10, 12_702_730),
        ("sew_resnet18", 224, 1000, 11_694_312),
        ("sew_resnet34", 224, 1000, 21_806_184),
        pytest.param("spike_driven_transformer", 224, 1000, 16_848_360, marks=pytest.mark.slow),
        pytest.param("e_spikeformer_s", 224, 1000, 5_131_992, marks=pytest.mark.slow),
        pytest.param("e_spikeformer_m", 224, 1000, 10_060_624, marks=pytest.mark.slow),
    ],
)
def test_pit_adds_one_scale_per_channel_of_a_neuron_layer(name, side, num_classes, total):
    assert count_parameters(name, (side, side, 3), num_classes, PIT).total() == total


def test_the_spike_driven_transformer_has_512_unused_parameters():
    model = create("spike_driven_transformer", num_classes=1000, neuron=Unmoved)
    params = get_shapes(model, (1, 224, 224, 3))[1]["params"]
    leaves = jax.tree.leaves_with_path(params)
    unread = sum(leaf.size for path, leaf in leaves if path[-2].key == "talking_heads")
    kinds = parameters_by_kind(params)
    assert (unread, kinds.total() - kinds["neuron"] - unread) == (512, 16_816_024)
