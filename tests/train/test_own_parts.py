"""Parts of a user's own, given by import path, go through every program; mistakes are explained."""

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

MODULE = '''
from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pit_jax.neurons.probe import record
from pit_jax.surrogate import clipped_round


def stripes(count: int = 96, *, size: int = 8):
    """Horizontal and vertical stripes.

    Args:
        count: training images.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(count + 32) % 2
    lines = rng.integers(2, size=(count + 32, size, 1)) * 200
    images = np.broadcast_to(lines, (count + 32, size, size)).copy()
    images[labels == 1] = images[labels == 1].swapaxes(1, 2)
    images = (images + rng.integers(50, size=images.shape)).astype("uint8")
    return {
        "train": (images[:count], labels[:count]),
        "test": (images[count:], labels[count:]),
        "classes": ("lying", "standing"),
    }


class Leaky(nn.Module):
    """Leaky ReLU with a learned slope: it sows nothing.

    Args:
        slope: the slope at the start.
        shape: a function of the current.
    """

    slope: float = 0.25
    shape: Callable = jnp.tanh

    @nn.compact
    def __call__(self, current):
        a = self.param("a", nn.initializers.constant(self.slope), ())
        return self.shape(jnp.where(current > 0, current, a * current))


class Network(nn.Module):
    """One convolution; its head is a list of arrays.

    Args:
        width: channels.
        sizes: of the window, a tuple.
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    width: int = 4
    sizes: tuple[int, ...] = (3, 3)

    @nn.compact
    def __call__(self, x, train=False):
        batches = self.variable("batch_stats", "batches", lambda: jnp.zeros((), jnp.int32))
        if train:
            batches.value = batches.value + 1
        x = nn.Conv(self.width, self.sizes)(x[:, None])
        x = jnp.broadcast_to(x, (len(x), self.num_steps, *x.shape[2:]))
        x = self.neuron()(x)
        x = x.reshape(*x.shape[:2], -1)

        def start(key):
            kernel = nn.initializers.lecun_normal()(key, (x.shape[-1], self.num_classes))
            return [kernel, jnp.zeros(self.num_classes)]

        kernel, bias = self.param("head", start)
        return x @ kernel + bias


class Foldable(Network):
    """The same with a dense head, which the compiler knows."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(self.width, self.sizes)(x[:, None])
        x = jnp.broadcast_to(x, (len(x), self.num_steps, *x.shape[2:]))
        x = self.neuron()(x)
        return nn.Dense(self.num_classes)(x.reshape(*x.shape[:2], -1))


class Mixed(nn.Module):
    """A network of two kinds of neurons, the second of which sees the mean of all steps."""

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    last_neuron: Callable[[], nn.Module] | None = None

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (3, 3))(x[:, None])
        x = self.neuron()(jnp.broadcast_to(x, (len(x), self.num_steps, *x.shape[2:])))
        x = nn.Dense(6)(x.reshape(*x.shape[:2], -1).mean(axis=1, keepdims=True))
        return nn.Dense(self.num_classes)((self.last_neuron or self.neuron)()(x))


class Pair(nn.Module):
    """Fires 0, 1 or 2, which it records."""

    @nn.compact
    def __call__(self, current):
        count = clipped_round(current, 2)
        record(self, current, count, levels=2)
        return count


def loss(logits, labels, *, temperature: float = 1.0):
    """Cross-entropy of cooled logits.

    Args:
        temperature: what logits are divided by.
    """
    labels = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[-1])
    return optax.softmax_cross_entropy(logits.mean(axis=1) / temperature, labels).mean()


def adabelief(schedule, *, b1: float = 0.9):
    """AdaBelief.

    Args:
        b1: the decay of the first moment.
    """
    return optax.adabelief(schedule, b1=b1)


def polynomial(peak, steps, *, power: float = 2.0):
    """Fall to 0 as a polynomial.

    Args:
        power: of what is left.
    """
    return optax.polynomial_schedule(peak, 0.0, power, steps)


def darken(key, images, *, share: float = 0.2):
    """Darken each image.

    Args:
        share: the largest share of light that is taken away.
    """
    kept = 1 - share * jax.random.uniform(key, (len(images), 1, 1, 1))
    return (images * kept).astype(images.dtype)


def sharpness(logits, labels):
    """The largest share of a class."""
    return jax.nn.softmax(logits.mean(axis=1)).max(axis=-1).mean()
'''
# No part is ours: a program that looks one up in a table of ours fails.
OWN = (
    *("--config.data=NAME:stripes", "--config.model=NAME:Network", "--config.neuron=NAME:Leaky"),
    *("--config.loss=NAME:loss", "--config.optimizer=NAME:adabelief"),
    *("--config.schedule=NAME:polynomial", "--config.augment.policy=NAME:darken"),
    *("--config.metrics=('NAME:sharpness',)", "--config.augment.pad=0"),
    *("--config.neuron.slope=0.125", "--config.loss.temperature=2", "--config.learning_rate=0.01"),
)
HERE = "--cpu-devices=4"  # Pytest's process has four devices, and their number cannot change.


# Orbax drops coroutines when it refuses a checkpoint that the code of a run no longer fits; Python
# complains of them whenever they are collected, so they are collected here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collect_dropped_coroutines() -> Iterator[None]:
    """Collect what a test dropped before the next one begins."""
    yield
    gc.collect()


@pytest.fixture
def name(tmp_path, monkeypatch):
    """Write the module into the current folder; return its name, which no other test has."""
    name = f"own_{re.sub(r'[^a-z0-9]', '_', tmp_path.name.lower())}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def words(name: str, *more: str, parts: tuple[str, ...] = OWN) -> tuple[str, ...]:
    """Return the arguments of a run of the tiny config with own parts, three steps an epoch."""
    own = (word.replace("NAME", name) for word in parts)
    return ("--config", TINY, *own, "--config.log_every=1", *more)


def call(main: Any, *args: object) -> int:
    """Run a program in this process, on one device."""
    with limit_devices(1):
        return main(["program", *map(str, args)])


def train_here(*args: str) -> int:
    with limit_devices(1):
        return run_main(*args, "--config.cpu_devices=4")


def refusal(capsys, main: Any, *args: object) -> str:
    """Return what a program says about a mistake: one line, without a traceback."""
    capsys.readouterr()
    assert call(main, *args) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said, said
    return said


def test_a_run_of_own_parts_is_killed_resumed_and_read_by_every_program(tmp_path, name, capsys):
    run, alone = tmp_path / "run", tmp_path / "alone"
    command = words(name, "--config.epochs=40", "--config.checkpoints.every_steps=2")
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

    assert call(run_evaluate, HERE, run) == 0
    found = json.loads((run / "evaluation" / "last_test.json").read_text())
    assert found["accuracy"] == summary["last_accuracy"] and found["rates"] == {}
    assert found["classes"] == ["lying", "standing"]
    said = refusal(capsys, run_export, run, "--format", "directory")
    assert f"neuron.name is '{name}:Leaky', which the compiler does not support (no rule" in said
    assert "It supports IF, LIF, " in said and said.count(name) == 1
    assert call(run_report, run, alone, "--out", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text()
    assert ">Leaky</td>" in page and f"{name}:Leaky" in page and "Firing rates" not in page
    assert call(run_check, *command, "--config.cpu_devices=4", "--out", tmp_path / "sheet") == 0
    assert "ready" in capsys.readouterr().out
    assert_analyses_say_what_they_lack(tmp_path, run, capsys)
    config = load_run_config(run)
    network = build.make_network(config, data.load(**config.data))
    logits = network.apply(restore.load_variables(run), np.zeros((2, 8, 8, 1), np.float32))
    assert logits.shape == (2, 2, 2)


def assert_analyses_say_what_they_lack(tmp_path: Path, run: Path, capsys) -> None:
    """What needs counts is left out with a sentence that names the neuron; the others are made."""
    out = tmp_path / "analysis"
    only = [each for each in analyze.ANALYSES if each != "landscape"]
    args = (HERE, run, "--samples", "8", "--only", ",".join(only), "--out", out)
    capsys.readouterr()
    assert call(run_analyze, *args) == 0
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


def test_an_own_network_with_a_neuron_of_ours_becomes_binary_spikes(tmp_path, name):
    run = tmp_path / "run"
    parts = (*OWN[:1], "--config.model=NAME:Foldable", "--config.augment.pad=0")
    assert train_here(*words(name, parts=parts), str(run)) == 0
    assert json.loads((run / "summary.json").read_text())["rates"].keys() == {"PIT_0"}
    assert call(run_export, run, "--format", "directory") == 0
    program = load(run / "export" / "last_directory")
    assert program(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 2)
    proof = json.loads((run / "export" / "last_directory" / "manifest.json").read_text())
    assert "stripes, Foldable, PIT T=2 D=4" in json.dumps(proof)


def test_a_network_of_ours_and_own_neurons_shows_all_that_record(tmp_path, name, capsys):
    run = tmp_path / "run"
    neurons = ("--config.neuron.name=PIT", "--config.model.last_neuron.name=NAME:Pair")
    parts = (OWN[0], "--config.model=NAME:Mixed", *neurons, "--config.augment.pad=0")
    assert train_here(*words(name, parts=parts), str(run)) == 0
    rates = json.loads((run / "summary.json").read_text())["rates"]
    assert {layer: len(each) for layer, each in rates.items()} == {"PIT_0": 2, "Pair_0": 1}
    assert load_records(run)[-1]["health"].keys() == rates.keys()
    assert (run / "rates.png").exists()
    only = "rates,scales,membranes,quantization,information,capacity,oscillation"
    capsys.readouterr()
    assert call(run_analyze, HERE, run, "--samples", "8", "--only", only) == 0
    printed = capsys.readouterr().out
    assert "left out" not in printed and "failed" not in printed
    integers = (run / "analysis" / "last" / "rates" / "integers.csv").read_text().splitlines()
    assert integers[0] == "layer,sent_0,sent_1,sent_2,sent_3,sent_4"
    assert integers[2].startswith("Pair_0,") and integers[2].endswith(",0,0")
    assert call(run_report, run, "--out", tmp_path / "report.html") == 0
    assert "Firing rates" in (tmp_path / "report.html").read_text()


def test_own_parts_train_with_several_seeds_at_once(tmp_path, name):
    command = words(name, "--config.epochs=1", "--config.cpu_devices=1")
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
    command = words(name, "--config.epochs=1", *sizes)

    def pit_jax(*args: str) -> str:
        # With -P, as for an installed command, the current folder is not on the path.
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


BROKEN = '''
from parts import Leaky, Network, nn, np, jax, jnp, optax


class Pooled(nn.Module):
    def __call__(self, x):
        return x.mean(-1)


class Spikes(nn.Module):
    def __call__(self, x):
        return x > 0


class Adds(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(3)(x)


class Checks(nn.Module):
    tau: float = 2.0

    def __post_init__(self):
        if self.tau < 1:
            raise ValueError(f"tau must be at least 1, got {self.tau}.")
        super().__post_init__()


def nothing():
    """Make no neuron."""


@jax.custom_vjp
def same(x):
    return x


same.defvjp(lambda x: (x, None), lambda _, g: (g[0],))


class WrongGradient(nn.Module):
    def __call__(self, x):
        return same(x)


class NoNeuron(nn.Module):
    num_classes: int = 1
    num_steps: int = 1


def five(num_classes, neuron, num_steps):
    return 5


class Flat(Network):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


class AlwaysTrain(Network):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(x.mean((1, 2)))[:, None]


class Empty(Network):
    def __call__(self, x, train=False):
        return jnp.zeros((len(x), 1, self.num_classes))


class Elsewhere(Network):
    @nn.compact
    def __call__(self, x, train=False):
        shift = self.variable("ema", "shift", jnp.zeros, ())
        return nn.Dense(self.num_classes)(x.mean((1, 2)))[:, None] + shift.value


def of_each(logits, labels):
    return logits.mean((1, 2))


def one_argument(logits):
    return logits.mean()


def in_numpy(logits, labels):
    return np.mean(np.asarray(logits))


def not_an_optimizer(schedule):
    return 3


def drifts(schedule):
    return optax.GradientTransformation(
        lambda params: jnp.zeros((), int), lambda grads, state, params: (grads, state + 0.5)
    )


def keeps_a_key(schedule):
    return optax.add_noise(0.1, 0.5, jax.random.key(0))


def a_number(peak, steps):
    return peak


def fails_later(peak, steps):
    return lambda step: peak / undefined


def crops(key, images):
    return images[:, 1:]


def narrow(use_running_average, name=None):
    return nn.BatchNorm(use_running_average, name=name)


def bad_start(u, *, levels):
    return u.undefined
'''


@pytest.mark.parametrize(
    "parts, complaint",
    [
        ("neuron=Pooled", "returns float32[32,2,8,8] for float32[32,2,8,8,4]; it must return"),
        ("neuron=Spikes", "which returns bool[32,2,8,8,4] for float32[32,2,8,8,4]; it must"),
        ("neuron=Adds", "fails on float32[32,2,8,8,4] (broken.py, line 18, in __call__): TypeErr"),
        ("neuron=Checks neuron.tau=0.5", "config.neuron.tau must be at least 1, got 0.5."),
        ("neuron=nothing", "which makes None; it must make a module of flax.linen"),
        ("neuron=WrongGradient", "which has a gradient that fails: ValueError: Custom VJP"),
        ("neuron.scale_init=bad_start", "config.neuron.name is 'PIT', which fails on float32"),
        ("model.norm=narrow", "it does not take dtype, scale_init, bias_init."),
        ("model=NoNeuron", "must take num_classes, neuron, num_steps; it does not take neuron."),
        ("model=five", "which makes 5; it must make a module of flax.linen."),
        ("model=Flat", "it must return logits [B, T, K], here [32, T, 10]."),
        ("model=AlwaysTrain", "missing 1 required positional argument: 'train'"),
        ("model=Empty", "which has no parameters: there is nothing to train."),
        ("model=Elsewhere", "which has variables in ema; a run stores those in params and in"),
        ("loss=of_each", "which returns float32[32] for logits float32[32,2,10] and labels int32["),
        ("loss=one_argument", "TypeError: one_argument() takes 1 positional argument but 2 were"),
        ("loss=in_numpy", ", in in_numpy): TracerArrayConversionError"),
        ("optimizer=not_an_optimizer", "which returns 3; an optimizer returns an optax.Gradient"),
        ("optimizer=drifts", "makes opt_state float32[] in a step; it was int32[] before."),
        ("optimizer=keeps_a_key", "has a key of jax.random.key in opt_state/rng_key, which a che"),
        ("schedule=a_number", "which returns 0.1; a schedule returns a function of the training"),
        ("schedule=fails_later", ", in <lambda>): NameError: name 'undefined' is not"),
        ("augment.policy=crops", "makes images float32[32,7,8,1] of uint8[32,8,8,1]; it must"),
    ],
)
def test_an_own_part_that_fails_or_does_not_fit_is_named_before_anything_compiles(
    tmp_path, monkeypatch, compiled, parts, complaint
):
    (tmp_path / "parts.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    flags = re.sub(r"=(?=[A-Za-z])", "=broken:", parts).split()
    try:
        with pytest.raises(UserError) as error:
            config = parse(["main", "--config", TINY, *(f"--config.{flag}" for flag in flags)])[0]
            make_program_on(1, config)
    finally:
        for each in ("parts", "broken"):
            sys.modules.pop(each, None)
    said = str(error.value)
    assert complaint in said and said.startswith("config."), said
    assert "\n" not in said and said.count("broken:") <= 1
    assert not {"jit(step)", "jit(first_state)"} & set(compiled)


def test_an_error_of_ours_keeps_its_traceback(name, monkeypatch):
    config = parse(["main", *words(name, parts=OWN[1:2])])[0]
    monkeypatch.setattr("train.program.trial.promote_to_float32", lambda logits: logits.no_such)
    with pytest.raises(AttributeError, match="no_such"):
        make_program_on(1, config)


def test_changed_code_of_a_network_is_refused_when_its_run_resumes(tmp_path, name, capsys):
    run, file = tmp_path / "run", tmp_path / f"{name}.py"
    command = (*words(name, "--config.epochs=1"), str(run))
    assert train_here(*command) == 0
    narrow = "zeros(key, (9, self."
    changed = MODULE.replace("lecun_normal()(key, (x.shape[-1], self.", narrow)
    assert narrow in changed
    file.write_text(changed.replace("return x @ kernel", "return x[..., :9] @ kernel"))
    sys.modules.pop(name)
    capsys.readouterr()
    assert train_here(*command) == 2
    said = capsys.readouterr().err
    change = "params/head/0 is (256, 2) there, (9, 2) here"
    assert change in said and "Undo the change" in said
    assert change in refusal(capsys, run_analyze, HERE, run, "--only", "memory")
    assert change in refusal(capsys, run_export, run, "--format", "directory")
    assert "of another version of the network" in refusal(capsys, run_evaluate, HERE, run)


def test_own_layers_freeze_and_start_from_another_run_by_their_names(tmp_path, name):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_here(*words(name, "--config.epochs=1"), str(first)) == 0
    more = (f"--config.pretrained={first}", "--config.freeze=head", "--config.reinitialize=Conv")
    assert train_here(*words(name, "--config.epochs=1", *more), str(second)) == 0
    was, now = restore.load_variables(first, "best"), restore.load_variables(second, "last")
    flat = [flatten_dict(each["params"]) for each in (was, now)]
    for one, other in zip(flat[0]["head",], flat[1]["head",], strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(flat[0]["Conv_0", "kernel"], flat[1]["Conv_0", "kernel"])
    # A parameter of the network itself is no start of a neuron that could be missing.
    extra = '        x = x + self.param("extra", nn.initializers.zeros, (1,))\n'
    line = "        kernel, bias ="
    (tmp_path / f"{name}.py").write_text(MODULE.replace(line, f"{extra}{line}"))
    sys.modules.pop(name)
    with pytest.raises(UserError, match="does not fit config.model: no params/extra"):
        make_program_on(1, parse(["main", *words(name, more[0])])[0])
