"""train.analyze: figures, tables and a page of trained runs, which stay as they are."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pit_jax.analysis.plots.style import figure
from tests.train.helpers import limit_devices, read_contents, run_main
from tests.train.pages import Page
from train.analyze import ANALYSES
from train.analyze.__main__ import main
from train.analyze.subject import Analysis, Plot, Table
from train.report import page

TINY = ("--config", "tests/train/tiny.py", "--config.cpu_devices=4")
HERE = "--cpu-devices=4"  # Pytest's process has four devices, and their number cannot change.


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a finished run of the tiny config."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with limit_devices(1):
        assert run_main(*TINY, "--workdir", str(folder)) == 0
    return folder


@pytest.fixture(autouse=True)
def one_device():
    with limit_devices(1):
        yield


def analyze(*args: object) -> int:
    return main(["analyze", HERE, *map(str, args)])


def refusal(capsys, *args: object) -> str:
    """What the program says about a mistake."""
    capsys.readouterr()
    assert analyze(*args) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said


def logits_of(trained) -> Analysis:
    """An analysis that takes little: the logits of some test images."""
    x, labels = trained.samples("test", 6)
    logits = np.asarray(trained.model.apply(trained.variables, x).mean(axis=1))
    rows = [[i, int(labels[i]), float(logits[i, 0]), None] for i in range(len(logits))]

    def draw():
        drawn = figure(2.0)
        drawn.subplots().semilogy(np.exp(logits[:, 0]))
        return drawn

    return Analysis(
        "Logits <of> a class",
        ["A remark & more."],
        {"logits": Table(("image", "label", "logit", "nothing"), rows)},
        {"logits": Plot(draw, "A caption.")},
    )


def nothing(trained) -> Analysis:
    return Analysis("Nothing", [f"{trained.name} has no such layers."])


def broken(trained) -> Analysis:
    raise ZeroDivisionError("there is a bug here")


def compared(runs) -> Analysis:
    return Analysis("Both", (), {"names": Table(["name"], [[each.name] for each in runs])})


@pytest.fixture
def some(monkeypatch) -> dict[str, SimpleNamespace]:
    """Quick analyses in place of the real ones."""
    there = {
        "logits": SimpleNamespace(analyze=logits_of),
        "nothing": SimpleNamespace(analyze=nothing, compare=compared),
        "broken": SimpleNamespace(analyze=broken),
    }
    names = dict.fromkeys(there, "what it is")
    monkeypatch.setattr("train.config.arguments.ANALYSES", names)
    monkeypatch.setattr("train.analyze.__main__.ANALYSES", names)
    monkeypatch.setattr("train.analyze.__main__.load_analysis", there.__getitem__)
    return there


def table(file: Path) -> list[list[str]]:
    return list(csv.reader(file.read_text().splitlines()))


def read_page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text())


def test_an_analysis_is_figures_tables_and_a_part_of_the_page(run, some, tmp_path, capsys):
    before = read_contents(run)
    assert analyze(run, "--only", "logits", "--out", tmp_path / "a") == 0
    assert read_contents(run) == before
    folder = tmp_path / "a" / "logits"
    assert {file.name for file in folder.iterdir()} == {
        *("logits.png", "logits.svg", "logits.csv", "part.json")
    }
    header, *rows = table(folder / "logits.csv")
    assert header == ["image", "label", "logit", "nothing"] and len(rows) == 6
    with Image.open(folder / "logits.png") as image:
        assert image.size == (1350, 300)
    assert "<svg" in (folder / "logits.svg").read_text()
    found = read_page(tmp_path / "a")
    section = found.sections["logits"]
    for text in (
        "Logits <of> a class",
        "A remark & more.",
        "A caption.",
        "last checkpoint, step 6",
    ):
        assert text in section
    assert f"{float(rows[0][2]):.5g}" in section
    (drawing,) = found.figures["logits"]
    shown = re.sub("<!--.*?-->", "", drawing)
    assert "<svg" in shown and "mathdefault" not in shown
    printed = capsys.readouterr().out
    assert "1/1 logits ..." in printed and "figures: 1, tables: 1" in printed


def test_unless_told_otherwise_it_lies_in_the_folder_of_the_run(run, some, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    before = read_contents(copy)
    assert analyze(copy, "--only", "nothing", "--checkpoint", "best") == 0
    after = read_contents(copy)
    assert {path.partition("/")[0] for path in set(after) - set(before)} == {"analysis"}
    assert {path: after[path] for path in before if path != "."} == {
        path: before[path] for path in before if path != "."
    }
    assert (copy / "analysis" / "best" / "index.html").is_file()


def test_a_page_needs_nothing_beside_itself(run, some, tmp_path):
    assert analyze(run, "--only", "logits", "--out", tmp_path / "a") == 0
    found = read_page(tmp_path / "a")
    assert all(each.startswith("#") for each in found.references)
    assert {each.removeprefix("#") for each in found.references} <= set(found.ids)
    assert len(set(found.ids)) == len(found.ids)


def test_one_that_fails_is_named_and_the_others_are_there(run, some, tmp_path, capsys):
    assert analyze(run, "--out", tmp_path / "a") == 1
    printed, said = capsys.readouterr()
    assert "failed: there is a bug here" in printed and "ZeroDivisionError" in said
    assert "failed: broken; all others are written." in said
    found = read_page(tmp_path / "a").sections
    assert set(found) == {"", "logits", "nothing", "broken"}
    assert "Failed: there is a bug here" in found["broken"]
    assert "does not apply: tiny has no such layers." in printed
    assert "tiny has no such layers." in found["nothing"]


def test_what_is_there_is_kept_and_what_lacks_is_added(run, some, tmp_path, capsys):
    out = tmp_path / "a"
    assert analyze(run, "--only", "logits", "--out", out) == 0
    before = read_contents(out / "logits")
    assert analyze(run, "--only", "nothing,logits", "--out", out) == 0
    assert read_contents(out / "logits") == before
    assert "2/2 logits: already written" in capsys.readouterr().out
    assert set(read_page(out).sections) == {"", "logits", "nothing"}
    assert analyze(run, "--only", "logits", "--out", out, "--overwrite") == 0
    after = read_contents(out / "logits")
    assert after["logits.csv"][0] == before["logits.csv"][0]
    assert after["logits.csv"][1] > before["logits.csv"][1]
    assert set(read_page(out).sections) == {"", "logits", "nothing"}


def test_one_that_was_not_finished_is_made_anew(run, some, tmp_path):
    out = tmp_path / "a"
    assert analyze(run, "--only", "logits", "--out", out) == 0
    (out / "logits" / "part.json").unlink()
    (out / "logits" / "old.png").write_bytes(b"of an older version")
    (out / "logits" / "kept.npz").write_bytes(b"what it has so far")
    assert analyze(run, "--only", "logits", "--out", out) == 0
    names = {file.name for file in (out / "logits").iterdir()}
    assert {"part.json", "kept.npz"} <= names and "old.png" not in names


def test_results_of_another_number_of_samples_are_not_taken_for_these(run, some, tmp_path, capsys):
    out = tmp_path / "a"
    assert analyze(run, "--only", "logits", "--out", out) == 0
    message = refusal(capsys, run, "--only", "logits", "--out", out, "--samples", 3)
    assert "logits has results of another run, step or number of samples; give --overwrite" in message
    assert analyze(run, "--only", "logits", "--out", out, "--samples", 3, "--overwrite") == 0
    assert len(table(out / "logits" / "logits.csv")) == 4


def test_a_folder_of_something_else_is_kept(run, some, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    before = read_contents(tmp_path)
    message = refusal(capsys, run, "--out", tmp_path, "--overwrite")
    assert "was not written by this program and is not changed; choose another --out" in message
    assert read_contents(tmp_path) == before
    # Nor is the page of another program replaced.
    (tmp_path / "index.html").write_text(page.render_page("Report", [], "report"))
    assert "is not changed" in refusal(capsys, run, "--out", tmp_path)


def test_several_devices_give_the_numbers_of_one(run, some, tmp_path):
    assert analyze(run, "--only", "logits", "--out", tmp_path / "one", "--samples", 8) == 0
    with limit_devices(4):
        assert analyze(run, "--only", "logits", "--out", tmp_path / "four", "--samples", 8) == 0
    tables = [table(tmp_path / each / "logits" / "logits.csv") for each in ("one", "four")]
    one, four = ([[float(cell) for cell in row[:3]] for row in rows[1:]] for rows in tables)
    assert len(one) == 8
    np.testing.assert_allclose(one, four, rtol=1e-4)
    assert "4 x cpu" in (tmp_path / "four" / "index.html").read_text()


def test_as_many_samples_are_taken_as_the_devices_divide(run, some, tmp_path, capsys):
    with limit_devices(4):
        assert analyze(run, "--only", "logits", "--out", tmp_path / "a") == 0
        assert len(table(tmp_path / "a" / "logits" / "logits.csv")) == 5  # 4 of 6, and the header.
        assert analyze(run, "--only", "logits", "--out", tmp_path / "b", "--samples", 3) == 1
    assert "3 samples cannot be divided among 4 devices" in capsys.readouterr().out


def test_several_runs_are_compared_and_each_has_a_folder(run, some, tmp_path):
    other, out = shutil.copytree(run, tmp_path / "other"), tmp_path / "a"
    assert analyze(run, other, "--only", "nothing,logits", "--out", out) == 0
    assert table(out / "comparison" / "nothing" / "names.csv") == [["name"], ["tiny"], ["other"]]
    assert (out / "1_tiny" / "logits" / "logits.png").is_file()
    found = read_page(out)
    names = {f"run-{i}-{name}" for i in (1, 2) for name in ("nothing", "logits")}
    assert set(found.sections) == {"", "comparison-nothing", *names}
    assert found.sections["run-2-logits"].strip().startswith("other: Logits")
    assert len(set(found.ids)) == len(found.ids)


def test_long_tables_are_shown_in_part(run, some, tmp_path):
    rows = [[i] for i in range(1000)]
    some["logits"].analyze = lambda _: Analysis("Long", (), {"long": Table(["i"], rows)})
    assert analyze(run, "--only", "logits", "--out", tmp_path / "a") == 0
    assert len(table(tmp_path / "a" / "logits" / "long.csv")) == 1001
    section = read_page(tmp_path / "a").sections["logits"]
    assert "700 more rows are in long.csv." in section


def test_large_drawings_are_shown_as_pixels(run, some, tmp_path):
    def draw():
        drawn = figure(3.0)
        drawn.subplots().scatter(*np.random.default_rng(0).random((2, 9000)))
        return drawn

    drawn = {"points": Plot(draw, "Many points.")}
    some["logits"].analyze = lambda _: Analysis("Many", (), figures=drawn)
    assert analyze(run, "--only", "logits", "--out", tmp_path / "a") == 0
    text = (tmp_path / "a" / "index.html").read_text()
    assert 'src="data:image/png;base64,' in text and len(text) < 400_000


@pytest.mark.parametrize(
    "args, complaint",
    [
        (("--only", "rtaes"), "--only must be of learning, rates, scales"),
        (("--samples", "1"), "--samples must be at least 2, got 1"),
        (("--cpu-devices", "0"), "--cpu-devices must be at least 1, got 0"),
        (("--checkpoint", "first"), "invalid choice: 'first'"),
        (("--verbose",), "there is no option --verbose"),
    ],
)
def test_a_mistaken_command_is_answered_with_what_is_allowed(args, complaint, run, capsys):
    before = read_contents(run)
    assert complaint in refusal(capsys, run, *args)
    assert read_contents(run) == before


def test_a_folder_without_a_run_or_a_checkpoint_is_refused(run, tmp_path, capsys):
    assert "is not the folder of a run: it has no config.json" in refusal(capsys, tmp_path)
    shutil.copy(run / "config.json", tmp_path)
    assert "has no checkpoint yet" in refusal(capsys, tmp_path, "--out", tmp_path / "a")
    assert "give the folder of a run: RUN" in refusal(capsys)


def test_help_lists_the_analyses(capsys):
    assert main(["analyze", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: python -m train.analyze [-h]" in printed and "[RUN ...]" in printed
    assert all(f"\n  {name} " in printed and what in printed for name, what in ANALYSES.items())


QUICK = "learning,rates,scales,membranes,capacity,oscillation"


def test_the_analyses_of_a_run_change_nothing_in_its_folder(run, tmp_path):
    before = read_contents(run)
    assert analyze(run, "--only", QUICK, "--out", tmp_path / "a", "--samples", 8) == 0
    assert read_contents(run) == before
    found = read_page(tmp_path / "a")
    assert set(found.sections) == {"", *QUICK.split(",")}
    header, *rows = table(tmp_path / "a" / "rates" / "rates.csv")
    assert header == ["layer", "step", "rate", "low", "high", "sd_over_samples"] and len(rows) == 6
    assert all(float(row[3]) <= float(row[2]) <= float(row[4]) for row in rows)


def test_the_memory_is_that_of_a_device_that_trained_whatever_analyses(run, tmp_path):
    copy, folder = shutil.copytree(run, tmp_path / "run"), tmp_path / "a" / "memory"
    for devices, images in ((1, 32), (2, 16)):
        starts = json.loads((copy / "environment.json").read_text())
        starts[-1]["devices"] = devices
        (copy / "environment.json").write_text(json.dumps(starts))
        only = ("--only", "memory", "--out", tmp_path / "a", "--overwrite")
        assert analyze(copy, *only) == 0
        told = json.loads((folder / "part.json").read_text())["html"]
        assert f"step of {images} images" in told


def test_several_devices_measure_what_one_does(run, tmp_path):
    only = ("--only", "rates,membranes", "--samples", 8)
    assert analyze(run, *only, "--out", tmp_path / "one") == 0
    with limit_devices(4):
        assert analyze(run, *only, "--out", tmp_path / "four") == 0
    for file in ("rates/rates.csv", "membranes/steps.csv"):
        one, four = (table(tmp_path / each / file)[1:] for each in ("one", "four"))
        assert [row[:2] for row in one] == [row[:2] for row in four]
        numbers = [np.array([row[2:4] for row in rows], float) for rows in (one, four)]
        np.testing.assert_allclose(*numbers, rtol=0.05, atol=0.01)


@pytest.mark.slow
def test_every_analysis_is_made_of_a_run(run, tmp_path):
    assert analyze(run, "--out", tmp_path / "a", "--samples", 16) == 0
    assert set(read_page(tmp_path / "a").sections) == {"", *ANALYSES}


@pytest.mark.slow
def test_runs_are_compared_where_an_analysis_can(run, tmp_path):
    other, names = shutil.copytree(run, tmp_path / "other"), "learning,rates,membranes,oscillation"
    only = ("--only", names, "--samples", 8)
    assert analyze(run, other, *only, "--out", tmp_path / "a") == 0
    found = set(read_page(tmp_path / "a").sections)
    assert {f"comparison-{name}" for name in names.split(",")} <= found
    drawn = {
        "learning/epochs.csv": ["run", "epoch", "train_loss", "train_accuracy"],
        "rates/layers.csv": ["run", "layer", "rate"],
        "membranes/densities.csv": ["run", "step", "membrane", "density"],
        "oscillation/epochs.csv": ["run", "measure", "epoch", "share"],
    }
    for file, header in drawn.items():
        head, *lines = table(tmp_path / "a" / "comparison" / file)
        assert head[: len(header)] == header
        assert {line[0] for line in lines} == {run.name, "other"}
