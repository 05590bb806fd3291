"""The readings of PIT that only the benchmark has: their counts and gradients."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import dig200, readings
from pit_jax.neurons import PIT
from tests.helpers import jit_once
from train import data
from train.config import cli
from train.program.pure import make_pure_program

RESULTS = Path(readings.__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs/theory/paper_vs_code.md"
# Values of u / a with ties, both ends of the window, and values outside; a scale and a gradient.
X = np.array([-0.7, 0.0, 0.3, 0.5, 1.0, 1.4, 2.5, 3.9, 4.0, 5.2], np.float32)
A, G, STRENGTH = 0.5, np.linspace(-1, 1, len(X), dtype=np.float32), 0.1
INSIDE = (X >= 0) & (X <= 4)
HALF_UP = np.array([0, 0, 0, 1, 1, 1, 3, 4, 4, 4])
HALF_EVEN = np.array([0, 0, 0, 0, 1, 1, 2, 4, 4, 4])
# The correction of Eq. 13 with the floor and with the ceiling; the norm that some divide by.
FLOOR = STRENGTH * (0.5 - abs(X - np.floor(X) - 0.5))
CEILING = -STRENGTH * (np.ceil(X) - X)
NORM = np.linalg.norm(A * G)
# Neuron, its counts, and the corrections of the gradients for u and for a.
CASES = {
    "PIT": (PIT(strength=STRENGTH), HALF_UP, FLOOR, 0),
    "own": (readings.OwnPIT(strength=STRENGTH), HALF_UP, FLOOR, 0),
    "ceiling": (readings.CeilingPIT(strength=STRENGTH), HALF_UP, CEILING, 0),
    "autodiff": (readings.AutodiffPIT(strength=STRENGTH), HALF_UP, FLOOR, FLOOR),
    "even": (readings.EvenPIT(strength=STRENGTH), HALF_EVEN, FLOOR, 0),
    "norm": (readings.NormPIT(strength=STRENGTH), HALF_UP, FLOOR / NORM, 0),
    "norm and ceiling": (
        readings.NormPIT(strength=STRENGTH, ceiling=True),
        HALF_UP,
        CEILING / NORM,
        0,
    ),
    "released": (
        readings.ReleasedPIT(strength=STRENGTH),
        HALF_EVEN,
        CEILING / NORM,
        CEILING / NORM,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_reading_has_its_counts_and_gradients(case):
    neuron, count, correction, correction_of_a = CASES[case]
    current = A * X[:, None, None]

    def fire(a, current):
        return neuron.apply({"params": {"a": a}}, current, mutable=["intermediates"])

    @jit_once
    def differentiate(a, current):
        s, pull, sown = jax.vjp(fire, a, current, has_aux=True)
        return s, sown, pull(jnp.asarray(G[:, None, None]))

    s, sown, grads = differentiate(jnp.full((1, 1), A), current)
    grad_a, grad_u = (np.asarray(grad).ravel() for grad in grads)
    assert s.ravel().tolist() == (A * count).tolist()
    assert sown["intermediates"]["count"][0].ravel().tolist() == count.tolist()
    np.testing.assert_allclose(grad_u, G * INSIDE * (1 + correction), rtol=1e-5, atol=1e-6)
    expected = G @ (count - INSIDE * X * (1 + correction_of_a))
    np.testing.assert_allclose(grad_a, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "parametrize, learned",
    [(readings.block_below_floor, "a"), (readings.released_above_floor, "p")],
)
def test_a_blocking_floor_has_no_gradient_below_it(parametrize, learned):
    neuron = PIT(parametrize=parametrize)
    current = jax.random.normal(jax.random.key(0), (8, 1, 2))
    params = jit_once(neuron.init)(jax.random.key(0), current)["params"]
    differentiate = jit_once(jax.grad(lambda own: neuron.apply({"params": own}, current).sum()))
    for factor, alive in ((1.0, True), (1e-6, False)):
        scaled = params | {learned: factor * params[learned]}
        gradients = differentiate(scaled)
        assert bool((gradients[learned] != 0).all()) == alive
        assert bool((gradients[learned] == 0).all()) != alive


@pytest.mark.parametrize("name", readings.ROWS)
def test_a_row_names_existing_parts(name):
    row = readings.ROWS[name]
    config, _ = cli.parse(["readings", *dig200.make_flags(row, dig200.COMMON)])
    dataset = data.load(**config.data)
    assert len(dataset.train) == 200 and len(dataset.test) == 1597
    assert make_pure_program(config, dataset).model.width == 16
    assert not row.against or row.against in readings.ROWS


@pytest.mark.slow  # The quick tests check the gradients of every reading, and train another row.
def test_a_reading_trains(tmp_path, monkeypatch):
    tiny = {"data.train_images": 40, "batch_size": 20, "model.width": 4, "model.stages": "(1,)"}
    for key, value in tiny.items():
        monkeypatch.setitem(dig200.COMMON, key, value)
    out = tmp_path / "readings.json"
    words = ("--rows", "released in full", "--seeds", "1", "--epochs", "1", "--out", str(out))
    dig200.run_rows(["readings", *words], readings.ROWS, 20, out)
    (run,) = json.loads(out.read_text())["rows"]["released in full"]["runs"].values()
    assert 0 <= run["accuracy"] <= 1 and 0 < run["spikes"] < 4


@pytest.mark.parametrize("name", readings.ROWS)
def test_stored_results_are_those_of_the_current_rows(name):
    results = json.loads(RESULTS.read_text())
    flags = " ".join(dig200.make_flags(readings.ROWS[name], dig200.COMMON))
    row = results["rows"][name]
    assert row["command"] == f"python -m train.main {flags} --config.seed=SEED"
    assert len(row["runs"]) == results["summary"][name]["accuracy"]["seeds"] >= 10


def test_the_page_has_the_measured_effect_of_every_row():
    text = " ".join(PAGE.read_text().replace("−", "-").split())
    number = r"\S+ \[\S+ \S+\]"
    printed = re.findall(rf"`([^`]+)`: accuracy ({number}), spikes ({number})", text)
    summary = json.loads(RESULTS.read_text())["summary"]
    measured = {
        (
            name,
            dig200.format_estimate(row["accuracy difference"], 100, "+"),
            dig200.format_estimate(row["spikes difference"], 1, "+"),
        )
        for name, row in summary.items()
        if "against" in row
    }
    assert set(printed) == measured and len(measured) == len(readings.ROWS) - 2


def test_the_page_has_the_table_of_neurons():
    text = PAGE.read_text().replace("−", "-")
    summary = json.loads(Path(dig200.__file__).with_suffix(".json").read_text())["summary"]
    for name, row in summary.items():
        cells = [
            name,
            dig200.format_estimate(row["accuracy"], 100),
            dig200.format_estimate(row["spikes"], 1),
            dig200.format_estimate(row.get("accuracy difference"), 100, "+") or "–",
            dig200.format_estimate(row.get("spikes difference"), 1, "+") or "–",
        ]
        assert f"| {' | '.join(cells)} |" in text
