"""train.report: an HTML page of runs that needs no other file."""

import json
import re
import shutil
from collections import Counter
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.train.helpers import read_contents
from tests.train.pages import Page, decode
from train.html import mark_page
from train.report import page
from train.report.__main__ import main
from train.run.checkpoint import find_newest_step


@pytest.fixture(scope="module")
def runs(finished_run, tmp_path_factory) -> Path:
    """Return a folder with two finished runs, `pit` and `other`, and `begun` without epochs."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished_run, folder / "pit")
    # As a run with another learning rate would leave it.
    shutil.copytree(folder / "pit", folder / "other")
    config = json.loads((folder / "other" / "config.json").read_text())
    config["learning_rate"] = 0.025
    (folder / "other" / "config.json").write_text(json.dumps(config))
    (folder / "begun").mkdir()
    shutil.copy(folder / "pit" / "config.json", folder / "begun")
    return folder


def make_report(out: Path, *workdirs: Path) -> Page:
    with pytest.MonkeyPatch.context() as patch:
        # Some runs of these tests are copies with another config.
        patch.setattr("train.run.restore.compare_configs", lambda *_: {})
        assert main(["report", *map(str, workdirs), "--out", str(out)]) == 0
    return Page(out.read_text())


@pytest.fixture
def no_figures(monkeypatch) -> None:
    """Show only the captions of figures, for tests of text: figures take seconds to draw."""
    monkeypatch.setattr("train.report.sections.show_figure", lambda caption, *_, **__: caption)


@pytest.fixture(scope="module")
def three(runs, tmp_path_factory) -> tuple[str, Page]:
    out = tmp_path_factory.mktemp("page") / "report.html"
    found = make_report(out, *(runs / name for name in ("pit", "other", "begun")))
    return out.read_text(), found


def test_a_page_has_a_section_for_each_run_and_a_comparison(three):
    assert set(three[1].sections) == {"", "comparison", "run-1", "run-2", "run-3"}
    for name, run in (("run-1", "pit"), ("run-2", "other"), ("run-3", "begun")):
        assert three[1].sections[name].strip().startswith(run)


def test_a_page_has_no_external_references_and_forbids_them(three):
    text, found = three
    assert {each for each in found.references if not each.startswith("#")} == set()
    assert {"script", "link", "iframe", "object"}.isdisjoint(found.tags)
    assert "content=\"default-src 'none'; " in text and "@import" not in text


def test_every_internal_reference_has_one_target(three):
    found = three[1]
    assert [name for name, count in Counter(found.ids).items() if count > 1] == []
    goals = {each.removeprefix("#") for each in found.references}
    assert goals == {"comparison", "run-1", "run-2", "run-3"} and goals <= set(found.ids)


def test_figures_are_embedded_for_light_and_dark_pages(three):
    text, found = three
    assert found.tags["img"] == found.tags["source"] == sum(map(len, found.figures.values())) == 11
    for image in re.findall(
        r'<source media="\(prefers-color-scheme: dark\)" srcset="(.*?)">', text
    ):
        assert page.ON_DARK in decode(image) and page.INK not in decode(image)
    for drawing in (each for figures in found.figures.values() for each in figures):
        assert page.ON_LIGHT in drawing and page.ON_DARK not in drawing
        ElementTree.fromstring(drawing)


def test_numbers_agree_with_the_files(runs, three):
    summary = json.loads((runs / "pit" / "summary.json").read_text())
    section = three[1].sections["run-1"]
    for number in (
        f"{summary['last_accuracy']:.2%}",
        f"{summary['best_accuracy']:.2%} (epoch {summary['best_epoch']})",
        f"{summary['parameters']:,}",
        f"{summary['seconds']:,.0f} s",
        "2 of 2",
        "T=2 D=4",
    ):
        assert number in section and number in three[1].cells
    (start,) = json.loads((runs / "pit" / "environment.json").read_text())
    assert {start["commit"], start["jax"], start["processor"]} <= set(three[1].cells)


def test_layers_are_shown_with_rates_and_scales(runs, three):
    section, figures = three[1].sections["run-1"], three[1].figures["run-1"]
    for layer in json.loads((runs / "pit" / "summary.json").read_text())["rates"]:
        # In the tables of scales and of health, and in three figures.
        assert len(re.findall(rf"(?<!/){layer}", section)) == 2
        assert sum(layer in figure for figure in figures) == 3
    for heading in ("Loss and accuracy", "Throughput", "Firing rates", "Scales a", "Health"):
        assert heading in section


def test_the_comparison_has_only_the_keys_that_differ(three):
    cells = three[1].cells
    at = cells.index("learning_rate")
    assert cells[at + 1 : at + 4] == ["0.1", "0.025", "0.1"]
    compared = three[1].sections["comparison"].split("Config keys that differ")[1]
    assert "learning_rate" in compared and "batch_size" not in compared


def test_runs_with_the_same_config_are_reported(runs, tmp_path):
    shutil.copytree(runs / "begun", tmp_path / "copy")
    found = make_report(tmp_path / "a.html", tmp_path / "copy", runs / "begun")
    assert "All runs have the same config." in found.sections["comparison"]


def test_a_run_without_epochs_is_shown(three):
    section = three[1].sections["run-3"]
    assert "not finished" in section and "0 of 2" in section
    assert "Loss and accuracy" not in section and "learning_rate" in section


def test_a_stopped_run_shows_its_epochs(runs, tmp_path):
    shutil.copytree(runs / "pit", tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    file = tmp_path / "run" / "metrics.jsonl"
    first, _ = (line for line in file.read_text().splitlines() if "test_accuracy" in line)
    file.write_text(f'{first}\n{{"step": 5, "epo')  # Killed while it wrote.
    for folder in ("last", "best"):
        step = str(find_newest_step(tmp_path / "run", folder))
        shutil.rmtree(tmp_path / "run" / folder / step)
    section = make_report(tmp_path / "a.html", tmp_path / "run").sections["run-1"]
    assert f"{json.loads(first)['test_accuracy']:.2%}" in section and "1 of 2" in section
    assert "Loss and accuracy" in section and "Scales a" in section


def test_records_of_steps_may_lack_keys(runs, tmp_path):
    shutil.copytree(runs / "pit", tmp_path / "run")
    file = tmp_path / "run" / "metrics.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    steps = [{"step": step, "train_loss": 1.0} for step in (1, 2)]
    file.write_text("".join(f"{json.dumps(each)}\n" for each in (*steps, *records)))
    (tmp_path / "run" / "summary.json").unlink()
    section = make_report(tmp_path / "a.html", tmp_path / "run").sections["run-1"]
    assert f"{records[-1]['test_accuracy']:.2%}" in section and "2 of 2" in section


def test_initial_scales_are_shown_with_the_last_ones(runs, tmp_path, no_figures):
    shutil.copytree(runs / "pit", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "first")
    said = "and at the start"
    assert said not in make_report(tmp_path / "a.html", tmp_path / "run").sections["run-1"]
    shutil.copytree(runs / "pit" / "first", tmp_path / "run" / "first")
    assert said in make_report(tmp_path / "a.html", tmp_path / "run").sections["run-1"]


def test_evaluations_of_a_run_are_listed(runs, tmp_path):
    shutil.copytree(runs / "begun", tmp_path / "run")
    (tmp_path / "run" / "evaluation").mkdir()
    found = {"checkpoint": "best", "step": 3, "split": "test", "images": 40, "accuracy": 0.125}
    (tmp_path / "run" / "evaluation" / "best_test.json").write_text(json.dumps(found))
    cells = make_report(tmp_path / "a.html", tmp_path / "run").cells
    at = cells.index("best_test.json")
    assert cells[at + 1 : at + 5] == ["best, step 3", "test", "40", "12.50%"]


def test_html_in_names_is_shown_as_text(runs, tmp_path):
    name = "<script>alert(1)</script> & $x$ #010203"
    workdir, plain = tmp_path / "a" / name.replace("/", "_"), tmp_path / "plain"
    for folder in (workdir, plain):
        folder.mkdir(parents=True)
        # Few figures: curves and images/s.
        epochs = [
            {key: value for key, value in json.loads(line).items() if key != "health"}
            for line in (runs / "pit" / "metrics.jsonl").read_text().splitlines()
        ]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in epochs))
    shutil.copy(runs / "pit" / "config.json", plain)
    config = json.loads((runs / "pit" / "config.json").read_text())
    config["data"]["data_dir"] = '"><img src=x onerror=alert(1)>'
    (workdir / "config.json").write_text(json.dumps(config))
    found = make_report(tmp_path / "a.html", workdir, plain)
    assert found.tags["script"] == 0 and "x" not in found.references
    assert '"><img src=x onerror=alert(1)>' in found.cells
    assert found.sections["comparison"].count(workdir.name) == 3  # In two tables.
    (curves,) = found.figures["comparison"]
    assert escape(workdir.name, quote=False) in curves  # In the legend.


def test_runs_with_the_same_name_are_shown_with_their_paths(runs, tmp_path):
    shutil.copytree(runs / "begun", tmp_path / "begun")
    found = make_report(tmp_path / "a.html", runs / "begun", tmp_path / "begun")
    assert found.sections["run-1"].strip().startswith(str(runs / "begun"))


def test_a_report_does_not_change_the_folder_of_a_run(runs, tmp_path, no_figures):
    before = read_contents(runs / "pit")
    make_report(tmp_path / "a.html", runs / "pit")
    assert read_contents(runs / "pit") == before


def test_the_same_run_has_the_same_section_and_figures(runs, three, tmp_path):
    found = make_report(tmp_path / "a.html", runs / "pit")
    assert found.sections["run-1"].split() == three[1].sections["run-1"].split()
    assert found.figures["run-1"] == three[1].figures["run-1"] and found.figures["run-1"]


@pytest.mark.slow
def test_the_same_runs_have_the_same_page(runs, three, tmp_path):
    make_report(tmp_path / "a.html", *(runs / name for name in ("pit", "other", "begun")))
    assert (tmp_path / "a.html").read_text() == three[0]


def test_only_pages_of_the_program_are_replaced(runs, tmp_path, capsys):
    out = tmp_path / "report.html"
    make_report(out, runs / "begun")
    first = out.read_text()
    make_report(out, runs / "begun")
    assert out.read_text() == first and first.startswith(mark_page("report"))
    out.write_text("<html>mine</html>")
    assert main(["report", str(runs / "begun"), "--out", str(out)]) == 2
    assert "exists and is not a page of train.report" in capsys.readouterr().err
    assert out.read_text() == "<html>mine</html>"


@pytest.mark.parametrize(
    "name, text, complaint",
    [
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", "[]", "config.json is not a JSON dict"),
        ("summary.json", "not JSON", "summary.json cannot be read"),
        ("environment.json", "{}", "environment.json is damaged (it is not a JSON list"),
        ("metrics.jsonl", "{}\nnonsense\n", "metrics.jsonl is damaged"),
    ],
)
def test_a_damaged_file_is_named(runs, tmp_path, capsys, name, text, complaint):
    shutil.copytree(runs / "pit", tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "a.html")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and complaint in message and "Traceback" not in message
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    "args, complaint",
    [
        ([], "give the folder of a run: RUN; see --help"),
        (["nowhere"], "nowhere is not the folder of a run: it has no config.json"),
        (["--verbose", "x"], "there is no option --verbose"),
    ],
)
def test_a_wrong_command_is_refused_with_the_reason(args, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *args]) == 2
    assert complaint in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_help_shows_the_usage(capsys):
    assert main(["report", "--help"]) == 0
    assert "usage: python -m train.report [-h] [--workdir DIR [DIR ...]]" in capsys.readouterr().out
