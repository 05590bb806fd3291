"""Information loss and quantization ranges of one or several networks: tables and figures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from pit_jax.neurons import LIF, PIT, ReLU
from tests.helpers import jit_once
from train.analyze import information, quantization
from train.analyze.subject import Subject
from train.data.images.synthetic import synthetic
from train.program import sharding

SAMPLES = 40


class Small(nn.Module):
    """A network of two neuron layers."""

    neuron: Callable[[], nn.Module]
    num_steps: int

    @nn.compact
    def __call__(self, x, train=False):
        x = jnp.repeat(x[:, None], self.num_steps, axis=1)
        x = self.neuron(name="first")(nn.Dense(4, name="mix")(x))
        return self.neuron(name="second")(2 * nn.Dense(3)(x)).mean((2, 3))


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly():
    """Compile with few optimizations: these tests run each program once or twice."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def make_run(neuron, name="a run", num_steps=1):
    """Return a run with initial weights and synthetic images."""
    dataset = synthetic(num_train=8, num_test=SAMPLES)
    model = Small(neuron, num_steps)
    mesh = sharding.make_data_mesh(1, devices=jax.devices()[:1])
    x = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
    variables = jax.device_put(
        jit_once(model.init)(jax.random.key(0), x), sharding.make_replicated(mesh)
    )
    here = Path()
    over_batch = sharding.make_batch_sharding(mesh)
    return Subject(name, here, "last", ConfigDict(), dataset, model, variables, over_batch, here)


def read_rows(analysis, table):
    header = analysis.tables[table].header
    return [dict(zip(header, row, strict=True)) for row in analysis.tables[table].rows]


def test_a_run_has_all_measures_of_every_layer_and_step():
    found = information.analyze(make_run(LIF, num_steps=2))
    assert "On 40 test samples" in found.remarks[0]
    measured = read_rows(found, "measures")
    assert len(measured) == 2 * 8 * 3  # Layers, measures, and two steps with their total.
    assert all(row["low"] <= row["value"] <= row["high"] for row in measured)
    drawn = found.figures["by_layer"].draw()
    assert [axes.get_ylabel() for axes in drawn.axes] == [
        "I(U; S), bits",
        "‖s − u‖ / ‖u‖",
        "KL, bits",
        "Var(s) / Var(u)",
    ]
    assert drawn.get_supxlabel() == "40 samples; bars: 95% intervals over samples"
    # The reference lines are inside the panels.
    assert drawn.axes[0].get_ylim()[1] >= 1 and drawn.axes[3].get_ylim()[1] >= 1


def test_runs_are_compared_over_all_steps():
    runs = [make_run(partial(PIT, levels=4), "PIT"), make_run(LIF, "LIF", num_steps=2)]
    found = information.compare(runs)
    assert [remark[:5] for remark in found.remarks] == ["PIT: ", "LIF: "]
    measured = read_rows(found, "measures")
    assert {row["step"] for row in measured} == {"all"}
    assert [row["run"] for row in measured] == ["PIT"] * 16 + ["LIF"] * 16
    labels = found.figures["by_layer"].draw().axes[0].get_legend_handles_labels()[1]
    assert labels == ["PIT", "LIF"]


def test_ranges_are_measured_for_every_layer_step_and_number_of_levels():
    found = quantization.analyze(make_run(partial(PIT, levels=2)))
    ranges = read_rows(found, "ranges")
    assert len(ranges) == 2 * 4 * 6
    errors = {(row["levels"], row["range"]): row["error"] for row in ranges}
    assert errors[8, "covering"] < errors[2, "covering"]
    drawn = found.figures["on_membranes"].draw()
    assert [axes.get_title().split("\n")[0] for axes in drawn.axes] == [
        "binary, threshold 1, D = 1",
        "min-max, D = 4",
        "3-sigma, Eq. 12, D = 4",
        "least error, D = 4",
    ]
    membrane, density = zip(*found.tables["on_membranes"].rows, strict=True)
    assert sum(density) * (membrane[1] - membrane[0]) == pytest.approx(1, rel=1e-3)
    assert [row["range"] for row in read_rows(found, "levels")].count("min_max") == 4
    assert "40 samples" in found.figures["against_levels"].draw().get_supxlabel()


@pytest.mark.parametrize("analyze", [information.analyze, quantization.analyze])
def test_a_network_without_spikes_has_a_remark_instead_of_tables(analyze):
    found = analyze(make_run(ReLU))
    assert found.remarks == ["No layer of this network fires integers."]
    assert not found.tables and not found.figures
