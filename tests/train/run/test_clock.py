"""Runs record the time of the computer's clock, but their results do not depend on it."""

import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.helpers import assert_same_end, make_program_on, stop_after, take_devices
from tests.train.tiny import get_config
from train.loop import train
from train.run.summary import Summary

DAY = 24 * 3600.0


def test_a_clock_that_jumps_backward_does_not_change_results(tmp_path, monkeypatch):
    train_on_one(tmp_path / "alone")
    calls = itertools.count()
    now = time.time()
    with monkeypatch.context() as patch:
        # Each call returns a time that is an hour earlier.
        patch.setattr("time.time", lambda: now - 3600 * next(calls))
        assert train_on_one(tmp_path / "run", stop_after(4)) is None
        summary = train_on_one(tmp_path / "run")
    assert next(calls) > 10
    assert_same_end(tmp_path / "alone", tmp_path / "run", make_program_on(1, get_config()))
    assert summary is not None and 0 < summary.seconds < 600
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["images_per_second"] > 0 for line in lines)


@pytest.mark.parametrize("ahead", [DAY, pytest.param(-10_000 * DAY, marks=pytest.mark.slow)])
def test_a_run_resumes_from_checkpoints_with_wrong_dates(tmp_path, ahead):
    train_on_one(tmp_path / "alone")
    assert train_on_one(tmp_path / "run", stop_after(4)) is None
    # The newest in steps has the oldest date.
    for number, path in enumerate(list_checkpoints(tmp_path / "run")):
        moment = time.time() + ahead - number * DAY
        for file in (*path.rglob("*"), path):
            os.utime(file, (moment, moment))
    train_on_one(tmp_path / "run")
    assert_same_end(tmp_path / "alone", tmp_path / "run", make_program_on(1, get_config()))


def train_on_one(workdir: Path, stop: Callable[[], bool] = lambda: False) -> Summary | None:
    return train(get_config(), workdir, stop, devices=take_devices(1))


def list_checkpoints(workdir: Path) -> list[Path]:
    """Return the folders of the checkpoints, the oldest step first."""
    found = [path for path in workdir.glob("*/*") if path.name.isdigit()]
    assert len(found) > 2
    return sorted(found, key=lambda path: int(path.name))
