"""A user's own parts, given by import path, work in every program."""

import gc
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
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

MODULE = (ROOT / "tests/train/own_module.py").read_text()
# No part is ours: a program that looks one up in a table of ours would fail.
OWN = (
    *("--config.data=NAME:stripes", "--config.model=NAME:Network", "--config.neuron=NAME:Leaky"),
    *("--config.loss=NAME:loss", "--config.optimizer=NAME:adabelief"),
    *("--config.schedule=NAME:polynomial", "--config.augment.policy=NAME:darken"),
    *("--config.metrics=('NAME:sharpness',)", "--config.augment.pad=0"),
    *("--config.neuron.slope=0.125", "--config.loss.temperature=2", "--config.learning_rate=0.01"),
)
# Programs in this process must accept its four devices: their number cannot change.
HERE = "--cpu-devices=4"


# Orbax abandons coroutines when it refuses a checkpoint that does not fit the code of the run.
# Python warns when they are collected, which must happen in this file.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collect_dropped_coroutines() -> Iterator[None]:
    """Collect the coroutines that a test abandoned before the next test begins."""
    yield
    gc.collect()


@pytest.fixture
def name(tmp_path, monkeypatch):
    """Copy the module to the current folder under a unique name; return the name."""
    name = f"own_{re.sub(r'[^a-z0-9]', '_', tmp_path.name.lower())}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def make_command(name: str, *more: str, parts: tuple[str, ...] = OWN) -> tuple[str, ...]:
    """Return the arguments of a run of the tiny config with own parts, three steps per epoch."""
    own = (word.replace("NAME", name) for word in parts)
    return ("--config", TINY, *own, "--config.log_every=1", *more)


def run_program(main: Any, *args: object) -> int:
    """Run a program in this process, on one device."""
    with limit_devices(1):
        return main(["program", *map(str, args)])


def run_training(*args: str) -> int:
    with limit_devices(1):
        return run_main(*args, "--config.cpu_devices=4")


def get_error(capsys, main: Any, *args: object) -> str:
    """Return the error that a program prints: one line, without a traceback."""
    capsys.readouterr()
    assert run_program(main, *args) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said, said
    return said


def test_a_killed_run_of_own_parts_resumes_and_every_program_reads_it(tmp_path, name, capsys):
    run, alone = tmp_path / "run", tmp_path / "alone"
    command = make_command(name, "--config.epochs=40", "--config.checkpoints.every_steps=2")
    code, printed = signal_when(
        start_main(*command, str(run), cwd=tmp_path),
        lambda: max(list_saved_steps(run), default=0) > 0,
        signal.SIGKILL,
    )
    assert code == -signal.SIGKILL and not (run / "summary.json").exists(), printed
    process = start_main(*command, str(run), cwd=tmp_path)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0 and "resuming from step" in printed, printed

    config = parse(["main", *command])[0]
    train(config, alone, devices=take_devices(1))
    assert_same_end(alone, run, make_program_on(1, config), leaves=15)
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
    said = get_error(capsys, run_export, run, "--format", "directory")
    assert f"neuron.name is '{name}:Leaky', which the compiler does not support (no rule" in said
    assert "It supports IF, LIF, " in said and said.count(name) == 1
    assert run_program(run_report, run, alone, "--out", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text()
    assert ">Leaky</td>" in page and f"{name}:Leaky" in page and "Firing rates" not in page
    assert (
        run_program(run_check, *command, "--config.cpu_devices=4", "--out", tmp_path / "sheet") == 0
    )
    assert "ready" in capsys.readouterr().out
    assert_analyses_state_what_is_missing(tmp_path, run, capsys)
    config = load_run_config(run)
    network = build.make_network(config, data.load(**config.data))
    logits = network.apply(restore.load_variables(run), np.zeros((2, 8, 8, 1), np.float32))
    assert logits.shape == (2, 2, 2)


def assert_analyses_state_what_is_missing(tmp_path: Path, run: Path, capsys) -> None:
    """Assert that analyses of counts are skipped with a reason and the others are made."""
    out = tmp_path / "analysis"
    only = [each for each in analyze.ANALYSES if each != "landscape"]
    args = (HERE, run, "--samples", "8", "--only", ",".join(only), "--out", out)
    capsys.readouterr()
    assert run_program(run_analyze, *args) == 0
    printed, said = capsys.readouterr()
    assert "Traceback" not in said and "failed" not in printed
    lines = [line.strip() for line in printed.splitlines() if "left out" in line]
    lacking = {
        each: json.loads((out / each / "part.json").read_text())["html"]
        for each in only
        if not list((out / each).glob("*.csv"))
    }
    assert len(lines) == len(lacking)
    counts = ("rates", "membranes", "quantization", "information", "capacity", "oscillation")
    assert lacking.keys() == {*counts, "scales", "energy"}
    for each in counts:
        assert "Leaky does not call pit_jax.neurons.probe.record" in lacking[each]
    assert "the compiler does not know" in lacking["energy"]
    assert "Leaky has no scale" in lacking["scales"]
    subject = read_run(run, "run", load_run_config(run), "last", out, samples=8)
    found = analyze.load_analysis("landscape").analyze(subject, side=3)
    assert "They move the 1 kernels" in found.remarks[0]


def test_an_own_network_with_our_neuron_becomes_binary_spikes(tmp_path, name):
    run = tmp_path / "run"
    parts = (*OWN[:1], "--config.model=NAME:Foldable", "--config.augment.pad=0")
    assert run_training(*make_command(name, parts=parts), str(run)) == 0
    assert json.loads((run / "summary.json").read_text())["rates"].keys() == {"PIT_0"}
    assert run_program(run_export, run, "--format", "directory") == 0
    program = load(run / "export" / "last_directory")
    assert program(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 2)
    proof = json.loads((run / "export" / "last_directory" / "manifest.json").read_text())
    assert "stripes, Foldable, PIT T=2 D=4" in json.dumps(proof)


def test_all_neurons_that_record_are_analyzed(tmp_path, name, capsys):
    run = tmp_path / "run"
    neurons = ("--config.neuron.name=PIT", "--config.model.last_neuron.name=NAME:Pair")
    parts = (OWN[0], "--config.model=NAME:Mixed", *neurons, "--config.augment.pad=0")
    assert run_training(*make_command(name, parts=parts), str(run)) == 0
    rates = json.loads((run / "summary.json").read_text())["rates"]
    assert {layer: len(each) for layer, each in rates.items()} == {"PIT_0": 2, "Pair_0": 1}
    assert load_records(run)[-1]["health"].keys() == rates.keys()
    assert (run / "rates.png").exists()
    only = "rates,scales,membranes,quantization,information,capacity,oscillation"
    capsys.readouterr()
    assert run_program(run_analyze, HERE, run, "--samples", "8", "--only", only) == 0
    printed = capsys.readouterr().out
    assert "left out" not in printed and "failed" not in printed
    integers = (run / "analysis" / "last" / "rates" / "integers.csv").read_text().splitlines()
    assert integers[0] == "layer,sent_0,sent_1,sent_2,sent_3,sent_4"
    assert integers[2].startswith("Pair_0,") and integers[2].endswith(",0,0")
    assert run_program(run_report, run, "--out", tmp_path / "report.html") == 0
    assert "Firing rates" in (tmp_path / "report.html").read_text()


def test_own_parts_train_with_several_seeds_at_once(tmp_path, name):
    command = make_command(name, "--config.epochs=1", "--config.cpu_devices=1")
    process = subprocess.run(
        [sys.executable, "-m", "train.seeds", *command, "--seeds", "0,1", str(tmp_path / "seeds")],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads((tmp_path / "seeds" / "seeds.json").read_text())
    assert found["title"] == "stripes, Network, Leaky T=2"


def test_the_command_finds_parts_in_the_current_folder_and_resumes_by_the_saved_config(
    tmp_path, name
):
    sizes = ("--config.model.sizes=(5, 3)", f"--config.neuron.shape={name}:jnp.sin")
    command = make_command(name, "--config.epochs=1", *sizes)

    def pit_jax(*args: str) -> str:
        # -P removes the current folder from the path, as in an installed command.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pit_jax", "train", *args],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pit_jax(*command, "run")
    before = (tmp_path / "run" / "config.json").read_text()
    assert json.loads(before)["neuron"]["shape"] == f"{name}:jnp.sin"
    assert "3/3" in pit_jax("--config", "run/config.json", "run")
    assert (tmp_path / "run" / "config.json").read_text() == before


def test_an_error_in_our_code_keeps_its_traceback(name, monkeypatch):
    config = parse(["main", *make_command(name, parts=OWN[1:2])])[0]
    monkeypatch.setattr("train.program.trial.promote_to_float32", lambda logits: logits.no_such)
    with pytest.raises(AttributeError, match="no_such"):
        make_program_on(1, config)


def test_the_error_for_changed_code_of_a_network_names_the_parameter(tmp_path, name, capsys):
    run, file = tmp_path / "run", tmp_path / f"{name}.py"
    command = (*make_command(name, "--config.epochs=1"), str(run))
    assert run_training(*command) == 0
    narrow = "zeros(key, (9, self."
    changed = MODULE.replace("lecun_normal()(key, (x.shape[-1], self.", narrow)
    assert narrow in changed
    file.write_text(changed.replace("return x @ kernel", "return x[..., :9] @ kernel"))
    sys.modules.pop(name)
    capsys.readouterr()
    assert run_training(*command) == 2
    said = capsys.readouterr().err
    change = "params/head/0 is (256, 2) there, (9, 2) here"
    assert change in said and "Undo the change" in said
    assert change in get_error(capsys, run_analyze, HERE, run, "--only", "memory")
    assert change in get_error(capsys, run_export, run, "--format", "directory")
    assert "of another version of the network" in get_error(capsys, run_evaluate, HERE, run)


def test_own_layers_can_be_frozen_and_reinitialized_by_name(tmp_path, name):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_training(*make_command(name, "--config.epochs=1"), str(first)) == 0
    more = (f"--config.pretrained={first}", "--config.freeze=head", "--config.reinitialize=Conv")
    assert run_training(*make_command(name, "--config.epochs=1", *more), str(second)) == 0
    was, now = restore.load_variables(first, "best"), restore.load_variables(second, "last")
    flat = [flatten_dict(each["params"]) for each in (was, now)]
    for one, other in zip(flat[0]["head",], flat[1]["head",], strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(flat[0]["Conv_0", "kernel"], flat[1]["Conv_0", "kernel"])
    # A parameter of the network itself cannot be initialized as a neuron's scale could.
    extra = '        x = x + self.param("extra", nn.initializers.zeros, (1,))\n'
    line = "        kernel, bias ="
    (tmp_path / f"{name}.py").write_text(MODULE.replace(line, f"{extra}{line}"))
    sys.modules.pop(name)
    with pytest.raises(UserError, match="does not fit config.model: no params/extra"):
        make_program_on(1, parse(["main", *make_command(name, more[0])])[0])
