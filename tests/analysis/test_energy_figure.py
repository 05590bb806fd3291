"""The energy analysis of a run: figures and tables have the numbers of the report."""

from functools import partial
from types import SimpleNamespace

import jax
import pytest
from ml_collections import ConfigDict

from pit_jax import neurons
from pit_jax.analysis.energy import report
from pit_jax.analysis.plots.energy import Bars, energy_of_layers
from tests.analysis.test_energy import init_variables
from tests.inference.random_networks import RandomNetwork
from train.analyze import energy

LAYERS = [
    Bars("stem (conv)", 100.0, 0.0, (0.4, 0.0, 0.1), 0.0, 2.0, 100.0, 0.5, 1.0),
    Bars("conv (conv)", 300.0, 20.0, (0.0, 0.3, 0.1), 0.1, 3.0, 900.0, 4.0, 2.0),
]


def test_each_layer_has_a_bar_above_its_twins():
    drawn = energy_of_layers(LAYERS, samples=7)
    counts, energies, memories = drawn.axes
    assert [label.get_text() for label in counts.get_yticklabels()] == [
        "stem (conv)",
        "conv (conv)",
    ]
    assert [bar.get_width() for bar in counts.patches] == [100, 300, 100, 900]
    # Each of three parts for both layers, then the twins.
    widths = [bar.get_width() for bar in energies.patches]
    assert widths == pytest.approx([0.4, 0, 0, 0.3, 0.1, 0.1, 0.5, 4])
    assert energies.patches[5].get_x() == pytest.approx(0.3)
    assert [bar.get_width() for bar in memories.patches] == [2, 3, 1, 2]
    assert "mean of 7 samples" in drawn.get_supxlabel()
    assert all("a sample" in axes.get_xlabel() for axes in drawn.axes)


def make_run(neuron):
    model = RandomNetwork(neuron, 2, ((4, 3, 1, 1, ""), (4, 3, 1, 1, "")))
    x = jax.random.normal(jax.random.key(0), (6, 6, 5, 3))
    variables = init_variables(model, x)
    return SimpleNamespace(
        model=model, variables=variables, batches=lambda split, count: iter([x[:3], x[3:]])
    ), x


def test_the_tables_of_a_run_have_the_numbers_of_its_report():
    trained, x = make_run(partial(neurons.PIT, levels=2))
    found, counted = (
        energy.analyze(trained),
        report(trained.model, trained.variables, [x[:3], x[3:]]),
    )
    header, rows = found.tables["energy"].header, found.tables["energy"].rows
    assert all(len(row) == len(header) for row in rows)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    assert sum(columns["energy_pj"]) == pytest.approx(counted.energy)
    assert sum(columns["memory_pj"]) == pytest.approx(counted.memory_energy)
    assert sum(columns["twin_macs"]) == counted.conventions["twin"].macs
    assert max(columns["accumulations_deviation"]) > 0
    totals = {row[0]: row[1:] for row in found.tables["energy_totals"].rows}
    assert totals["honest"][0] == counted.conventions["honest"].accumulations
    assert dict(found.tables["neurobench"].rows)["Effective_ACs"] == totals["honest"][0]
    assert len(found.figures["energy"].draw().axes) == 3


def test_a_network_without_spikes_has_a_remark_instead_of_tables():
    trained, x = make_run(neurons.ReLU)
    trained.config = ConfigDict({"model": {"name": "vgg11"}, "neuron": {"name": "ReLU"}})
    trained.over_batch = SimpleNamespace(mesh=SimpleNamespace(size=1))
    trained.samples = lambda split, count: (x[:count], None)
    found = energy.analyze(trained)
    assert not found.tables and "sends no spikes" in found.remarks[0]
