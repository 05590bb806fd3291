"""An own neuron, network and data set, given by import path, pass through all programs."""

import csv
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pit_jax import open_run
from pit_jax.inference import load
from tests.train.helpers import (
    TINY,
    assert_same_end,
    limit_devices,
    list_saved_steps,
    make_program_on,
    run_main,
    signal_when,
    start_main,
    stop_after,
    take_devices,
)
from train.analyze.__main__ import main as run_analyze
from train.config.cli import parse
from train.evaluate.__main__ import main as run_evaluate
from train.export.__main__ import main as run_export
from train.loop import train
from train.predict.__main__ import main as run_predict
from train.report.__main__ import main as run_report

PARTS = '''"""A neuron, a network and a data set of a user."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from pit_jax.neurons import PIT


class Coarse(nn.Module):
    """PIT neurons that fire at most `most`, with a memory that depends on it."""

    most: int = 3

    @nn.compact
    def __call__(self, current):
        return PIT(levels=self.most, decay=0.5 ** (self.most - 1))(current)


class OneLayer(nn.Module):
    """A convolution with its norm and neurons, and a linear layer."""

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    width: int = 6

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(self.width, (3, 3), use_bias=False)(x[:, None])
        x = nn.BatchNorm(use_running_average=not train, momentum=0.8)(x)
        x = jnp.broadcast_to(x, (len(x), self.num_steps, *x.shape[2:]))
        x = self.neuron()(x)
        return nn.Dense(self.num_classes)(x.reshape(*x.shape[:2], -1))


def read_arrays(file="patterns.npz"):
    """Return the arrays of a file."""
    with np.load(file) as found:
        splits = {split: (found[f"x_{split}"], found[f"y_{split}"]) for split in ("train", "test")}
        return splits | {"classes": found["classes"]}
'''
CLASSES = ("horizontal", "vertical", "checkered")
# Two ways to the same file: a function of the user's, and the data set of the trainer.
DATA = {
    "function": ("--config.data=chain_parts:read_arrays",),
    "arrays": ("--config.data=arrays", "--config.data.data_dir=patterns.npz"),
}
COMMAND = (
    *("--config", TINY, "--config.neuron=chain_parts:Coarse", "--config.neuron.most=2"),
    *("--config.model=chain_parts:OneLayer", "--config.augment.pad=0", "--config.augment.flip=0"),
    *("--config.epochs=6", "--config.checkpoints.seconds_apart=60", "--config.metrics=top5"),
)
HERE = "--cpu-devices=4"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """Return the current folder of the test, with the parts, the arrays, and two pictures."""
    (tmp_path / "chain_parts.py").write_text(PARTS)
    random, arrays = np.random.default_rng(0), {"classes": np.array(CLASSES)}
    for split, count in (("train", 160), ("test", 40)):
        labels = np.arange(count) % 3
        lines = np.broadcast_to(random.integers(2, size=(count, 8, 1)), (count, 8, 8))
        images = np.where(labels[:, None, None] == 1, lines.swapaxes(1, 2), lines)
        checkered = np.indices((8, 8)).sum(0) % 2
        images = np.where(labels[:, None, None] == 2, checkered, images)
        noise = random.integers(60, size=images.shape)
        arrays |= {f"x_{split}": (180 * images + noise).astype("uint8"), f"y_{split}": labels}
    np.savez_compressed(tmp_path / "patterns.npz", **arrays)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(arrays["x_test"][:5]):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("chain_parts", None)


def run_program(main, *args: object) -> None:
    """Run a program in this process, on one device."""
    with limit_devices(1):
        assert main(["program", *map(str, args)]) == 0


@pytest.mark.parametrize(
    "data, harm", [("function", "stop"), pytest.param("arrays", "kill", marks=pytest.mark.slow)]
)
def test_own_parts_train_resume_and_are_read_by_every_program(folder, capsys, data, harm):
    command, run, alone = (*COMMAND, *DATA[data]), folder / "run", folder / "alone"
    config = parse(["main", *command])[0]
    if harm == "stop":
        assert train(config, run, stop_after(7), devices=take_devices(1)) is None
    else:
        killed = start_main(*command, "--config.checkpoints.every_steps=2", str(run), cwd=folder)
        code, printed = signal_when(killed, lambda: bool(list_saved_steps(run)), signal.SIGKILL)
        assert code == -signal.SIGKILL, printed
    assert list_saved_steps(run) and not (run / "summary.json").exists()
    printed = ""
    for workdir in (run, alone):
        if harm == "stop":
            with limit_devices(1):
                assert run_main(*command, "--config.cpu_devices=4", str(workdir)) == 0
            printed += "".join(capsys.readouterr())
        else:  # In processes of the same kind, which may round otherwise than this one.
            process = start_main(*command, str(workdir), cwd=folder)
            printed += process.communicate(timeout=300)[0]
            assert process.returncode == 0, printed
    assert printed.count("resuming from step") == 1
    assert "top5 is not measured, because with 3 classes" in printed
    assert_same_end(alone, run, make_program_on(1, config), leaves=10)
    check_programs(run, data)


def check_programs(run: Path, data: str) -> None:
    """Evaluate, predict, export, analyze, report and open a run; compare their answers."""
    summary = json.loads((run / "summary.json").read_text())
    assert summary["last_accuracy"] > 0.8 and "metrics" not in summary
    opened = open_run(run, checkpoint="last")
    images, labels = opened.images("test")
    answers = opened.predict(images).argmax(axis=-1)
    assert opened.classes == CLASSES and (answers == labels).mean() == summary["last_accuracy"]

    run_program(run_evaluate, HERE, run)
    found = json.loads((run / "evaluation" / "last_test.json").read_text())
    assert found["accuracy"] == summary["last_accuracy"] and "top5_accuracy" not in found
    assert np.diag(found["confusion"]).sum() == (answers == labels).sum()

    run_program(run_predict, run, "pictures", "--checkpoint", "last", "--out", "found.csv")
    with open("found.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [CLASSES[k] for k in answers[:5]]
    assert Path("found.png").exists() and rows[0].keys() == {"file", "class", "probability"}

    run_program(run_export, run, "--format", "directory")
    program = load(run / "export" / "last_directory")
    assert np.mean(program(images).argmax(axis=-1) == answers) > 0.9
    assert np.array_equal(program(images), program(opened.normalize(images)))

    run_program(run_analyze, HERE, run, "--samples", 8, "--only", "rates")
    page = (run / "analysis" / "last" / "index.html").read_text()
    assert "Coarse_0/PIT_0" in page and "does not apply" not in page

    run_program(run_report, run, "--out", "report.html")
    page = Path("report.html").read_text()
    assert ">Coarse</td>" in page and ">OneLayer</td>" in page and "among five" not in page
    assert f">{'arrays' if data == 'arrays' else 'read_arrays'}</td>" in page
