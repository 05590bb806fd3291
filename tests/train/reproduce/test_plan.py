"""Plans: shared runs, slugs, seeds and rows."""

import json
import shlex
from pathlib import Path

import pytest

from configs.scales import Case
from tests.train.reproduce.tiny import CITED, PIT, SHORT, make_experiment, use_experiments
from train.config.cli import parse
from train.errors import UserError
from train.reproduce.plan import find_slug, make_plan, make_task
from train.reproduce.records import check_code, read_record, read_records, write_run

RUN = {"accuracy": 0.5, "spikes": 0.1, "loss": 1.0, "parameters": 3, "seconds": 1.0}
COMMON = {"label": "a", "config": {"b": 1}, "code": {"sha256": "c"}, "data": {"sha256": "d"}}


def test_a_run_that_two_tables_need_is_planned_once_with_the_seeds_and_measures_of_both(
    monkeypatch, tmp_path
):
    other = PIT._replace(label="the same", seeds=5, measures=("energy",))
    tables = make_experiment(PIT, CITED), make_experiment(other, name="table8")
    use_experiments(monkeypatch, *tables)
    (task,) = make_plan(["all"], "smoke", tmp_path, None, ()).tasks
    assert task.seeds == (0, 1, 2, 3, 4) and task.measures == ("energy",)
    assert task.tables == ("table7", "table8")
    assert task.command.startswith("python -m train.main --config smoke:ours --config.epochs=1 ")
    assert len(make_plan(["all"], "smoke", tmp_path, 3, ()).tasks[0].seeds) == 3


def test_commands_can_be_pasted_into_a_shell():
    frozen = PIT._replace(overrides=(*SHORT, 'freeze=("PIT",)'))
    words = shlex.split(make_task("table7", frozen, 1).command)
    config, _ = parse(["train", *words[3:-1]])
    assert words[-1] == "--config.seed=SEED" and words[:3] == ["python", "-m", "train.main"]
    assert config.freeze == ("PIT",) and config.model.stages == (1,)
    counted = Case("PIT, CIFAR-10, counted", row="PIT", measures=("memory",))
    words = shlex.split(make_task("table5", counted, None).command)
    assert words == ["python", "-m", "train.reproduce", "table5", "--rows", counted.label]


@pytest.mark.parametrize(
    "overrides, same",
    [
        (("seed=7",), True),
        (("data.data_dir=/elsewhere",), True),
        (("data.num_train=100",), False),
        (("learning_rate=0.2",), False),
        (("neuron.levels=2",), False),
    ],
)
def test_the_slug_depends_on_all_of_the_config_but_seed_and_places(overrides, same):
    slug = find_slug("table7", PIT)
    changed = find_slug("table7", PIT._replace(overrides=(*SHORT, *overrides)))
    assert (slug == changed) == same and slug.startswith("smoke-ours-1x4-")


def test_only_missing_runs_and_measures_are_to_do(monkeypatch, tmp_path):
    use_experiments(monkeypatch, make_experiment(PIT))
    slug = find_slug("table7", PIT)
    write_run(tmp_path, slug, COMMON, 0, RUN)
    assert make_plan(["table7"], "smoke", tmp_path, None, ()).todo == {slug: (1,)}
    write_run(tmp_path, slug, COMMON, 1, {"failed": "too hot"})
    assert make_plan(["table7"], "smoke", tmp_path, None, ()).todo == {slug: (1,)}
    use_experiments(monkeypatch, make_experiment(PIT._replace(measures=("energy",))))
    assert make_plan(["table7"], "smoke", tmp_path, None, ()).todo == {slug: (0, 1)}
    write_run(tmp_path, slug, COMMON, 0, RUN | {"measured": ["energy"], "measures": {"pj": 1}})
    assert make_plan(["table7"], "smoke", tmp_path, None, ()).todo == {slug: (1,)}


@pytest.mark.parametrize(
    "made_by, dropped, found",
    [
        (PIT, ("log_every",), True),  # A key that pages did not have then.
        (PIT, ("tensorboard",), False),  # The row sets it.
        (PIT._replace(overrides=(*SHORT, "epochs=2")), (), False),
        # Its config is a part of the row's.
        (PIT._replace(config="smoke:paper"), (), False),
    ],
)
def test_a_record_of_an_older_version_is_found_if_it_only_lacks_new_keys(
    made_by, dropped, found, tmp_path
):
    case = PIT._replace(config="smoke:released") if made_by.config != PIT.config else PIT
    task = make_task("table7", made_by, 1)
    config = {key: value for key, value in task.config.items() if key not in dropped}
    common = COMMON | {"config": config, "command": task.command}
    write_run(tmp_path, "older", common, 0, RUN)
    records = read_records(make_experiment(case), tmp_path)
    assert [record["slug"] for record in records.values()] == ["older"] * found


def test_rows_choose_what_is_trained_and_an_unknown_row_names_the_nearest(monkeypatch, tmp_path):
    use_experiments(monkeypatch, make_experiment(PIT, PIT._replace(label="b", overrides=())))
    assert len(make_plan(["table7"], "smoke", tmp_path, None, ()).tasks) == 2
    (task,) = make_plan(["table7"], "smoke", tmp_path, None, ("b",)).tasks
    assert task.case.label == "b"
    with pytest.raises(UserError, match="there is no row 'PIT tiny'.*'PIT, tiny'"):
        make_plan(["table7"], "smoke", tmp_path, None, ("PIT tiny",))


@pytest.mark.parametrize("name, reason", [("table1", "formulas"), ("table99", "table2, table3")])
def test_other_names_are_refused_with_the_reason(name, reason, tmp_path):
    for names in ([name], ["all", name]):
        with pytest.raises(UserError, match=reason):
            make_plan(names, "smoke", tmp_path, None, ())


def test_records_are_merged_in_the_order_of_seeds_and_names(tmp_path):
    first = RUN | {"measured": ["b"], "measures": {"b": 1}, "seconds": 9.0}
    write_run(tmp_path, "slug", COMMON | {"environment": [{"cores": 2}]}, 10, first)
    write_run(tmp_path, "slug", COMMON | {"environment": [{"cores": 1}]}, 9, RUN)
    again = RUN | {"measured": ["a"], "measures": {"a": 2}, "seconds": 0.1}
    write_run(tmp_path, "slug", COMMON | {"environment": [{"cores": 2}]}, 10, again)
    record = read_record(tmp_path, "slug")
    assert record is not None and record["slug"] == "slug" and list(record["runs"]) == ["9", "10"]
    assert record["environment"] == [{"cores": 1}, {"cores": 2}]
    assert record["runs"]["10"] == RUN | {
        "measured": ["a", "b"],
        "measures": {"a": 2, "b": 1},
        "seconds": 9.0,  # Of the training, not of the later measurement.
    }


def test_a_finished_run_stays_finished_if_a_further_measure_of_it_fails(monkeypatch, tmp_path):
    slug = find_slug("table7", PIT)
    write_run(tmp_path, slug, COMMON, 0, RUN)
    finished = read_record(tmp_path, slug)
    write_run(tmp_path, slug, COMMON, 0, {"failed": "its process ended with SIGKILL 2 times"})
    assert read_record(tmp_path, slug) == finished
    case = PIT._replace(measures=("energy",))
    use_experiments(monkeypatch, make_experiment(PIT), make_experiment(case, name="table3"))
    assert make_plan(["table7"], "smoke", tmp_path, 1, ()).todo == {slug: ()}
    assert make_plan(["table3"], "smoke", tmp_path, 1, ()).todo == {slug: (0,)}


@pytest.mark.parametrize("key", ["config", "code", "data"])
def test_runs_of_other_configs_code_or_data_are_never_mixed(key, tmp_path):
    write_run(tmp_path, "slug", COMMON, 0, RUN)
    with pytest.raises(UserError, match=f"with other {key}"):
        write_run(tmp_path, "slug", COMMON | {key: {"sha256": "other"}}, 1, RUN)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"runs": 5},
        {"runs": {"0": 5}},
        {"runs": {"x": RUN}},
        {"runs": {"0": {"failed": None}}},
        {"runs": {"0": RUN | {"accuracy": "0.5"}}},
        {"runs": {"0": RUN | {"accuracy": float("nan")}}},
        {"runs": {"0": {"accuracy": 0.5}}},
        {"runs": {"0": RUN | {"measures": []}}},
        {"runs": {}, "measures": 5},
        {"runs": {}, "code": "abc"},
    ],
)
def test_a_damaged_record_is_reported(content, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "slug.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="restore it or move it away"):
        read_record(tmp_path, "slug")


@pytest.mark.parametrize(
    "change, page, other",
    [
        ({}, "digits:ours", False),
        ({"commit": "b"}, "digits:ours", True),
        ({"commit": "b"}, "smoke:ours", True),
        ({"sha256": "b"}, "digits:ours", True),
        # Another page imports other modules.
        ({"sha256": "b"}, "smoke:ours", False),
    ],
)
def test_a_folder_with_records_of_other_code_is_refused(change, page, other, tmp_path):
    code = {"commit": "a", "sha256": "a"}
    command = "python -m train.main --config {} --config.epochs=1"
    own = COMMON | {"code": code, "command": command.format("digits:lif")}
    write_run(
        tmp_path, "slug", own | {"code": code | change, "command": command.format(page)}, 0, RUN
    )
    if other:
        with pytest.raises(UserError, match="was made with other code, of commit"):
            check_code(tmp_path, own)
    else:
        check_code(tmp_path, own)


def test_a_folder_without_records_has_none(tmp_path):
    assert read_record(Path(tmp_path), "slug") is None
