"""The table in docs/results.md comes from recorded runs."""

import json
import shutil
from pathlib import Path

import pytest

from train.errors import UserError
from train.ledger import DOCS, END, HEADER, START, main, make_table, read_run, replace_table

LINE = {"train_loss": 1.0, "train_accuracy": 0.5, "test_loss": 1.0, "test_accuracy": 0.5}


def run(seed: int, last: float, **config) -> dict:
    """Return what the ledger stores of a run with two epochs."""
    return {
        "config": {
            "seed": seed,
            "data": {"name": "digits"},
            "model": {"name": "resnet8"},
            "neuron": {"name": "PIT", "levels": 4},
            "num_steps": 1,
            "epochs": 2,
        }
        | config,
        "environment": [{"commit": "abc", "arguments": "--config c.py"}],
        "summary": {
            "last_accuracy": last,
            "best_accuracy": last + 0.01,
            "best_epoch": 1,
            "parameters": 77000,
            "scales": 240,
            "seconds": 10.0 + seed,
        },
        "epochs": [
            LINE | {"step": step, "epoch": step, "images_per_second": speed}
            for step, speed in ((1, 100.0), (2, 300.0))
        ],
    }


def test_the_results_page_has_the_table_of_the_recorded_runs():
    page = (DOCS / "results.md").read_text()
    assert page.partition(START)[2].partition(END)[0] == make_table(DOCS / "runs")


def test_a_recorded_run_has_no_seed_flag_and_no_paths(tmp_path):
    places = f"--workdir '{tmp_path} b' --config.data.data_dir=/a"
    arguments = f"--config c.py --config.seed=0 {places} --config.lr=1"
    folder = write_run(tmp_path / "a", arguments, data={"name": "digits", "data_dir": "/a"})
    commands = [{"arguments": "--config c.py --config.lr=1", "commit": "abc"}]
    assert read_run(folder) == run(0, 0.9) | {"environment": commands}


def test_runs_that_differ_only_in_their_seed_share_a_row(tmp_path):
    for seed, last in ((0, 0.90), (1, 0.92), (2, 0.94)):
        (tmp_path / f"a run {seed}.json").write_text(json.dumps(run(seed, last)))
    (tmp_path / "other.json").write_text(json.dumps(run(0, 0.5, epochs=3)))
    one, three = make_table(tmp_path).removeprefix(HEADER).splitlines()
    # Mean 92, deviations -2, 0 and 2: sd = sqrt(8 / 2) = 2.
    assert one == (
        "| digits | resnet8, 77 k | PIT | T=1 D=4 | 2 | [0](runs/a%20run%200.json) "
        "[1](runs/a%20run%201.json) [2](runs/a%20run%202.json) | 92.00 ± 2.00 | 93.00 ± 2.00 "
        "| 11 | 200 | abc | `--config c.py` |"
    )
    assert three.split(" | ")[4:8] == ["3", "[0](runs/other.json)", "50.00", "51.00"]


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """Return an empty docs/ that the program writes to."""
    folder = tmp_path / "docs"
    (folder / "runs").mkdir(parents=True)
    (folder / "results.md").write_text(f"{START}{END}\n")
    monkeypatch.setattr("train.ledger.DOCS", folder)
    return folder


def write_run(folder: Path, arguments: str = "--config c.py", **config) -> Path:
    """Write the files of a finished run."""
    kept = run(0, 0.9, **config)
    folder.mkdir(parents=True)
    starts = [{"arguments": arguments, "commit": "abc"}]
    summary = kept["summary"] | {"workdir": str(folder)}
    for name, found in (("config", kept["config"]), ("environment", starts), ("summary", summary)):
        (folder / f"{name}.json").write_text(json.dumps(found))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(e)}\n" for e in kept["epochs"]))
    return folder


def test_another_run_in_a_folder_of_the_same_name_is_refused_and_keeps_its_file(
    docs, tmp_path, capsys
):
    first, other = write_run(tmp_path / "a" / "x"), write_run(tmp_path / "b" / "x", epochs=3)
    assert main(["ledger", str(first)]) == 0
    before = (docs / "runs" / "x.json").read_text()
    assert main(["ledger", str(first)]) == 0  # The same run again.
    assert main(["ledger", str(other)]) == 2
    assert "x.json has another run" in capsys.readouterr().err
    third = write_run(tmp_path / "y")
    assert main(["ledger", str(third), str(first), str(other)]) == 2
    assert (docs / "runs" / "x.json").read_text() == before
    assert not (docs / "runs" / "y.json").exists()


def test_the_same_config_trained_again_never_replaces_the_first_run(docs, tmp_path, capsys):
    first, again = write_run(tmp_path / "a" / "x"), write_run(tmp_path / "b" / "x")
    lines = (again / "metrics.jsonl").read_text()
    (again / "metrics.jsonl").write_text(lines.replace("100.0", "101.0"))
    assert main(["ledger", str(first)]) == 0
    before = (docs / "runs" / "x.json").read_text()
    assert main(["ledger", str(again)]) == 2
    assert "x.json has another run" in capsys.readouterr().err
    assert (docs / "runs" / "x.json").read_text() == before


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"config": 1}', "null"])
def test_a_damaged_recorded_run_is_named_and_nothing_is_written(docs, tmp_path, capsys, content):
    (docs / "runs" / "old.json").write_text(content)
    page = (docs / "results.md").read_text()
    assert main(["ledger", str(write_run(tmp_path / "x"))]) == 2
    error = capsys.readouterr().err
    assert "old.json" in error and len(error.splitlines()) == 1
    assert (docs / "results.md").read_text() == page
    assert [file.name for file in (docs / "runs").iterdir()] == ["old.json"]


@pytest.mark.parametrize("text", ["mine", f"{START} mine", f"{END} mine {START} mine"])
def test_a_page_without_the_lines_around_the_table_keeps_its_text(docs, tmp_path, capsys, text):
    (docs / "results.md").write_text(text)
    assert main(["ledger", str(write_run(tmp_path / "x"))]) == 2
    assert "results.md lacks the lines around its table" in capsys.readouterr().err
    assert (docs / "results.md").read_text() == text
    assert not any((docs / "runs").iterdir())


def test_a_run_given_as_the_current_folder_has_its_name(docs, tmp_path, monkeypatch):
    monkeypatch.chdir(write_run(tmp_path / "mine"))
    assert main(["ledger", "."]) == 0
    assert [file.name for file in (docs / "runs").iterdir()] == ["mine.json"]


def test_commands_with_bars_newlines_and_backticks_stay_in_their_cell(tmp_path):
    odd = run(0, 0.9)
    odd["environment"][0]["arguments"] = "--config.data.name='a|b\n`c`'"
    (tmp_path / "0.json").write_text(json.dumps(odd))
    (row,) = make_table(tmp_path).removeprefix(HEADER).splitlines()
    assert row.replace(r"\|", "").count("|") == 13
    assert r"`` --config.data.name='a\|b\n`c`' `` |" in row


def test_a_new_table_replaces_the_old_one_and_keeps_the_text_around_it():
    page = f"before\n{START}| old |\n{END}\nafter\n"
    assert replace_table(page, "| new |\n") == f"before\n{START}| new |\n{END}\nafter\n"


def test_an_unfinished_run_is_refused_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    shutil.copytree(DOCS, tmp_path / "docs")
    monkeypatch.setattr("train.ledger.DOCS", tmp_path / "docs")
    folder = write_run(tmp_path / "a")
    (folder / "summary.json").unlink()
    with pytest.raises(UserError, match="is not the folder of a finished run"):
        read_run(folder)
    before = (tmp_path / "docs" / "results.md").read_text()
    assert main(["ledger", str(folder)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err
    assert (tmp_path / "docs" / "results.md").read_text() == before
