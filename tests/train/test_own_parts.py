"""A user's own parts, given by import path, work in every program."""

import gc
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.inference import load
from tests.train.helpers import (
    ENVIRONMENT,
    ROOT,
    TINY,
    assert_same_end,
    limit_devices,
    list_saved_steps,
    load_records,
    make_program_on,
    run_main,
    signal_when,
    start_main,
    stop_after,
    take_devices,
)
from train import analyze, data
from train.analyze.__main__ import main as run_analyze
from train.analyze.__main__ import read_run
from train.check.__main__ import main as run_check
from train.config.cli import parse
from train.errors import UserError
from train.evaluate.__main__ import main as run_evaluate
from train.export.__main__ import main as run_export
from train.loop import train
from train.program import build
from train.report.__main__ import main as run_report
from train.run import restore
from train.run.reading import load_run_config
from train.seeds.loop import train_seeds

MODULE = (ROOT / "tests/train/own_module.py").read_text()
# No part is ours: a program that looks one up in a table of ours would fail.
OWN = (
    *("--config.data=own_parts:stripes", "--config.model=own_parts:Network"),
    *("--config.neuron=own_parts:Leaky", "--config.neuron.slope=0.125"),
    *("--config.loss=own_parts:loss", "--config.loss.temperature=2"),
    *("--config.optimizer=own_parts:adabelief", "--config.learning_rate=0.01"),
    *("--config.schedule=own_parts:polynomial", "--config.augment.policy=own_parts:darken"),
    *("--config.metrics=('own_parts:sharpness',)", "--config.augment.pad=0"),
)
# The analyses of the counts that neurons record.
COUNT_ANALYSES = (
    "rates",
    "levels",
    "membranes",
    "quantization",
    "information",
    "capacity",
    "oscillation",
)
# Few checkpoints: saving takes longer than training.
COMMAND = ("--config", TINY, "--config.log_every=1", "--config.checkpoints.seconds_apart=60")
# Programs in this process must accept its four devices: their number cannot change.
HERE = "--cpu-devices=4"


# Orbax abandons coroutines when it refuses a checkpoint that does not fit the code of the run.
# Python warns when they are collected, which must happen in this file.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def collect_abandoned_coroutines() -> Iterator[None]:
    """Collect the abandoned coroutines before the tests of another file."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[Path]:
    """Return the folder of a finished run of own parts, for reading only."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, import_from(folder, patch):
        assert run_training(*OWN, "--config.epochs=40", str(folder / "run")) == 0
    return folder / "run"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """Return the current folder of the test, which has the module `own_parts`."""
    with import_from(tmp_path, monkeypatch):
        yield tmp_path


@contextmanager
def import_from(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copy the module to `folder` and make it the current folder; forget the import at the end."""
    (folder / "own_parts.py").write_text(MODULE)
    patch.chdir(folder)
    patch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("own_parts", None)


def run_program(main: Any, *args: object) -> int:
    """Run a program in this process, on one device."""
    with limit_devices(1):
        return main(["program", *map(str, args)])


def run_training(*args: str) -> int:
    """Train in this process, on one device, with the tiny config and other flags."""
    with limit_devices(1):
        return run_main(*COMMAND, *args, "--config.cpu_devices=4")


def get_error(capsys, main: Any, *args: object) -> str:
    """Return the error that a program prints: one line, without a traceback."""
    capsys.readouterr()
    assert run_program(main, *args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error, error
    return error


def test_a_stopped_run_of_own_parts_resumes_with_the_same_bits(folder, finished):
    config = parse(["main", *COMMAND, *OWN, "--config.epochs=40"])[0]
    assert train(config, folder / "run", stop_after(50), devices=take_devices(1)) is None
    assert list_saved_steps(folder / "run") == [50]
    assert train(config, folder / "run", devices=take_devices(1)) is not None
    assert_same_end(finished, folder / "run", make_program_on(1, config), leaves=15)


@pytest.mark.slow
def test_a_killed_process_with_own_parts_resumes_with_the_same_bits(folder):
    run, alone = folder / "run", folder / "alone"
    command = (*COMMAND, *OWN, "--config.epochs=40", "--config.checkpoints.every_steps=2")
    process = start_main(*command, str(run), cwd=folder)
    code, printed = signal_when(process, lambda: bool(list_saved_steps(run)), signal.SIGKILL)
    assert code == -signal.SIGKILL and not (run / "summary.json").exists(), printed
    # Not in this process, which has more devices: they change bits.
    for workdir in (run, alone):
        process = start_main(*command, str(workdir), cwd=folder)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed
        assert ("resuming from step" in printed) == (workdir == run), printed
    program = make_program_on(1, parse(["main", *command])[0])
    assert_same_end(alone, run, program, leaves=15)


def test_every_program_reads_a_run_of_own_parts(folder, finished, capsys):
    run = shutil.copytree(finished, folder / "run")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["title"] == "stripes, Network, Leaky T=2"
    assert summary["rates"] == {} and summary["scales"] == 0 and summary["last_accuracy"] > 0.8
    assert 0 < summary["metrics"]["sharpness"] < 1
    assert not (run / "rates.png").exists()
    assert "health" not in load_records(run)[-1]

    assert run_program(run_evaluate, HERE, run) == 0
    found = json.loads((run / "evaluation" / "last_test.json").read_text())
    assert found["accuracy"] == summary["last_accuracy"] and found["rates"] == {}
    assert found["classes"] == ["horizontal", "vertical"]
    error = get_error(capsys, run_export, run, "--format", "directory")
    assert "neuron.name is 'own_parts:Leaky', which the compiler does not support (" in error
    assert "It supports IF, LIF, " in error and error.count("own_parts") == 1
    assert run_program(run_report, run, "--out", folder / "report.html") == 0
    page = (folder / "report.html").read_text()
    assert ">Leaky</td>" in page and "own_parts:Leaky" in page and "Firing rates" not in page
    network = build.make_network(config := load_run_config(run), data.load(**config.data))
    logits = network.apply(restore.load_variables(run), np.zeros((2, 8, 8, 1), np.float32))
    assert logits.shape == (2, 2, 2)


def test_own_parts_pass_the_check_before_training(folder, capsys, monkeypatch):
    monkeypatch.setattr("train.check.throughput.SECONDS", 0.0)
    args = (*COMMAND, *OWN, "--config.cpu_devices=4", "--out", folder / "sheet")
    assert run_program(run_check, *args) == 0
    assert "ready" in capsys.readouterr().out


def test_analyses_of_counts_are_skipped_for_a_neuron_that_does_not_record(folder, finished, capsys):
    run, out = finished, folder / "analysis"
    only = [each for each in analyze.ANALYSES if each != "landscape"]
    args = (HERE, run, "--samples", "8", "--only", ",".join(only), "--out", out)
    capsys.readouterr()
    assert run_program(run_analyze, *args) == 0
    printed, errors = capsys.readouterr()
    assert "Traceback" not in errors and "failed" not in printed
    lines = [line.strip() for line in printed.splitlines() if "does not apply: " in line]
    skipped = {
        each: json.loads((out / each / "part.json").read_text())["html"]
        for each in only
        if not list((out / each).glob("*.csv"))
    }
    assert len(lines) == len(skipped)
    assert skipped.keys() == {*COUNT_ANALYSES, "scales", "energy"}
    for each in COUNT_ANALYSES:
        assert "Leaky does not call pit_jax.neurons.probe.record" in skipped[each]
    assert "the compiler does not support" in skipped["energy"]
    assert "Leaky has no scale" in skipped["scales"]
    subject = read_run(run, "run", load_run_config(run), "last", out, samples=8)
    found = analyze.load_analysis("landscape").analyze(subject, side=3)
    assert "They move the 1 kernels" in found.remarks[0]


def test_an_own_network_with_our_neuron_becomes_binary_spikes(folder):
    run = folder / "run"
    parts = (OWN[0], "--config.model=own_parts:Foldable", "--config.augment.pad=0")
    assert run_training(*parts, str(run)) == 0
    assert json.loads((run / "summary.json").read_text())["rates"].keys() == {"PIT_0"}
    assert run_program(run_export, run, "--format", "directory") == 0
    program = load(run / "export" / "last_directory")
    assert program(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 2)
    proof = json.loads((run / "export" / "last_directory" / "manifest.json").read_text())
    assert "stripes, Foldable, PIT T=2 D=4" in json.dumps(proof)


@pytest.mark.slow
def test_all_neurons_that_record_are_analyzed(folder):
    run = folder / "run"
    neurons = ("--config.neuron.name=PIT", "--config.model.last_neuron.name=own_parts:Pair")
    parts = (OWN[0], "--config.model=own_parts:Mixed", *neurons, "--config.augment.pad=0")
    assert run_training(*parts, str(run)) == 0
    rates = json.loads((run / "summary.json").read_text())["rates"]
    assert {layer: len(each) for layer, each in rates.items()} == {"PIT_0": 2, "Pair_0": 1}
    assert load_records(run)[-1]["health"].keys() == rates.keys()
    assert (run / "rates.png").exists()
    # The program would also draw all figures, which takes most of its time.
    subject = read_run(run, "run", load_run_config(run), "last", folder / "analysis", samples=8)
    found = {
        each: analyze.load_analysis(each).analyze(subject) for each in (*COUNT_ANALYSES, "scales")
    }
    assert all(each.figures and each.tables for each in found.values())
    integers = found["rates"].tables["integers"]
    assert integers.header == ("layer", *(f"sent_{count}" for count in range(5)))
    assert integers.rows[1][0] == "Pair_0" and tuple(integers.rows[1][-2:]) == (0, 0)
    assert run_program(run_report, run, "--out", folder / "report.html") == 0
    assert "Firing rates" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_own_parts_train_with_several_seeds(folder):
    config = parse(["main", *COMMAND, *OWN, "--config.epochs=1"])[0]
    summaries = train_seeds(config, [0, 1], folder / "seeds")
    assert [each.title for each in summaries] == ["stripes, Network, Leaky T=2"] * 2


@pytest.mark.slow
def test_the_command_for_seeds_finds_parts_in_the_current_folder(folder):
    words = (*COMMAND, *OWN, "--config.epochs=1", "--seeds", "0,1", "seeds")
    command = [sys.executable, "-P", "-m", "train.seeds", *words]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "seeds" / "seeds.json").read_text())
    assert found["title"] == "stripes, Network, Leaky T=2"


def test_the_command_finds_parts_in_the_current_folder_and_resumes_by_the_saved_config(folder):
    sizes = ("--config.model.sizes=(5, 3)", "--config.neuron.shape=own_parts:jnp.sin")
    assert run_training(*OWN, *sizes, "--config.epochs=1", "run") == 0
    before = (folder / "run" / "config.json").read_text()
    assert json.loads(before)["neuron"]["shape"] == "own_parts:jnp.sin"
    # -P removes the current folder from the path, as in an installed command.
    command = [sys.executable, "-P", "-m", "pit_jax", "train", "--config", "run/config.json", "run"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0 and "3/3" in done.stdout, done.stderr
    assert (folder / "run" / "config.json").read_text() == before


def test_an_error_in_our_code_keeps_its_traceback(folder, monkeypatch):
    config = parse(["main", *COMMAND, "--config.model=own_parts:Network"])[0]
    monkeypatch.setattr("train.program.trial.promote_to_float32", lambda logits: logits.no_such)
    with pytest.raises(AttributeError, match="no_such"):
        make_program_on(1, config)


def test_the_error_for_changed_code_of_a_network_names_the_parameter(folder, finished, capsys):
    run = shutil.copytree(finished, folder / "run")
    narrow = "zeros(key, (9, self."
    changed = MODULE.replace("lecun_normal()(key, (x.shape[-1], self.", narrow)
    assert narrow in changed
    changed = changed.replace("return x @ kernel", "return x[..., :9] @ kernel")
    (folder / "own_parts.py").write_text(changed)
    assert run_training(*OWN, "--config.epochs=40", str(run)) == 2
    error = capsys.readouterr().err
    change = "params/head/0 is (256, 2) in it, (9, 2) in the network"
    assert change in error and "Undo the change" in error
    assert change in get_error(capsys, run_analyze, HERE, run, "--only", "memory")
    assert change in get_error(capsys, run_export, run, "--format", "directory")
    assert "another version of the network" in get_error(capsys, run_evaluate, HERE, run)


def test_own_layers_can_be_frozen_and_reinitialized_by_name(folder, finished):
    more = (f"--config.pretrained={finished}", "--config.freeze=head", "--config.reinitialize=Conv")
    assert run_training(*OWN, *more, "--config.epochs=1", str(folder / "run")) == 0
    was = restore.load_variables(finished, "best")
    now = restore.load_variables(folder / "run", "last")
    flat = [flatten_dict(each["params"]) for each in (was, now)]
    for one, other in zip(flat[0]["head",], flat[1]["head",], strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(flat[0]["Conv_0", "kernel"], flat[1]["Conv_0", "kernel"])
    # A parameter of the network itself cannot be initialized as a neuron's scale could.
    extra = '        x = x + self.param("extra", nn.initializers.zeros, (1,))\n'
    line = "        kernel, bias ="
    (folder / "own_parts.py").write_text(MODULE.replace(line, f"{extra}{line}"))
    sys.modules.pop("own_parts")
    with pytest.raises(UserError, match="does not fit config.model: no params/extra"):
        make_program_on(1, parse(["main", *COMMAND, *OWN, more[0]])[0])
