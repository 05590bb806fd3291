"""Every network has the integers of its publication, counted without allocating it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import create
from pit_jax.models.count import parameters_by_kind, totals
from pit_jax.neurons import PIT
from tests.helpers import by_layer
from tests.models.helpers import KEY
from tests.models.published import PUBLISHED


@pytest.mark.parametrize("row", PUBLISHED, ids=str)
def test_a_network_has_the_parameters_neurons_and_maps_of_its_publication(row):
    model = create(row.name, num_classes=row.num_classes, neuron=PIT, **row.kw)
    run = partial(model.init_with_output, mutable=True, capture_intermediates=True)
    image = jax.ShapeDtypeStruct((1, *row.shape), jnp.float32)
    logits, variables = jax.eval_shape(run, KEY, image)

    assert logits.shape == (1, 1, row.num_classes)
    kinds = parameters_by_kind(variables["params"])
    assert kinds.pop("neuron") == row.channels
    assert kinds == row.parameters
    counts = by_layer(variables["intermediates"], "count")
    assert len(counts) == row.layers
    assert sum(int(np.prod(count.shape)) for count in counts.values()) == row.neurons
    outputs = by_layer(variables["intermediates"], "__call__")
    assert {name: outputs[name].shape[2:] for name in row.maps} == row.maps


TOTALS = {
    "resnet18-10-32": 11_176_906,
    "resnet18-100-32": 11_223_076,
    "resnet19-10-32": 12_697_994,
    "resnet19-100-32": 12_721_124,
    "resnet20-10-32": 11_253_440,
    "resnet20-100-32": 11_437_760,
    "resnet20-10-norm-32": 11_247_946,
    "resnet20-100-norm-32": 11_294_116,
    "resnet34-1000-224": 21_797_672,
    "sew_resnet18-1000-224": 11_689_512,
    "sew_resnet34-1000-224": 21_797_672,
    "sew_resnet50-1000-224": 25_557_032,
    "sew_resnet101-1000-224": 44_549_160,
    "sew_resnet152-1000-224": 60_192_808,
    "ms_resnet18-1000-224": 11_693_736,
    "ms_resnet34-1000-224": 21_801_896,
}


@pytest.mark.parametrize("row", TOTALS)
def test_the_kinds_of_parameters_sum_to_the_published_total(row):
    rows = {str(published): published for published in PUBLISHED}
    assert sum(rows[row].parameters.values()) == TOTALS[row]


@pytest.mark.parametrize("row", [row for row in PUBLISHED if row.macs], ids=str)
def test_a_pass_of_a_network_costs_what_its_publication_says(row):
    model = create(row.name, num_classes=row.num_classes, neuron=PIT, **row.kw)
    assert totals(model, (1, *row.shape)).macs == row.macs
