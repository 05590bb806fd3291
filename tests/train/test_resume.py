"""A run that is stopped or killed and started again ends with the bits of one that was not."""

import functools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.helpers import (
    TINY,
    bits,
    end_once,
    reached,
    records,
    runs_on,
    saved,
    start_main,
    steps_saved,
    stop_after,
)
from tests.train.tiny import EPOCHS, STEPS_PER_EPOCH, get_config
from train import data
from train.checkpoint import Checkpoints
from train.loop import train
from train.program import Program, make_program
from train.summary import Summary

STEPS = EPOCHS * STEPS_PER_EPOCH


@pytest.fixture(scope="module", autouse=True)
def one_device() -> Iterator[None]:
    """As the config says and as the processes have it."""
    with runs_on(1):
        yield


@pytest.fixture(scope="module")
def program() -> Program:
    """The program of the tiny config; its step is compiled once for all tests."""
    program = make_program(get_config(), data.load(**get_config().data))
    return program._replace(compile_step=functools.cache(program.compile_step))


@pytest.fixture
def shared(program, monkeypatch) -> Program:
    """Makes `train` take that program, so that it does not compile again."""

    def take(config, dataset) -> Program:
        assert config.to_dict() == get_config().to_dict()
        return program

    monkeypatch.setattr("train.loop.make_program", take)
    return program


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, Summary]:
    """A run that was not stopped, in a program of its own."""
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    summary = train(get_config(), workdir)
    assert summary is not None
    return workdir, summary


def assert_ended_alike(one: Path, other: Path, program: Program) -> None:
    states = [bits(saved(workdir, program)) for workdir in (one, other)]
    assert len(states[0]) > 30
    assert [path for path in states[0] if states[0][path] != states[1][path]] == []
    assert records(one) == records(other)
    assert reached(one) == reached(other)
    assert steps_saved(one, "best") == steps_saved(other, "best")


def test_two_uninterrupted_runs_end_with_the_same_bits(uninterrupted, shared, tmp_path):
    assert train(get_config(), tmp_path / "run") is not None
    assert_ended_alike(uninterrupted[0], tmp_path / "run", shared)


def test_an_epoch_leaves_nothing_of_its_totals_to_the_next(uninterrupted, program):
    totals = saved(uninterrupted[0], program).totals
    assert {name: total.item() for name, total in totals.items()} == dict.fromkeys(totals, 0)


@pytest.mark.parametrize("steps", [0, 1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, STEPS - 1])
def test_a_run_stopped_after_some_steps_goes_on_as_if_it_had_not(
    uninterrupted, shared, tmp_path, steps
):
    assert train(get_config(), tmp_path, stop=stop_after(steps)) is None
    assert max(steps_saved(tmp_path)) == steps
    assert not (tmp_path / "summary.json").exists()
    assert bits(saved(tmp_path, shared)) != bits(saved(uninterrupted[0], shared))
    assert train(get_config(), tmp_path) is not None
    assert_ended_alike(uninterrupted[0], tmp_path, shared)


@pytest.mark.slow
def test_a_run_stopped_after_every_step_ends_as_if_it_had_not(uninterrupted, shared, tmp_path):
    for step in range(1, STEPS):
        assert train(get_config(), tmp_path, stop=stop_after(1)) is None
        assert max(steps_saved(tmp_path)) == step
    assert train(get_config(), tmp_path) is not None
    assert_ended_alike(uninterrupted[0], tmp_path, shared)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(STEPS))
@pytest.mark.parametrize("second", [0, 1, 2])
def test_a_run_stopped_twice_ends_as_if_it_had_not(uninterrupted, shared, tmp_path, first, second):
    train(get_config(), tmp_path, stop=stop_after(first))
    train(get_config(), tmp_path, stop=stop_after(second))
    assert train(get_config(), tmp_path) is not None
    assert_ended_alike(uninterrupted[0], tmp_path, shared)


def test_a_stop_after_the_last_step_is_no_stop(shared, tmp_path):
    assert train(get_config(), tmp_path, stop=stop_after(STEPS)) is not None


def test_a_finished_run_started_again_trains_nothing_and_says_the_same(
    uninterrupted, program, monkeypatch, capsys
):
    workdir, summary = uninterrupted

    def written() -> tuple:
        files = [(workdir / name).read_text() for name in ("metrics.jsonl", "environment.json")]
        return bits(saved(workdir, program)), *files

    before = written()

    def compile_step() -> None:
        raise AssertionError("a finished run has no step to compile")

    monkeypatch.setattr(
        "train.environment.describe", lambda: {"commit": "that of this second start"}
    )
    monkeypatch.setattr(
        "train.loop.make_program", lambda *_: program._replace(compile_step=compile_step)
    )
    assert train(get_config(), workdir) == summary
    printed = capsys.readouterr().out
    assert f"test accuracy, last epoch │ {summary.last_accuracy:.2%}" in printed
    assert written() == before


def test_what_a_killed_run_recorded_beyond_its_checkpoint_comes_anew(
    uninterrupted, shared, tmp_path
):
    train(get_config(), tmp_path, stop=stop_after(STEPS_PER_EPOCH + 1))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": STEPS, "epoch": 2, "train_loss": 0.0}) + "\n")
        file.write('{"step": 9, "epo')  # Killed while it wrote.
    train(get_config(), tmp_path)
    assert_ended_alike(uninterrupted[0], tmp_path, shared)


def test_a_run_killed_between_its_two_checkpoints_ends_as_if_it_had_not(
    uninterrupted, shared, tmp_path, monkeypatch
):
    def die(*_) -> None:
        raise KeyboardInterrupt

    save = Checkpoints._save
    with monkeypatch.context() as patch:
        patch.setattr(
            "train.checkpoint.Checkpoints._save",
            lambda self, name, *args: (die if name == "last" else save)(self, name, *args),
        )
        with pytest.raises(KeyboardInterrupt):
            train(get_config(), tmp_path)
    assert steps_saved(tmp_path, "best") == [STEPS_PER_EPOCH] and steps_saved(tmp_path) == []
    assert train(get_config(), tmp_path) is not None
    assert_ended_alike(uninterrupted[0], tmp_path, shared)


def test_a_process_killed_then_terminated_then_left_alone_ends_with_the_same_bits(tmp_path):
    """SIGKILL at any moment after the first checkpoint, SIGTERM in the second life."""
    arguments = ("--config", TINY, "--config.epochs=20", "--workdir", str(tmp_path / "run"))
    last = functools.partial(max, default=0)

    def has_saved_beyond(step: int) -> bool:
        return last(steps_saved(tmp_path / "run")) > step

    code, printed = end_once(start_main(*arguments), lambda: has_saved_beyond(0), signal.SIGKILL)
    assert code == -signal.SIGKILL, printed
    assert not (tmp_path / "run" / "summary.json").exists()

    reached_step = last(steps_saved(tmp_path / "run"))
    code, printed = end_once(
        start_main(*arguments), lambda: has_saved_beyond(reached_step), signal.SIGTERM
    )
    assert code == 0, printed
    assert "stopped and saved; the same command goes on from here." in printed
    assert last(steps_saved(tmp_path / "run")) > reached_step
    assert not (tmp_path / "run" / "summary.json").exists()

    process = start_main(*arguments)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "test accuracy, last epoch" in printed

    config = get_config()
    config.epochs = 20
    train(config, tmp_path / "uninterrupted")
    program = make_program(config, data.load(**config.data))
    assert_ended_alike(tmp_path / "uninterrupted", tmp_path / "run", program)
