"""The analyses of train.analyze that measure a run: what they write, alone and compared."""

import io
import json
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from tests.train.analyze.helpers import analyze, read_page, read_table
from tests.train.helpers import limit_devices, read_contents
from train.analyze import ANALYSES, memory


@pytest.fixture(autouse=True)
def one_device():
    """Run a test on one device."""
    with limit_devices(1):
        yield


QUICK = "learning,rates,levels,scales,membranes,capacity,oscillation"


@pytest.fixture(scope="module")
def analyzed(finished_run, tmp_path_factory) -> Path:
    """Return the folder of the quick analyses of the finished run, made on one device."""
    out = tmp_path_factory.mktemp("analyzed") / "a"
    before = read_contents(finished_run)
    with limit_devices(1):
        assert analyze(finished_run, "--only", QUICK, "--out", out, "--samples", 8) == 0
    assert read_contents(finished_run) == before
    return out


def test_the_analyses_of_a_run_are_on_the_page_and_in_tables(analyzed):
    found = read_page(analyzed)
    assert set(found.sections) == {"", *QUICK.split(",")}
    header, *rows = read_table(analyzed / "rates" / "rates.csv")
    assert header == ["layer", "step", "rate", "low", "high", "sd_over_samples"] and len(rows) == 6
    assert all(float(row[3]) <= float(row[2]) <= float(row[4]) for row in rows)


@pytest.mark.slow
def test_measures_do_not_depend_on_the_number_of_devices(analyzed, finished_run, tmp_path):
    only = ("--only", "rates,membranes", "--samples", 8)
    with limit_devices(4):
        assert analyze(finished_run, *only, "--out", tmp_path) == 0
    for file in ("rates/rates.csv", "membranes/steps.csv"):
        one, four = (read_table(folder / file)[1:] for folder in (analyzed, tmp_path))
        assert [row[:2] for row in one] == [row[:2] for row in four]
        numbers = [np.array([row[2:4] for row in rows], float) for rows in (one, four)]
        np.testing.assert_allclose(*numbers, rtol=0.05, atol=0.01)


@pytest.fixture(scope="module")
def memory_written(finished_run, tmp_path_factory) -> tuple[Path, str]:
    """Return the folder and the lines of the analysis of memory, of a run on two devices."""
    starts = json.loads((finished_run / "environment.json").read_text())
    out, printed = tmp_path_factory.mktemp("memory") / "a", io.StringIO()
    with limit_devices(1), pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(memory, "read_starts", lambda _: [*starts, {"devices": 2}])
        assert memory.count_devices(finished_run, 1) == 2
        assert analyze(finished_run, "--only", "memory", "--out", out) == 0
    return out, printed.getvalue()


def test_memory_is_computed_for_the_devices_that_trained(memory_written, tmp_path):
    assert memory.count_devices(tmp_path, 1) == 1  # Not recorded.
    html = json.loads((memory_written[0] / "memory" / "part.json").read_text())["html"]
    assert "step of 8 images" in html


def test_memory_is_printed_by_neuron_layer_and_in_total(memory_written):
    out, printed = memory_written
    rows = read_table(out / "memory" / "neurons.csv")[1:]
    totals = read_table(out / "memory" / "totals.csv")[1:]
    assert int(totals[0][1]) == sum(int(size) for _, size in rows)
    for name, size in (*rows, *totals):
        assert re.search(rf"  {name} +{int(size) / 2**20:,.2f}\n", printed)


def test_memory_that_is_already_written_is_printed_again(memory_written, finished_run, capsys):
    out, printed = memory_written
    assert analyze(finished_run, "--only", "memory", "--out", out) == 0
    again = capsys.readouterr().out
    assert "already written" in again
    assert [line for line in printed.splitlines() if line.startswith("      ")][:-1] == [
        line for line in again.splitlines() if line.startswith("      ")
    ][:-1]


@pytest.mark.slow
def test_all_analyses_of_a_run_are_written(finished_run, tmp_path):
    assert analyze(finished_run, "--out", tmp_path / "a", "--samples", 16) == 0
    assert set(read_page(tmp_path / "a").sections) == {"", *ANALYSES}


@pytest.mark.slow
def test_runs_are_compared_by_analyses_that_can(finished_run, tmp_path):
    names = "learning,rates,membranes,oscillation"
    other = shutil.copytree(finished_run, tmp_path / "other")
    only = ("--only", names, "--samples", 8)
    assert analyze(finished_run, other, *only, "--out", tmp_path / "a") == 0
    found = set(read_page(tmp_path / "a").sections)
    assert {f"comparison-{name}" for name in names.split(",")} <= found
    drawn = {
        "learning/epochs.csv": ["run", "epoch", "train_loss", "train_accuracy"],
        "rates/layers.csv": ["run", "layer", "rate"],
        "membranes/densities.csv": ["run", "step", "membrane", "density"],
        "oscillation/epochs.csv": ["run", "measure", "epoch", "share"],
    }
    for file, header in drawn.items():
        head, *lines = read_table(tmp_path / "a" / "comparison" / file)
        assert head[: len(header)] == header
        assert {line[0] for line in lines} == {finished_run.name, "other"}
