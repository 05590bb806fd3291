"""The table in docs/results.md comes from recorded runs."""

import json
import shutil

import pytest

from train.errors import UserError
from train.ledger import DOCS, END, HEADER, START, main, make_table, read_run, replace_table


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
            "parameters": 77000,
            "scales": 240,
            "seconds": 10.0 + seed,
        },
        "epochs": [{"test_loss": 1.0, "images_per_second": speed} for speed in (100.0, 300.0)],
    }


def test_the_results_page_has_the_table_of_the_recorded_runs():
    page = (DOCS / "results.md").read_text()
    assert page.partition(START)[2].partition(END)[0] == make_table(DOCS / "runs")


def test_a_recorded_run_has_no_seed_flag_and_no_paths(tmp_path):
    kept = run(0, 0.9)
    config = kept["config"] | {"data": {"name": "digits", "data_dir": "/a"}}
    places = f"--workdir '{tmp_path} b' --config.data.data_dir=/a"
    start = {"arguments": f"--config c.py --config.seed=0 {places} --config.lr=1"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "environment.json").write_text(json.dumps([start]))
    (tmp_path / "summary.json").write_text(json.dumps(kept["summary"] | {"workdir": "/a b"}))
    lines = [json.dumps(epoch) + "\n" for epoch in kept["epochs"]]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    commands = [{"arguments": "--config c.py --config.lr=1"}]
    assert read_run(tmp_path) == kept | {"environment": commands}


def test_runs_that_differ_only_in_their_seed_share_a_row(tmp_path):
    for seed, last in ((0, 0.90), (1, 0.92), (2, 0.94)):
        (tmp_path / f"{seed}.json").write_text(json.dumps(run(seed, last)))
    (tmp_path / "other.json").write_text(json.dumps(run(0, 0.5, epochs=3)))
    one, three = make_table(tmp_path).removeprefix(HEADER).splitlines()
    # Mean 92, deviations -2, 0 and 2: sd = sqrt(8 / 2) = 2.
    assert one == (
        "| digits | resnet8, 77 k | PIT | T=1 D=4 | 2 | 0 1 2 | 92.00 ± 2.00 | 93.00 ± 2.00 "
        "| 11 | 200 | abc | `--config c.py` |"
    )
    assert three.split(" | ")[4:8] == ["3", "0", "50.00", "51.00"]


def test_a_new_table_replaces_the_old_one_and_keeps_the_text_around_it():
    page = f"before\n{START}| old |\n{END}\nafter\n"
    assert replace_table(page, "| new |\n") == f"before\n{START}| new |\n{END}\nafter\n"


def test_an_unfinished_run_is_refused_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    shutil.copytree(DOCS, tmp_path / "docs")
    monkeypatch.setattr("train.ledger.DOCS", tmp_path / "docs")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is not the folder of a finished run"):
        read_run(tmp_path)
    before = (tmp_path / "docs" / "results.md").read_text()
    assert main(["ledger", str(tmp_path)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err
    assert (tmp_path / "docs" / "results.md").read_text() == before
