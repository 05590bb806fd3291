"""A run evaluates every n-th epoch and the last; nothing else changes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ml_collections import ConfigDict

from tests.train.helpers import (
    assert_same_end,
    get_bits,
    load_newest_state,
    load_records,
    load_summary,
    make_program_on,
    stop_after,
)
from tests.train.tiny import EPOCHS, STEPS_PER_EPOCH, get_config
from train import data
from train.analyze.learning import analyze
from train.analyze.subject import Analysis
from train.loop import train
from train.program.evaluation import Evaluation, is_evaluated
from train.program.program import Program
from train.program.state import TrainState
from train.report import sections
from train.run.reading import read_run_records


def make_config(every: int) -> ConfigDict:
    config = get_config()
    config.evaluate_every, config.metrics = every, ("entropy",)
    return config


@pytest.fixture(scope="module")
def program() -> Program:
    return make_program_on(1, make_config(1))


@pytest.fixture(scope="module")
def runs(program, tmp_path_factory) -> dict[int, Path]:
    """Return the folders of finished runs by `evaluate_every`."""
    folder = tmp_path_factory.mktemp("runs")
    for every in (1, 0):
        assert train(make_config(every), folder / str(every), program=program) is not None
    return {every: folder / str(every) for every in (1, 0)}


@pytest.mark.parametrize(
    "every, evaluated",
    [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (5, [5]), (9, [5]), (0, [5])],
)
def test_the_last_epoch_is_always_evaluated(every, evaluated):
    assert [epoch for epoch in range(1, 6) if is_evaluated(epoch, 5, every)] == evaluated


def test_evaluations_change_nothing_else(runs, program):
    states = [get_bits(load_newest_state(run, program)) for run in runs.values()]
    assert states[0] == states[1]
    # Without single steps, and without the times.
    each, last = (
        [record for record in load_records(run) if "train_loss" in record] for run in runs.values()
    )
    assert len(each) == EPOCHS and last[-1] == each[-1]
    for with_test, without in zip(each[:-1], last[:-1], strict=True):
        assert {key for key in with_test if key.startswith("test_")}
        kept = {key: value for key, value in with_test.items() if not key.startswith("test_")}
        assert without == kept
    each, last = (load_summary(run) for run in runs.values())
    assert last["best_epoch"] == EPOCHS and last["best_accuracy"] == last["last_accuracy"]
    best = ("best_epoch", "best_accuracy")
    assert last | {key: each[key] for key in best} == each


def test_the_evaluation_of_the_last_epoch_is_not_repeated(program, tmp_path):
    evaluated: list[int] = []

    def count(state: TrainState) -> Evaluation:
        evaluated.append(int(state.step))
        return program.evaluate(state)

    watched = program._replace(evaluate=count, test=count)
    for _ in range(2):  # A finished run is evaluated, whatever its folder has.
        assert train(make_config(0), tmp_path, program=watched) is not None
    assert evaluated == [EPOCHS * STEPS_PER_EPOCH] * 2


@pytest.mark.parametrize("steps", [1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1])
def test_a_run_resumes_with_the_same_bits(runs, program, tmp_path, steps):
    assert train(make_config(0), tmp_path, stop_after(steps), program=program) is None
    assert train(make_config(0), tmp_path, program=program) is not None
    assert_same_end(runs[0], tmp_path, program)


def analyze_curves(run: Path) -> Analysis:
    dataset = data.load(**get_config().data)
    subject: Any = SimpleNamespace(name="run", records=read_run_records(run), dataset=dataset)
    return analyze(subject)


def test_reports_show_the_epochs_that_were_evaluated(runs):
    facts = sections._list_facts(sections.read_run(runs[0], "run"))
    summary = load_summary(runs[0])
    percent = f"{100 * summary['last_accuracy']:.2f}"
    assert percent in facts["test accuracy, last"]
    assert facts["test accuracy, best"].endswith(f"(epoch {EPOCHS})")
    assert facts["test entropy, last"] == f"{summary['metrics']['entropy']:.4g}"
    table = analyze_curves(runs[0]).tables["epochs"]
    accuracies = [row[table.header.index("test_accuracy")] for row in table.rows]
    assert accuracies == [None] * (EPOCHS - 1) + [summary["last_accuracy"]]


def test_reports_of_runs_without_an_evaluation_have_no_accuracy(program, tmp_path):
    assert train(make_config(0), tmp_path, stop_after(4), program=program) is None
    facts = sections._list_facts(sections.read_run(tmp_path, "run"))
    assert facts["epochs"] == f"1 of {EPOCHS}" and facts["test accuracy, last"] == sections.NONE
    assert analyze_curves(tmp_path).remarks == ["No epoch has been evaluated yet."]
