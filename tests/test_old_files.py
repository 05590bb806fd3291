"""Files written by version 0.1.0 before its folders were rearranged can still be read.

`tests/old_files` has a run that was stopped after three of its six steps, a finished run, and
exports by the same code. Their configs use old keys.
"""

import functools
import json
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.export import from_nir, load_stablehlo
from pit_jax.inference import load
from tests.helpers import QUICK_OPTIONS
from tests.train.helpers import limit_devices
from train.analyze.__main__ import main as analyze
from train.evaluate.__main__ import main as evaluate
from train.export.__main__ import main as export
from train.main import main as train
from train.report.__main__ import main as report

FILES = Path(__file__).parent / "old_files"
DEVICES = "--cpu-devices=4"  # The number with which the tests initialized JAX.


@pytest.fixture(scope="module")
def expected():
    """Return inputs, and the logits computed by the code that wrote the files."""
    return np.load(FILES / "expected.npz")


@pytest.fixture(scope="module")
def program():
    """Return the old program."""
    return load(FILES / "program")


def test_an_old_program_computes_the_same_logits(program, expected):
    assert np.array_equal(program(expected["x"]), expected["logits"])


def test_an_old_program_takes_no_raw_pixels(program, expected):
    assert program.normalization is None
    pixels = np.zeros(expected["x"].shape, np.uint8)
    advice = "Give floats, normalized as in training, or compile .or export. the network again"
    for call in (program, program.grid, program.verify):
        with pytest.raises(ValueError, match=f"the input is uint8, .*{advice}"):
            call(pixels)


def test_an_old_program_is_saved_again_in_the_new_format(program, expected, tmp_path):
    program.save(tmp_path / "program")
    old, new = (
        json.loads((folder / "program" / "manifest.json").read_text())
        for folder in (FILES, tmp_path)
    )
    assert old["version"] == 1 and new["version"] > old["version"]
    assert np.array_equal(load(tmp_path / "program")(expected["x"]), expected["logits"])


def test_the_old_method_of_a_program_works_with_a_warning(program, expected):
    with pytest.warns(FutureWarning, match="clipped is now called count_clipped"):
        old = program.clipped
    assert old(expected["x"]) == program.count_clipped(expected["x"])


def test_an_old_stablehlo_artifact_computes_the_same_logits(expected):
    assert np.array_equal(load_stablehlo(FILES / "stablehlo")(expected["x"]), expected["logits"])


def test_an_old_nir_graph_computes_the_same_logits(expected):
    with jax.enable_x64(True):
        network, variables = from_nir(FILES / "nir" / "program.nir")
        logits = jax.jit(network.apply)(variables, jnp.asarray(expected["x"])).mean(axis=1)
    assert np.array_equal(logits, expected["nir_logits"])


@pytest.fixture(params=["stopped_run", "finished_run"])
def run(request, tmp_path):
    """Yield a copy of an old run's folder."""
    with tarfile.open(FILES / f"{request.param}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    with limit_devices(1):
        yield tmp_path / request.param


# The quick tests resume the stopped run, which reads its checkpoint too.
@pytest.mark.parametrize(
    "run", [pytest.param("stopped_run", marks=pytest.mark.slow), "finished_run"], indirect=True
)
def test_an_old_run_is_evaluated(run, capsys):
    assert evaluate(["evaluate", str(run), DEVICES]) == 0
    (written,) = (run / "evaluation").glob("*.json")
    recorded = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    found = json.loads(written.read_text())
    if run.name == "finished_run":  # The stopped run has a checkpoint after its last record.
        assert found["step"] == recorded["step"]
        assert found["loss"] == pytest.approx(recorded["test_loss"], rel=0.02)
    assert "the old name still works" in capsys.readouterr().err


def test_an_old_run_is_resumed_with_old_and_with_new_keys(run, monkeypatch):
    # No bits are compared, so compile the training step quickly.
    quick = functools.partialmethod(jax.stages.Lowered.compile, compiler_options=QUICK_OPTIONS)
    monkeypatch.setattr(jax.stages.Lowered, "compile", quick)
    page = {"stopped_run": "stopped.py", "finished_run": "finished.py"}[run.name]
    before = (run / "metrics.jsonl").read_text()
    assert train(["train", "--config", str(FILES / page), "--config.cpu_devices=4", str(run)]) == 0
    after = (run / "metrics.jsonl").read_text()
    assert after.startswith(before)
    epochs = [json.loads(line)["epoch"] for line in after.splitlines()]
    assert epochs == list(range(1, 1 + json.loads((run / "config.json").read_text())["epochs"]))
    assert (run / "summary.json").is_file()


@pytest.mark.slow
def test_an_old_run_is_exported_and_analyzed(run):
    assert export(["export", str(run), "--format", "directory"]) == 0
    assert analyze(["analyze", str(run), "--only", "quantisation,scales", DEVICES]) == 0
    assert report(["report", str(run), "--out", str(run / "report.html")]) == 0
    assert sorted(path.name for path in (run / "analysis" / "last").iterdir()) == [
        "index.html",
        "quantization",
        "scales",
    ]
