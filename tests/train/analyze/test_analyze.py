"""train.analyze: figures, tables and a page of trained runs, which it does not change."""

import json
import re
import shutil
from importlib import import_module
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from pit_jax.plots.style import figure
from tests.train.analyze.helpers import analyze, read_page, read_table
from tests.train.helpers import limit_devices, read_contents
from train.analyze import ANALYSES
from train.analyze.__main__ import OTHERS, _write_analyses, main, read_run
from train.analyze.subject import Analysis, Plot, Table
from train.files import hash_file
from train.report import page
from train.run.reading import load_run_config


@pytest.fixture(autouse=True)
def one_device():
    """Run a test on one device."""
    with limit_devices(1):
        yield


def read_error(capsys, *args: object) -> str:
    """Run the program with invalid arguments and return its error."""
    capsys.readouterr()
    assert analyze(*args) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "Traceback" not in message
    return message


def analyze_logits(trained) -> Analysis:
    """Return a quick analysis: the logits of some test images."""
    x, labels = trained.samples("test", 6)
    logits = np.asarray(jax.jit(trained.model.apply)(trained.variables, x).mean(axis=1))
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


def analyze_nothing(trained) -> Analysis:
    return Analysis("Nothing", [f"{trained.name} has no such layers."])


def analyze_broken(trained) -> Analysis:
    raise ZeroDivisionError("there is a bug here")


def compare_names(runs) -> Analysis:
    return Analysis("Both", (), {"names": Table(["name"], [[each.name] for each in runs])})


@pytest.fixture
def quick_analyses(monkeypatch) -> dict[str, SimpleNamespace]:
    """Replace the real analyses by quick ones."""
    there = {
        "logits": SimpleNamespace(analyze=analyze_logits),
        "nothing": SimpleNamespace(analyze=analyze_nothing, compare=compare_names),
        "broken": SimpleNamespace(analyze=analyze_broken),
    }
    names = dict.fromkeys(there, "what it is")
    monkeypatch.setattr("train.config.arguments.ANALYSES", names)
    monkeypatch.setattr("train.analyze.__main__.ANALYSES", names)
    monkeypatch.setattr("train.analyze.__main__.load_analysis", there.__getitem__)
    return there


def test_an_analysis_writes_figures_tables_and_a_section_of_the_page(
    finished_run, quick_analyses, tmp_path, capsys
):
    before = read_contents(finished_run)
    assert analyze(finished_run, "--only", "logits", "--out", tmp_path / "a") == 0
    assert read_contents(finished_run) == before
    folder = tmp_path / "a" / "logits"
    assert {file.name for file in folder.iterdir()} == {
        *("logits.png", "logits.svg", "logits.csv", "part.json")
    }
    header, *rows = read_table(folder / "logits.csv")
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
        "last checkpoint, step 62",
    ):
        assert text in section
    assert f"{float(rows[0][2]):.5g}" in section
    (drawing,) = found.figures["logits"]
    shown = re.sub("<!--.*?-->", "", drawing)
    assert "<svg" in shown and "mathdefault" not in shown
    printed = capsys.readouterr().out
    assert "1/1 logits ..." in printed and "figures: 1, tables: 1" in printed


def test_results_are_in_the_folder_of_the_run_by_default(finished_run, quick_analyses, tmp_path):
    copy = shutil.copytree(finished_run, tmp_path / "run")
    before = read_contents(copy)
    assert analyze(copy, "--only", "nothing", "--checkpoint", "best") == 0
    after = read_contents(copy)
    assert {path.partition("/")[0] for path in set(after) - set(before)} == {"analysis"}
    assert {path: after[path] for path in before if path != "."} == {
        path: before[path] for path in before if path != "."
    }
    assert (copy / "analysis" / "best" / "index.html").is_file()


def test_a_page_has_no_external_references(finished_run, quick_analyses, tmp_path):
    assert analyze(finished_run, "--only", "logits", "--out", tmp_path / "a") == 0
    found = read_page(tmp_path / "a")
    assert all(each.startswith("#") for each in found.references)
    assert {each.removeprefix("#") for each in found.references} <= set(found.ids)
    assert len(set(found.ids)) == len(found.ids)


def test_a_failed_analysis_is_reported_and_the_others_are_written(
    finished_run, quick_analyses, tmp_path, capsys
):
    assert analyze(finished_run, "--out", tmp_path / "a") == 1
    printed, errors = capsys.readouterr()
    assert "failed: there is a bug here" in printed and "ZeroDivisionError" in errors
    assert "failed: broken; all others are written." in errors
    found = read_page(tmp_path / "a").sections
    assert set(found) == {"", "logits", "nothing", "broken"}
    assert "Failed: there is a bug here" in found["broken"]
    assert "does not apply: tiny has no such layers." in printed
    assert "tiny has no such layers." in found["nothing"]


def test_finished_analyses_are_kept_and_missing_ones_added(
    finished_run, quick_analyses, tmp_path, capsys
):
    out = tmp_path / "a"
    assert analyze(finished_run, "--only", "logits", "--out", out) == 0
    before = read_contents(out / "logits")
    assert analyze(finished_run, "--only", "nothing,logits", "--out", out) == 0
    assert read_contents(out / "logits") == before
    assert "2/2 logits: already written" in capsys.readouterr().out
    assert set(read_page(out).sections) == {"", "logits", "nothing"}
    assert analyze(finished_run, "--only", "logits", "--out", out, "--overwrite") == 0
    after = read_contents(out / "logits")
    assert after["logits.csv"][0] == before["logits.csv"][0]
    assert after["logits.csv"][1] > before["logits.csv"][1]
    assert set(read_page(out).sections) == {"", "logits", "nothing"}


def test_an_analysis_of_a_run_that_still_trains_shows_one_step_in_all_sections(
    finished_run, tmp_path, monkeypatch
):
    """Check that step, hash, records and scales belong to the checkpoint that was loaded."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    digest = hash_file(run / "last" / "62" / "manifest.json")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    newer = iter(range(100, 200))

    def train_on(subject):
        """Do what a run does while it is analyzed: save checkpoints and delete older ones."""
        step = next(newer)
        newest, *older = sorted((run / "last").iterdir(), key=lambda each: -int(each.name))
        newest.rename(run / "last" / str(step))
        for old in older:
            shutil.rmtree(old)
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(records[-1] | {"step": step, "epoch": step}) + "\n")
        return analyze_logits(subject)

    analyses = {
        "early": SimpleNamespace(analyze=train_on),
        **{name: import_module(f"train.analyze.{name}") for name in ("learning", "scales")},
        "late": SimpleNamespace(analyze=train_on),
    }
    monkeypatch.setattr("train.analyze.__main__.ANALYSES", analyses)
    monkeypatch.setattr("train.analyze.__main__.load_analysis", analyses.__getitem__)
    out = tmp_path / "out"
    subject = read_run(run, "run", load_run_config(run), "last", out, samples=8)
    assert _write_analyses([subject], list(analyses), out, False) == []
    parts = {name: json.loads((out / name / "part.json").read_text()) for name in analyses}
    for part in parts.values():
        assert part["of"] == [{"workdir": str(run), "step": 62, "sha256": digest, "samples": 8}]
        assert re.findall(r"step (\d+)", part["html"]) == ["62"]
    # The lines that were added meanwhile are of later steps.
    assert [row[0] for row in read_table(out / "learning" / "epochs.csv")[1:]] == ["1", "2"]
    assert f"last, step 62, sha256 {digest[:12]}" in (out / "index.html").read_text()


@pytest.mark.parametrize("name", ["learning", "oscillation"])
def test_curves_of_a_run_that_trained_on_are_drawn_again_although_its_best_epoch_stays(
    finished_run, quick_analyses, tmp_path, capsys, monkeypatch, name
):
    run, out = shutil.copytree(finished_run, tmp_path / "run"), tmp_path / "out"
    quick_analyses[name] = import_module(f"train.analyze.{name}")
    for module in ("config.arguments", "analyze.__main__"):
        monkeypatch.setattr(f"train.{module}.ANALYSES", dict.fromkeys(quick_analyses, ""))
    best = (run, "--checkpoint", "best", "--out", out)
    assert analyze(*best, "--only", f"{name},logits") == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    later = json.loads(lines[-1]) | {"step": 93, "epoch": 3}
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in [*lines, json.dumps(later)]))
    # Next to a newer section, the page does not show the older curves.
    assert analyze(*best, "--only", "nothing") == 0
    assert set(read_page(out).sections) == {"", "logits", "nothing"}
    capsys.readouterr()
    assert analyze(*best, "--only", f"{name},logits") == 0
    printed = capsys.readouterr().out
    assert "logits: already written" in printed and f"{name}: already" not in printed
    assert name in read_page(out).sections
    if name == "learning":
        assert [row[0] for row in read_table(out / name / "epochs.csv")[1:]] == ["1", "2", "3"]
    assert analyze(*best, "--only", name) == 0
    assert f"{name}: already written" in capsys.readouterr().out


def test_an_unfinished_analysis_is_repeated(finished_run, quick_analyses, tmp_path):
    out = tmp_path / "a"
    assert analyze(finished_run, "--only", "logits", "--out", out) == 0
    (out / "logits" / "part.json").unlink()
    (out / "logits" / "old.png").write_bytes(b"of an older version")
    (out / "logits" / "kept.npz").write_bytes(b"what it has so far")
    assert analyze(finished_run, "--only", "logits", "--out", out) == 0
    names = {file.name for file in (out / "logits").iterdir()}
    assert {"part.json", "kept.npz"} <= names and "old.png" not in names


def test_results_of_another_number_of_samples_are_not_reused(
    finished_run, quick_analyses, tmp_path, capsys
):
    out = tmp_path / "a"
    assert analyze(finished_run, "--only", "logits", "--out", out) == 0
    message = read_error(capsys, finished_run, "--only", "logits", "--out", out, "--samples", 3)
    assert "logits has results of another run, step or number of samples; give" in message
    fewer = ("--samples", 3, "--overwrite")
    assert analyze(finished_run, "--only", "logits", "--out", out, *fewer) == 0
    assert len(read_table(out / "logits" / "logits.csv")) == 4


@pytest.mark.parametrize("other", ["run", "step", "samples"])
def test_results_of_another_run_step_or_number_of_samples_are_not_on_the_page(
    other, finished_run, quick_analyses, tmp_path, capsys
):
    """Check that all results on the page belong to the runs and steps in its first table."""
    run, out = shutil.copytree(finished_run, tmp_path / "run"), tmp_path / "a"
    assert analyze(run, "--only", "logits", "--out", out) == 0
    if other == "step":
        shutil.rmtree(run / "last" / "62")
    again = {"run": [finished_run], "step": [run], "samples": [run, "--samples", 3]}[other]
    assert analyze(*again, "--only", "nothing", "--out", out) == 0
    found = read_page(out)
    assert set(found.sections) == {"", "nothing"}
    assert "Not on this page: results of another run, step" in (out / "index.html").read_text()
    assert f"not on the page: {OTHERS} {out / 'logits'}" in capsys.readouterr().err
    assert (out / "logits" / "part.json").is_file()


def test_a_folder_of_another_program_is_not_changed(finished_run, quick_analyses, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    before = read_contents(tmp_path)
    message = read_error(capsys, finished_run, "--out", tmp_path, "--overwrite")
    assert "was not written by this program and is not changed; choose another --out" in message
    assert read_contents(tmp_path) == before
    # The page of another program is not replaced either.
    (tmp_path / "index.html").write_text(page.render_page("Report", [], "report"))
    assert "is not changed" in read_error(capsys, finished_run, "--out", tmp_path)


def test_results_do_not_depend_on_the_number_of_devices(finished_run, quick_analyses, tmp_path):
    only = ("--only", "logits", "--samples", 8)
    assert analyze(finished_run, *only, "--out", tmp_path / "one") == 0
    with limit_devices(4):
        assert analyze(finished_run, *only, "--out", tmp_path / "four") == 0
    tables = [read_table(tmp_path / each / "logits" / "logits.csv") for each in ("one", "four")]
    one, four = ([[float(cell) for cell in row[:3]] for row in rows[1:]] for rows in tables)
    assert len(one) == 8
    np.testing.assert_allclose(one, four, rtol=1e-4)
    assert "4 x cpu" in (tmp_path / "four" / "index.html").read_text()


def test_the_number_of_samples_is_rounded_down_to_the_devices(
    finished_run, quick_analyses, tmp_path, capsys
):
    only = ("--only", "logits", "--out")
    with limit_devices(4):
        assert analyze(finished_run, *only, tmp_path / "a") == 0
        # 4 of 6 samples, and the header.
        assert len(read_table(tmp_path / "a" / "logits" / "logits.csv")) == 5
        assert analyze(finished_run, *only, tmp_path / "b", "--samples", 3) == 1
    assert "3 samples cannot be divided among 4 devices" in capsys.readouterr().out


def test_several_runs_are_compared_and_each_has_a_folder(finished_run, quick_analyses, tmp_path):
    other, out = shutil.copytree(finished_run, tmp_path / "other"), tmp_path / "a"
    assert analyze(finished_run, other, "--only", "nothing,logits", "--out", out) == 0
    assert read_table(out / "comparison" / "nothing" / "names.csv") == [
        ["name"],
        ["tiny"],
        ["other"],
    ]
    assert (out / "1_tiny" / "logits" / "logits.png").is_file()
    found = read_page(out)
    names = {f"run-{i}-{name}" for i in (1, 2) for name in ("nothing", "logits")}
    assert set(found.sections) == {"", "comparison-nothing", *names}
    assert found.sections["run-2-logits"].strip().startswith("other: Logits")
    assert len(set(found.ids)) == len(found.ids)


def test_long_tables_are_shown_in_part(finished_run, quick_analyses, tmp_path):
    rows = [[i] for i in range(1000)]
    quick_analyses["logits"].analyze = lambda _: Analysis("Long", (), {"long": Table(["i"], rows)})
    assert analyze(finished_run, "--only", "logits", "--out", tmp_path / "a") == 0
    assert len(read_table(tmp_path / "a" / "logits" / "long.csv")) == 1001
    section = read_page(tmp_path / "a").sections["logits"]
    assert "700 more rows are in long.csv." in section


def test_large_figures_are_shown_as_pixels(finished_run, quick_analyses, tmp_path):
    def draw():
        drawn = figure(3.0)
        drawn.subplots().scatter(*np.random.default_rng(0).random((2, 9000)))
        return drawn

    drawn = {"points": Plot(draw, "Many points.")}
    quick_analyses["logits"].analyze = lambda _: Analysis("Many", (), figures=drawn)
    assert analyze(finished_run, "--only", "logits", "--out", tmp_path / "a") == 0
    text = (tmp_path / "a" / "index.html").read_text()
    assert 'src="data:image/png;base64,' in text and len(text) < 400_000


@pytest.mark.parametrize(
    "args, complaint",
    [
        (("--only", "rtaes"), "--only must be of learning, rates, levels, scales"),
        (("--samples", "1"), "--samples must be at least 2, got 1"),
        (("--cpu-devices", "0"), "--cpu-devices must be at least 1, got 0"),
        (("--checkpoint", "first"), "invalid choice: 'first'"),
        (("--verbose",), "there is no option --verbose"),
    ],
)
def test_invalid_arguments_are_reported_with_the_allowed_ones(
    args, complaint, finished_run, capsys
):
    before = read_contents(finished_run)
    assert complaint in read_error(capsys, finished_run, *args)
    assert read_contents(finished_run) == before


def test_a_folder_without_a_run_or_a_checkpoint_is_an_error(finished_run, tmp_path, capsys):
    assert "is not the folder of a run: it has no config.json" in read_error(capsys, tmp_path)
    shutil.copy(finished_run / "config.json", tmp_path)
    assert "has no checkpoint yet" in read_error(capsys, tmp_path, "--out", tmp_path / "a")
    assert "give the folder of a run: RUN" in read_error(capsys)


def test_help_lists_the_analyses(capsys):
    assert main(["analyze", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: python -m train.analyze [-h]" in printed and "[RUN ...]" in printed
    assert all(f"\n  {name} " in printed and what in printed for name, what in ANALYSES.items())
