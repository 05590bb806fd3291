"""The benchmark of neurons on 200 digits: runs are paired, and equal to runs of the trainer."""

import json
from functools import cache, partial
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from benchmarks import dig200
from benchmarks.dig200 import Trainer, make_flags
from pit_jax.neurons.probe import neuron_probes
from tests.helpers import jit_once
from tests.train.helpers import get_bits, take_devices
from train import data
from train.config import cli
from train.program.program import make_program

TINY = {"data.train_images": 40, "batch_size": 20, "epochs": 2, "model.width": 4}
GAIN = "I-LIF 1x4 gain 4/3"
RESULTS = Path(dig200.__file__).with_suffix(".json")


@pytest.fixture(autouse=True)
def shrink_runs(monkeypatch):
    """Make every run of the benchmark tiny."""
    for key, value in (TINY | {"model.stages": "(1,)"}).items():
        monkeypatch.setitem(dig200.COMMON, key, value)


@cache
def make_trainer(name: str) -> Trainer:
    """Return the tiny trainer of a row, whose programs several tests share."""
    config, _ = cli.parse(["dig200", *make_flags(dig200.ROWS[name], dig200.COMMON)])
    return Trainer(config, data.load(**config.data))


def run(out: Path, *words: str) -> dict:
    dig200.run_rows(["dig200", "--out", str(out), *words], dig200.ROWS, 1, out)
    return json.loads(out.read_text())


@cache
def read_start(name: str) -> dict[str, np.ndarray]:
    """Return the initial kernels and biases of a row, and its random key."""
    trainer = make_trainer(name)

    @jax.jit  # Nothing else of the first state is returned, and therefore compiled.
    def start(*arguments):
        state = trainer.begin.__wrapped__(*arguments)
        shared = {
            path: leaf
            for path, leaf in flatten_dict(state.params, sep="/").items()
            if path.endswith(("/kernel", "/bias"))
        }
        # The key of augmentation and dropout.
        return {**shared, "key": jax.random.key_data(state.key)}

    return jax.device_get(start(jax.random.key(3), trainer.samples, trainer.order(3, 0)))


@pytest.mark.parametrize(
    "name",
    [
        "LIF 4x1",
        "PIT released 1x4",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("I-LIF 1x4", "PIT paper 1x4")),
        pytest.param("PIT ours 1x4", marks=pytest.mark.slow),
    ],
)
def test_rows_with_the_same_seed_start_from_the_same_kernels_and_random_key(name):
    first, other = read_start(GAIN), read_start(name)
    assert "stage1_block1/conv1/kernel" in first and len(first) > 5
    chex.assert_trees_all_equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("row", [GAIN, "PIT ours 1x4", "LIF 4x1"])
def test_a_benchmark_run_ends_with_the_bits_of_a_run_of_the_trainer(row):
    trainer = make_trainer(row)
    state = trainer.train(seed=3)
    config = trainer.config.copy_and_resolve_references()
    config.seed = 3
    dataset = data.load(**config.data)
    program = make_program(config, dataset, devices=take_devices(1))
    expected, step = program.first_state(), program.compile_step()
    for batch in program.batches(0):
        expected, _ = step(expected, batch)
    assert get_bits(state.params) == get_bits(expected.params)
    assert get_bits(state.batch_stats) == get_bits(expected.batch_stats)
    assert trainer.measure(state)["accuracy"] == program.evaluate(expected).accuracy


def test_spikes_are_the_mean_count_of_all_neurons_summed_over_the_steps():
    trainer = make_trainer("LIF 4x1")
    state = trainer.start(seed=0)
    config = trainer.config
    dataset = data.load(**config.data)
    pure = dig200.make_pure_program(config, dataset)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    images = pure.normalize(dataset.test.images)
    _, sown = jit_once(partial(pure.model.apply, mutable=["intermediates"]))(variables, images)
    counts = [layer["count"] for layer in neuron_probes(sown["intermediates"]).values()]
    sums = np.concatenate([count.sum(axis=1).reshape(len(images), -1) for count in counts], 1)
    assert trainer.measure(state)["spikes"] == pytest.approx(sums.mean(), rel=1e-5)


def test_results_include_config_environment_and_summary(tmp_path):
    found = run(tmp_path / "dig200.json", "--rows", GAIN, "--epochs", "1")
    (row,) = found["rows"].values()
    assert row["config"]["model"]["norm"]["gain"] == 4 / 3 and row["config"]["epochs"] == 1
    assert {"commit", "jax", "processor"} <= row["environment"].keys()
    assert 0 < row["runs"]["0"]["accuracy"] < 1 and 0 < row["runs"]["0"]["spikes"] < 4
    assert found["summary"][GAIN]["accuracy"] == {
        "mean": row["runs"]["0"]["accuracy"],
        "interval": [],
        "seeds": 1,
    }


def test_finished_runs_are_kept_and_missing_ones_added(tmp_path, monkeypatch):
    trained = []

    class FakeTrainer:
        """A trainer with accuracies 0.5 and 0.7 for I-LIF, 0.6 and 0.9 for I-LIF with a gain."""

        def __init__(self, config, dataset):
            self.values = (0.6, 0.9) if "norm" in config.model else (0.5, 0.7)

        def train(self, seed):
            trained.append(seed)
            return seed

        def measure(self, seed):
            return {"accuracy": self.values[seed], "spikes": 1.0}

    monkeypatch.setattr(dig200, "Trainer", FakeTrainer)
    out, words = tmp_path / "dig200.json", ("--rows", f"I-LIF 1x4,{GAIN}")
    run(out, *words)
    found = run(out, *words, "--seeds", "2")
    assert trained == [0, 0, 1, 1]
    assert [list(row["runs"]) for row in found["rows"].values()] == [["0", "1"], ["0", "1"]]
    difference = found["summary"][GAIN]["accuracy difference"]
    # Student's t of one degree of freedom; the standard error of 0.1 and 0.2 is 0.05.
    assert difference["mean"] == pytest.approx(0.15) and difference["seeds"] == 2
    assert difference["interval"] == pytest.approx(
        [0.15 - 12.706 * 0.05, 0.15 + 12.706 * 0.05], 1e-4
    )
    with pytest.raises(SystemExit, match="a different config"):
        run(out, *words, "--epochs", "3")


def test_an_unknown_row_is_an_error_that_lists_the_rows(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path / "dig200.json", "--rows", "PIT")
    assert "there is no row 'PIT'; choose from I-LIF 1x4," in capsys.readouterr().err


@pytest.mark.parametrize("name", dig200.ROWS)
def test_stored_results_are_those_of_the_current_rows(name, monkeypatch):
    monkeypatch.undo()
    results = json.loads(RESULTS.read_text())
    row = results["rows"][name]
    flags = " ".join(make_flags(dig200.ROWS[name], dig200.COMMON))
    assert row["command"] == f"python -m train.main {flags} --config.seed=SEED"
    assert list(row["runs"]) == [str(seed) for seed in range(20)]
    assert results["summary"][name]["accuracy"]["seeds"] == 20
