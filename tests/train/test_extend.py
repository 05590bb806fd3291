"""`config.extend` trains a finished run further, with the bits of an uninterrupted extension."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.train.helpers import (
    assert_same_end,
    get_bits,
    limit_devices,
    load_newest_state,
    load_records,
    make_program_on,
    run_main,
    stop_after,
)
from tests.train.tiny import EPOCHS, STEPS_PER_EPOCH, get_config
from train.config.limits import count_epochs
from train.errors import UserError
from train.ledger import make_table
from train.ledger import read_run as read_for_ledger
from train.loop import train
from train.program.optim import add_extensions, cosine
from train.program.program import Program
from train.run.reading import load_run_config
from train.seeds.loop import train_seeds

pytestmark = pytest.mark.usefixtures("no_figures")
# The fewest epochs after which an extension can be killed within one and between two.
MORE = 2


def extend(*epochs: int):
    """Return the tiny config with `--config.extend` as given."""
    config = get_config()
    with config.unlocked():
        config.extend = epochs[0] if len(epochs) == 1 else epochs
    return config


@pytest.fixture(scope="module")
def program() -> Program:
    """Return the program of the extended run on one device; all tests share its compiled step."""
    return make_program_on(1, extend(MORE))


@pytest.fixture(scope="module")
def finished(program, tmp_path_factory) -> Path:
    """Return the folder of the finished run before its extension, for reading only."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    # Until its end, the run has the same schedule as the extended one.
    assert train(get_config(), workdir, program=program) is not None
    return workdir


@pytest.fixture(scope="module")
def extended(program, finished, tmp_path_factory) -> Path:
    """Return the folder of the run after its extension without interruption, for reading only."""
    workdir = shutil.copytree(finished, tmp_path_factory.mktemp("extended") / "run")
    assert train(extend(MORE), workdir, program=program) is not None
    return workdir


def copy(workdir: Path, folder: Path) -> Path:
    return shutil.copytree(workdir, folder / "run")


def get_error(config, workdir: Path) -> str:
    with pytest.raises(UserError) as error:
        train(config, workdir)
    return str(error.value)


def test_the_learning_rate_restarts_at_a_tenth_and_falls_as_a_cosine():
    whole = cosine(0.4, steps=20, warmup_steps=5, end=0.002)
    longer = add_extensions(whole, 0.4, [20, 30, 50], end=0.002)
    rates = np.array([longer(step) for step in range(50)])
    assert np.array_equal(rates[:20], [whole(step) for step in range(20)])
    assert rates[[20, 30]] == pytest.approx([0.04, 0.04]) and rates[25] == pytest.approx(0.021)
    assert (np.diff(rates[20:30]) < 0).all() and (np.diff(rates[30:]) < 0).all()
    assert longer(50) == pytest.approx(0.002) and rates[29] < rates[40] < rates[30]
    # The end of the schedule may be above the restart, where the rate then stays.
    assert add_extensions(whole, 0.4, [20, 30], end=0.1)(25) == pytest.approx(0.04)
    assert add_extensions(whole, 0.4, [20]) is whole


def test_an_extension_continues_the_run_and_its_records_say_so(finished, extended):
    was, now = load_records(finished), load_records(extended)
    assert now[: len(was)] == was
    assert [record["epoch"] for record in now] == list(range(1, EPOCHS + MORE + 1))
    config = json.loads((extended / "config.json").read_text())
    assert config == json.loads((finished / "config.json").read_text()) | {"extend": MORE}
    assert json.loads((extended / "summary.json").read_text())["epochs"] == EPOCHS + MORE
    earlier = (extended / f"summary_{EPOCHS}.json").read_text()
    assert earlier == (finished / "summary.json").read_text() and "epochs" not in earlier
    starts = json.loads((extended / "environment.json").read_text())
    assert [start["step"] for start in starts] == [0, EPOCHS * STEPS_PER_EPOCH]
    assert count_epochs(load_run_config(extended)) == EPOCHS + MORE
    recorded = read_for_ledger(extended)
    assert recorded["config"]["extend"] == MORE and len(recorded["epochs"]) == EPOCHS + MORE


def test_the_table_of_results_counts_the_epochs_of_an_extension(extended, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(read_for_ledger(extended)))
    assert f"| {EPOCHS + MORE} | [0](runs/run.json) |" in make_table(tmp_path)


@pytest.mark.parametrize("steps", [1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 2])
def test_a_stopped_extension_resumes_with_the_same_bits(
    finished, extended, program, tmp_path, capsys, steps
):
    run = copy(finished, tmp_path)
    assert train(extend(MORE), run, stop_after(steps), program=program) is None
    assert "from epoch 2 to 4; the learning rate restarts at 0.01." in capsys.readouterr().err
    assert not (run / "summary.json").exists()
    assert train(extend(MORE), run, program=program) is not None
    assert "note: " not in capsys.readouterr().err
    assert_same_end(extended, run, program)
    assert (run / f"summary_{EPOCHS}.json").read_text() == (finished / "summary.json").read_text()


def test_an_extension_that_was_killed_before_its_first_step_begins_again(
    finished, extended, program, tmp_path
):
    run = copy(finished, tmp_path)
    # A kill between the two: the config is written, and the old summary is still there.
    shutil.copy(extended / "config.json", run / "config.json")
    assert train(extend(MORE), run, program=program) is not None
    assert_same_end(extended, run, program)


@pytest.mark.parametrize("config", [extend(MORE), get_config()])
def test_the_same_command_again_changes_nothing(extended, program, tmp_path, capsys, config):
    run = copy(extended, tmp_path)
    idle = program._replace(compile_step=lambda: pytest.fail("there is no step to train"))
    assert train(config, run, program=idle) is not None
    note = "has finished its 4 epochs; to extend it further, give --config.extend with more than 2."
    assert note in capsys.readouterr().err
    assert_same_end(extended, run, program)
    for name in ("config.json", "environment.json", "metrics.jsonl"):
        assert (run / name).read_bytes() == (extended / name).read_bytes()


def test_extensions_in_a_row_restart_the_learning_rate_each_time(extended, tmp_path):
    run = copy(extended, tmp_path)
    second = make_program_on(1, extend(MORE, MORE + 1))
    assert train(extend(MORE + 1), run, program=second) is not None
    assert json.loads((run / "config.json").read_text())["extend"] == [MORE, MORE + 1]
    assert load_records(run)[-1]["epoch"] == EPOCHS + MORE + 1
    names = {path.name for path in run.glob("summary*.json")}
    assert names == {"summary.json", f"summary_{EPOCHS}.json", f"summary_{EPOCHS + MORE}.json"}
    before = get_bits(load_newest_state(run, second))
    for config in (extend(MORE + 1), extend(MORE), extend(MORE, MORE + 1)):
        assert train(config, run, program=second) is not None
    assert get_bits(load_newest_state(run, second)) == before
    assert f"with --config.extend={MORE + 1}, or give a larger number." in get_error(extend(1), run)


def test_a_run_that_has_not_finished_is_not_extended(finished, program, tmp_path, monkeypatch):
    run = tmp_path / "run"
    error = get_error(extend(MORE), run)
    assert error == (
        f"config.extend trains a finished run for more epochs, and {run} has no run. Train it "
        "first, without config.extend."
    )
    assert not run.exists()
    assert train(get_config(), run, stop_after(4), program=program) is None
    how = "Repeat the command without config.extend first."
    assert get_error(extend(MORE), run) == f"{run} has not finished its 2 epochs. {how}"
    run = copy(finished, tmp_path / "other")
    assert train(extend(MORE), run, stop_after(1), program=program) is None
    how = f"Repeat the command with --config.extend={MORE} first."
    for config in (extend(MORE + 1), get_config()):
        assert get_error(config, run) == f"{run} has not finished its 4 epochs. {how}"
    assert "has no run. Train it first" in str(
        pytest.raises(UserError, train_seeds, extend(1), [0], tmp_path / "seeds").value
    )


@pytest.mark.parametrize("config", [extend(MORE), get_config()])
def test_more_epochs_of_a_finished_run_name_the_key(finished, extended, tmp_path, capsys, config):
    config.epochs = 9
    run = copy(extended if "extend" in config else finished, tmp_path)
    error = get_error(config, run)
    assert "epochs: 2 saved, 9 given" in error and "for more epochs" in error
    assert error.endswith("when it has finished, give --config.extend.")
    assert "has finished its" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "epochs, message",
    [
        ((-1,), "config.extend must be at least 0, got -1."),
        ((5, 5), "config.extend must rise, as in (10, 20), got (5, 5): each number counts"),
    ],
)
def test_numbers_that_do_not_count_epochs_are_refused(epochs, message, tmp_path):
    assert get_error(extend(*epochs), tmp_path / "run").startswith(message)


def test_the_flag_extends_and_the_saved_config_repeats_it(finished, extended, tmp_path, capsys):
    run = str(copy(finished, tmp_path))
    with limit_devices(1):
        words = ("--config", "tests/train/tiny.py", "--config.cpu_devices=4", run)
        assert run_main(*words, f"--config.extend={MORE}") == 0
        assert "note: extending" in capsys.readouterr().err
        assert run_main("--config", f"{run}/config.json", run) == 0
        assert run_main(*words, "--config.extend=many") == 2
    error = capsys.readouterr().err
    assert "config.extend must be a whole number or a tuple" in error
    assert load_records(Path(run)) == load_records(extended)
