"""Runs record the time of the computer's clock, but their results do not depend on it."""

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from tests.train.helpers import assert_same_end, make_program_on, stop_after
from tests.train.tiny import get_config
from train.loop import train
from train.program.program import Program

DAY = 24 * 3600.0


@pytest.fixture(scope="module")
def program() -> Program:
    """Return the program of the tiny config; its step is compiled once for all runs."""
    return make_program_on(1, get_config())


@pytest.fixture(scope="module")
def alone(program, tmp_path_factory) -> Path:
    """Return the folder of a run that was not interrupted."""
    workdir = tmp_path_factory.mktemp("runs") / "alone"
    assert train(get_config(), workdir, program=program) is not None
    return workdir


def test_a_clock_that_jumps_backward_does_not_change_results(alone, program, tmp_path, monkeypatch):
    calls = itertools.count()
    now = time.time()
    with monkeypatch.context() as patch:
        # Each call returns a time that is an hour earlier.
        patch.setattr("time.time", lambda: now - 3600 * next(calls))
        assert train(get_config(), tmp_path, stop_after(4), program=program) is None
        summary = train(get_config(), tmp_path, program=program)
    assert next(calls) > 10
    assert_same_end(alone, tmp_path, program)
    assert summary is not None and 0 < summary.seconds < 3600
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["images_per_second"] > 0 for line in lines)


@pytest.mark.parametrize("ahead", [DAY, pytest.param(-10_000 * DAY, marks=pytest.mark.slow)])
def test_a_run_resumes_from_checkpoints_with_wrong_dates(alone, program, tmp_path, ahead):
    assert train(get_config(), tmp_path, stop_after(4), program=program) is None
    # The newest in steps has the oldest date.
    for number, path in enumerate(list_checkpoints(tmp_path)):
        moment = time.time() + ahead - number * DAY
        for file in (*path.rglob("*"), path):
            os.utime(file, (moment, moment))
    train(get_config(), tmp_path, program=program)
    assert_same_end(alone, tmp_path, program)


def list_checkpoints(workdir: Path) -> list[Path]:
    """Return the folders of the checkpoints, the oldest step first."""
    found = [path for path in workdir.glob("*/*") if path.name.isdigit()]
    assert len(found) > 2
    return sorted(found, key=lambda path: int(path.name))
