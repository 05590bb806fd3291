"""Runs with validation images: they choose the best epoch, and test images are used at the end."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from tests.train.helpers import (
    assert_same_end,
    limit_devices,
    load_records,
    make_program_on,
    stop_after,
)
from tests.train.pages import Page
from tests.train.processes import Run
from tests.train.tiny_validated import EPOCHS, STEPS_PER_EPOCH, get_config
from train import data
from train.analyze.__main__ import main as analyze
from train.errors import UserError
from train.evaluate.__main__ import main as evaluate
from train.ledger import read_run
from train.loop import train
from train.program.program import Program
from train.report.__main__ import main as report
from train.run import restore
from train.run.reading import select_epochs
from train.run.subset import save_subset
from train.seeds.loop import train_seeds

pytestmark = pytest.mark.usefixtures("no_figures")

SEEDS = (0, 3)
ARGUMENTS = ("--config", "tests/train/tiny_validated.py", "--config.cpu_devices=2")


def configure(seed: int = 0) -> ConfigDict:
    config = get_config()
    config.seed = seed
    return config


class Crash(Exception):
    """The sudden end of a run."""


def crash_after(steps: int) -> Callable[[], bool]:
    """Return a `stop` argument for `train` that raises Crash after `steps` steps."""
    stop = stop_after(steps)

    def ask() -> bool:
        if stop():
            raise Crash
        return False

    return ask


def watch_test(program: Program, workdir: Path) -> tuple[Program, list[int]]:
    """Return a program that notes each test, and its list: the epochs logged until each test."""
    looks: list[int] = []

    def test(state):
        looks.append(len(select_epochs(load_records(workdir))))
        return program.test(state)

    return program._replace(test=test), looks


@pytest.fixture(scope="module")
def program() -> Program:
    return make_program_on(1, configure())


@pytest.fixture(scope="module")
def finished(program, tmp_path_factory) -> tuple[Path, list[int]]:
    """Return the folder of a finished run, and after how many epochs it used the test images."""
    workdir = tmp_path_factory.mktemp("runs") / "validated"
    watched, looks = watch_test(program, workdir)
    assert train(configure(), workdir, program=watched) is not None
    return workdir, looks


@pytest.fixture(scope="module")
def workdir(finished) -> Path:
    return finished[0]


@pytest.fixture(scope="module")
def summary(workdir) -> dict:
    return json.loads((workdir / "summary.json").read_text())


@pytest.fixture
def copied(workdir, tmp_path) -> Path:
    """Return a copy of the finished run that a test may change."""
    return shutil.copytree(workdir, tmp_path / "copy")


@pytest.fixture(autouse=True)
def one_device():
    with limit_devices(1):
        yield


def test_the_best_epoch_has_the_best_validation_accuracy(workdir, summary):
    epochs = load_records(workdir)
    accuracies = [record["validation_accuracy"] for record in epochs]
    assert len(accuracies) == EPOCHS and summary["validation_accuracy"] == max(accuracies)
    assert summary["best_epoch"] == 1 + accuracies.index(max(accuracies)) < EPOCHS
    assert (workdir / "best" / str(summary["best_epoch"] * STEPS_PER_EPOCH)).is_dir()


def test_test_images_are_only_used_when_the_run_ends(finished):
    workdir, looks = finished
    assert looks == [EPOCHS, EPOCHS]
    assert not any(key.startswith("test_") for record in load_records(workdir) for key in record)


def test_the_summary_has_the_test_accuracies_of_the_last_and_the_best_weights(
    workdir, summary, program
):
    for which in ("last", "best"):
        state = restore.load_state(workdir, which, program.abstract_state)
        assert summary[f"{which}_accuracy"] == program.test(state).accuracy
    assert summary["last_accuracy"] < summary["best_accuracy"]


def test_metrics_of_a_user_are_in_the_records_and_the_summary(workdir, summary, program):
    state = restore.load_state(workdir, "last", program.abstract_state)
    last = load_records(workdir)[-1]
    assert program.evaluate(state).metrics == {
        name: last[f"validation_{name}"] for name in ("top5", "spread")
    }
    assert program.test(state).metrics == summary["metrics"]


@pytest.mark.parametrize("end", [stop_after, crash_after])
def test_a_stopped_or_killed_run_resumes_with_the_same_bits(end, workdir, program, tmp_path):
    folder = tmp_path / "run"
    watched, looks = watch_test(program, folder)
    try:
        assert train(configure(), folder, end(2 * STEPS_PER_EPOCH + 1), program=watched) is None
    except Crash:
        assert end is crash_after
    assert looks == []
    assert train(configure(), folder, program=watched) is not None
    assert looks == [EPOCHS, EPOCHS]
    assert_same_end(workdir, folder, program)


@pytest.mark.slow
def test_seeds_end_with_the_bits_of_single_runs(workdir, program, tmp_path):
    with limit_devices(1):
        summaries = train_seeds(configure(), SEEDS, tmp_path)
    assert all(summary.validation_accuracy is not None for summary in summaries)
    # test_seeds.py compares the other seeds of runs without validation images.
    assert_same_end(workdir, tmp_path / f"seed_{SEEDS[0]}", program)


@pytest.mark.slow
def test_two_processes_test_the_best_weights_that_the_first_one_saved(tmp_path):
    folder = tmp_path / "run"
    Run(folder, *ARGUMENTS).finish()
    written = (folder / "summary.json").read_text()
    found = json.loads(written)
    assert found["best_epoch"] < EPOCHS and found["last_accuracy"] < found["best_accuracy"]
    (folder / "summary.json").unlink()
    # In a resumed run only the first process has read which epoch was the best.
    Run(folder, *ARGUMENTS).finish()
    assert (folder / "summary.json").read_text() == written


@pytest.mark.parametrize("removed", [True, False])
def test_a_run_cannot_finish_without_an_intact_checkpoint_of_its_best_epoch(
    removed, copied, summary, program
):
    folder = copied / "best" / str(summary["best_epoch"] * STEPS_PER_EPOCH)
    if removed:
        shutil.rmtree(folder)
    else:
        file = max(folder.rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(UserError) as error:
        train(configure(), copied, program=program)
    what = "missing" if removed else "damaged"
    assert what in str(error.value) and str(folder) in str(error.value)
    assert "Replace it by an intact copy and repeat the command." in str(error.value)


def test_evaluate_measures_the_validation_images(copied, summary, monkeypatch):
    monkeypatch.setattr("train.figures.evaluation", lambda *_: Figure())  # Drawing takes longer.
    for split, checkpoint, key in (
        ("validation", "best", "validation_accuracy"),
        ("test", "best", "best_accuracy"),
        ("test", "last", "last_accuracy"),
    ):
        arguments = [str(copied), "--split", split, "--checkpoint", checkpoint, "--cpu-devices=4"]
        assert evaluate(["evaluate", *arguments]) == 0
        found = json.loads((copied / "evaluation" / f"{checkpoint}_{split}.json").read_text())
        assert found["accuracy"] == summary[key] and found["split"] == split
    assert found["metrics"] == pytest.approx(summary["metrics"], rel=1e-6)
    assert found["metrics"]["top5"] == found["top5_accuracy"]


def test_the_report_says_on_which_images_an_accuracy_was_measured(workdir, summary, tmp_path):
    out = tmp_path / "report.html"
    other = shutil.copytree(workdir, tmp_path / "other")
    for file in ("summary.json", "subset.json"):
        (other / file).unlink()
    assert report(["report", str(workdir), str(other), "--out", str(out)]) == 0
    sections = Page(out.read_text()).sections
    best = f"(epoch {summary['best_epoch']})"
    for part in (
        f"test accuracy, last{summary['last_accuracy']:.2%}",
        f"test accuracy, best{summary['best_accuracy']:.2%} {best}",
        f"validation accuracy, best{summary['validation_accuracy']:.2%} {best}",
        "Metrics",
        "The metrics of config.metrics, over the validation images.",
    ):
        assert part in sections["run-1"]
    assert "test accuracy, last–" in sections["run-2"]


def test_the_analysis_of_learning_has_the_validation_accuracy(workdir, tmp_path):
    arguments = ["--only", "learning", "--out", str(tmp_path / "out"), "--cpu-devices=4"]
    assert analyze(["analyze", str(workdir), *arguments]) == 0
    with (tmp_path / "out" / "learning" / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [float(row["validation_accuracy"]) for row in rows]
    assert found == [record["validation_accuracy"] for record in load_records(workdir)]


def test_the_ledger_records_a_run_with_validation_images(workdir, summary):
    found = read_run(workdir)
    assert len(found["epochs"]) == EPOCHS
    assert found["summary"]["best_accuracy"] == summary["best_accuracy"]


def test_the_chosen_images_are_saved_in_the_run(workdir):
    found = json.loads((workdir / "subset.json").read_text())
    subset = data.load(**configure().data).subset
    assert found == {name: indices.tolist() for name, indices in subset.items()}
    assert len(found["train"]) == 140 and len(found["validation"]) == 60


def test_a_run_refuses_to_resume_on_other_images(copied, program):
    subset = program.subset
    other = program._replace(subset={**subset, "train": subset["train"][::-1]})
    with pytest.raises(UserError, match=r"subset\.json lists different training images"):
        train(configure(), copied, program=other)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_key_removed_from_subset_json_is_restored_from_the_checkpoint(
    copied, program, capsys, name
):
    file = copied / "subset.json"
    was = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in was.items() if key != name}))
    save_subset(copied, program.subset)
    assert json.loads(file.read_text()) == was
    assert f"{file} was changed after it was saved: it is read from" in capsys.readouterr().err


def test_subset_json_is_written_once_and_compared_later(tmp_path):
    chosen = {"train": np.array([3, 1])}
    save_subset(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    save_subset(tmp_path, chosen)
    assert json.loads((tmp_path / "subset.json").read_text()) == {"train": [3, 1]}
    save_subset(tmp_path, chosen)
    for other in ({}, {"train": np.array([1, 3])}):
        with pytest.raises(UserError, match="the data set has changed"):
            save_subset(tmp_path, other)
