"""Any file of a run may be lost or damaged: it is restored with a line, or the run is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.helpers import (
    get_bits,
    load_newest_state,
    load_records,
    make_program_on,
    stop_after,
)
from tests.train.tiny import get_config
from train.errors import UserError
from train.evaluate.measure import evaluate
from train.loop import train
from train.program.program import Program
from train.report.sections import read_run
from train.run.reading import load_run_config, read_run_records, read_starts
from train.run.restore import load_scales, load_variables

pytestmark = pytest.mark.usefixtures("no_figures")

# Within the last epoch, so that health.npz has counts which the run cannot compute again.
STOPPED_AFTER = 5
FILES = ("config.json", "data.json", "environment.json", "metrics.jsonl", "health.npz", "lock")
CHECKPOINT = ("manifest.json", "_CHECKPOINT_METADATA", "progress/metadata", "state/manifest.ocdbt")
HARMS: dict[str, Callable[[Path], object]] = {
    "deleted": lambda file: None,
    "empty": Path.touch,
    "other JSON": lambda file: file.write_text('{"a": [1]}'),
    "a list": lambda file: file.write_text("[]\n"),
    "deep JSON": lambda file: file.write_text("[" * 100_000),
    "binary": lambda file: file.write_bytes(bytes(range(256))),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "a dangling link": lambda file: file.symlink_to("/nowhere/file"),
    "a loop": lambda file: file.symlink_to(file.name),
}


@pytest.fixture(scope="module")
def program() -> Program:
    """Return a program whose step is compiled once for all tests."""
    return make_program_on(1, get_config())


@pytest.fixture(scope="module")
def stopped(program, tmp_path_factory) -> Path:
    """Return a run that was stopped, for reading only."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    assert train(get_config(), workdir, stop=stop_after(STOPPED_AFTER), program=program) is None
    return workdir


@pytest.fixture(scope="module")
def undisturbed(stopped, program) -> Path:
    """Return the run after it was resumed and has finished, for reading only."""
    workdir = shutil.copytree(stopped, stopped.with_name("undisturbed"))
    train(get_config(), workdir, program=program)
    return Path(workdir)


@pytest.fixture
def run(stopped, tmp_path) -> Path:
    """Return a copy of the stopped run that the test may damage."""
    return shutil.copytree(stopped, tmp_path / "run")


def harm(file: Path, how: str) -> None:
    """Replace a file or folder by something else."""
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    HARMS[how](file)


def check_resumed(run: Path, undisturbed: Path, program: Program) -> str:
    """Resume a run; it must end like the undisturbed one, or be refused. Return the refusal."""
    try:
        train(get_config(), run, program=program)
    except UserError as error:
        assert str(run) in str(error) and str(error).count("\n") < 3
        return str(error)
    assert load_records(run) == load_records(undisturbed)
    states = [get_bits(load_newest_state(each, program)) for each in (run, undisturbed)]
    assert states[0] == states[1]
    return ""


@pytest.mark.parametrize("how", ["deleted", "deep JSON", "a folder", "a pipe", "a device"])
@pytest.mark.parametrize("name", FILES)
def test_a_run_resumes_equal_or_is_refused_after_any_damage_to_a_file(
    run, undisturbed, program, name, how
):
    harm(run / name, how)
    check_resumed(run, undisturbed, program)


@pytest.mark.slow
@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize(
    "name",
    [*FILES, "first", "last", "best", "tensorboard", "last/5", "best/3", "first/0"]
    + [f"last/5/{name}" for name in CHECKPOINT],
)
def test_a_run_resumes_equal_or_is_refused_after_any_damage(run, undisturbed, program, name, how):
    if not (run / name).exists():
        pytest.skip("this run has no such file")
    harm(run / name, how)
    check_resumed(run, undisturbed, program)


@pytest.mark.parametrize(
    "name",
    ["config.json.part", "metrics.jsonl.part", "summary.json", "damaged", "every", "rates.png"],
)
@pytest.mark.parametrize("how", ["a folder", "a pipe", "a device"])
def test_something_else_where_a_run_would_write_is_refused_before_it_writes(
    run, program, name, how
):
    if name in ("damaged", "every") and how == "a folder":
        pytest.skip("these are folders")
    if (run / name).exists():
        shutil.rmtree(run / name)
    HARMS[how](run / name)
    before = {path: path.lstat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(UserError, match=f"{name} is not a f"):
        train(get_config(), run, program=program)
    assert {path: path.lstat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(
    "name, change, why",
    [
        ("metrics.jsonl", lambda lines: [], "differs from the lines in the checkpoint"),
        ("metrics.jsonl", lambda lines: lines[:-1], "differs from the lines"),
        ("metrics.jsonl", lambda lines: lines + lines, "differs from the lines"),
        ("metrics.jsonl", lambda lines: [lines[0].replace("1", "2")], "differs from the lines"),
        ("metrics.jsonl", lambda lines: ["{"], "is damaged"),
        ("environment.json", lambda lines: ["[]"], "is older than the checkpoint"),
    ],
)
def test_lost_lines_are_restored_from_the_checkpoint_with_a_message(
    run, undisturbed, program, capsys, name, change, why
):
    lines = (run / name).read_text().splitlines()
    (run / name).write_text("".join(f"{line}\n" for line in change(lines)))
    assert check_resumed(run, undisturbed, program) == ""
    said = f"{run / name} {why}"
    assert said in capsys.readouterr().err
    assert len(json.loads((run / "environment.json").read_text())) == 2


def change_json(file: Path, change: Callable[[dict], object]) -> None:
    """Change a JSON object by hand."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("train"),
        lambda data: data.pop("classes"),
        lambda data: data.pop("num_classes"),
        lambda data: data.clear(),
        lambda data: data["test"].pop("sha256"),
        lambda data: data.update(train=[]),
        lambda data: data.update(mean=[0.25]),
        lambda data: data.update(more=1),
    ],
    ids=range(8),
)
def test_keys_of_a_record_that_were_changed_by_hand_are_restored_from_the_checkpoint(
    run, program, capsys, change
):
    before = (run / "data.json").read_text()
    change_json(run / "data.json", change)
    train(get_config(), run, stop=stop_after(0), program=program)
    said = f"{run / 'data.json'} was changed after it was saved: it is read from last/5"
    assert said in capsys.readouterr().err
    assert (run / "data.json").read_text() == before
    # Removing what would show that the data are others does not help.
    change_json(run / "data.json", change)
    other = program._replace(data=program.data | {"train": {"samples": 100, "sha256": "0"}})
    with pytest.raises(UserError, match="the 100 samples of train have another content"):
        train(get_config(), run, program=other)


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("neuron.decay", 0.25, "neuron.decay: 0.5 saved, 0.25 given"),
        ("epochs", 9, "epochs: 2 saved, 9 given"),
        ("seed", 7, "seed: 0 saved, 7 given"),
        ("learning_rate", 1.0, "learning_rate: 0.1 saved, 1.0 given"),
    ],
)
def test_a_run_does_not_resume_with_a_config_that_was_changed_by_hand(
    run, program, key, value, said
):
    config = get_config()
    config.update_from_flattened_dict({key: value})
    (run / "config.json").write_text(json.dumps(config.to_dict()))
    with pytest.raises(UserError, match=f"(?s)last/5 was saved with another config:.*{said}"):
        train(config, run, program=program)


def test_lines_after_the_checkpoint_are_dropped_without_a_message(
    run, undisturbed, program, capsys
):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "epoch": 2, "loss": 1.0, "accuracy": 0.0}\n')
    assert check_resumed(run, undisturbed, program) == ""
    assert "metrics.jsonl" not in capsys.readouterr().err


def test_records_deleted_during_the_run_are_written_again(program, tmp_path, undisturbed, capsys):
    calls = iter(range(100))

    def lose() -> bool:
        if next(calls) == STOPPED_AFTER:
            (tmp_path / "run" / "metrics.jsonl").unlink()
        return False

    train(get_config(), tmp_path / "run", stop=lose, program=program)
    assert load_records(tmp_path / "run") == load_records(undisturbed)
    assert "was changed during the run" in capsys.readouterr().err


def test_records_older_than_the_checkpoint_are_read_from_it(run, capsys):
    """Check that every program notices a part of a run that was copied later."""
    records = read_run_records(run)
    (run / "metrics.jsonl").write_text("")
    assert read_run_records(run) == records and len(records) == 1
    assert "metrics.jsonl is missing: its entries are read from last/5" in capsys.readouterr().err
    (run / "environment.json").unlink()
    assert len(read_starts(run)) == 1
    assert read_run(run, "run").records == records


def test_a_checkpoint_of_another_config_is_refused(run, program):
    """Copy the checkpoints of another run into a folder."""
    config = json.loads((run / "config.json").read_text())
    config["neuron"]["decay"] = 0.25
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match="(?s)not the config with which .*decay: 0.5 saved, 0.25 given"
    ):
        evaluate(load_run_config(run), run, "last", "test")
    with pytest.raises(UserError, match="belongs to a run with another config"):
        train(get_config(), run, program=program)


@pytest.mark.parametrize("name, step", [("last", 7), ("last", 99), ("best", 6)])
def test_a_checkpoint_with_the_name_of_another_step_is_refused(run, program, name, step):
    newest = max((run / name).iterdir(), key=lambda folder: int(folder.name))
    shutil.copytree(newest, run / name / str(step))
    said = f"{step} has the state of step {newest.name}: it was renamed or copied"
    with pytest.raises(UserError, match=said):
        train(get_config(), run, program=program)
    for read in (load_variables, load_scales):
        with pytest.raises(UserError, match=said):
            read(run, name)


def test_a_lost_checkpoint_of_the_best_epoch_is_reported_at_resume(run, program, capsys):
    shutil.rmtree(run / "best" / "3")
    train(get_config(), run, program=program)
    assert f"the best epoch so far, {run / 'best' / '3'}, is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["deleted", "other JSON", "deep JSON", "a folder", "a device"])
@pytest.mark.parametrize("name", ["config.json", "environment.json", "metrics.jsonl", "data.json"])
def test_programs_read_a_damaged_run_equal_or_refuse_it(run, name, how):
    whole = read_run(run, "run")
    harm(run / name, how)
    try:
        found = read_run(run, "run")
    except UserError as error:
        assert str(run) in str(error) and str(error).count("\n") < 3
    else:
        for part in ("config", "starts", "records"):
            assert getattr(found, part) == getattr(whole, part)
