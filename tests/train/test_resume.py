"""A run that is stopped or killed and then resumed ends with the bits of an uninterrupted run."""

import contextlib
import gc
import itertools
import json
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pit_jax.signals import Stopped
from tests.train.helpers import (
    assert_same_end,
    get_bits,
    list_saved_steps,
    load_newest_state,
    load_records,
    make_program_on,
    stop_after,
    take_devices,
)
from tests.train.tiny import EPOCHS, STEPS_PER_EPOCH, get_config
from train.errors import UserError
from train.loop import train
from train.program.program import Program
from train.run.summary import Summary

pytestmark = pytest.mark.usefixtures("no_figures")

STEPS = EPOCHS * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def program() -> Program:
    """Return the program of the tiny config on one device; all tests share its compiled step."""
    return make_program_on(1, get_config())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, Summary]:
    """Train without interruption, with a separate program; return the workdir and the summary."""
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    summary = train(get_config(), workdir, devices=take_devices(1))
    assert summary is not None
    return workdir, summary


def test_two_uninterrupted_runs_end_with_the_same_bits(uninterrupted, program, tmp_path):
    assert train(get_config(), tmp_path / "run", program=program) is not None
    assert_same_end(uninterrupted[0], tmp_path / "run", program)


@pytest.mark.slow
@pytest.mark.usefixtures("no_compilation_cache")
def test_programs_that_are_compiled_again_end_with_the_same_bits(uninterrupted, program, tmp_path):
    assert train(get_config(), tmp_path / "run", devices=take_devices(1)) is not None
    assert_same_end(uninterrupted[0], tmp_path / "run", program)


def test_the_totals_of_an_epoch_are_zero_at_its_end(uninterrupted, program):
    totals = load_newest_state(uninterrupted[0], program).totals
    assert {name: total.item() for name, total in totals.items()} == dict.fromkeys(totals, 0)


@pytest.mark.parametrize(
    "steps",
    # Several tests below resume from step 4, and slow ones from every step.
    [0, 1, STEPS_PER_EPOCH, pytest.param(STEPS - 1, marks=pytest.mark.slow)],
)
def test_a_run_stopped_after_some_steps_resumes_with_the_same_bits(
    uninterrupted, program, tmp_path, steps
):
    assert train(get_config(), tmp_path, stop=stop_after(steps), program=program) is None
    assert max(list_saved_steps(tmp_path)) == steps
    assert not (tmp_path / "summary.json").exists()
    assert get_bits(load_newest_state(tmp_path, program)) != get_bits(
        load_newest_state(uninterrupted[0], program)
    )
    assert train(get_config(), tmp_path, program=program) is not None
    assert_same_end(uninterrupted[0], tmp_path, program)


@pytest.mark.slow
def test_a_run_stopped_after_every_step_ends_with_the_same_bits(uninterrupted, program, tmp_path):
    for step in range(1, STEPS):
        assert train(get_config(), tmp_path, stop=stop_after(1), program=program) is None
        assert max(list_saved_steps(tmp_path)) == step
    assert train(get_config(), tmp_path, program=program) is not None
    assert_same_end(uninterrupted[0], tmp_path, program)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(STEPS))
@pytest.mark.parametrize("second", [0, 1, 2])
def test_a_run_stopped_twice_ends_with_the_same_bits(
    uninterrupted, program, tmp_path, first, second
):
    train(get_config(), tmp_path, stop=stop_after(first), program=program)
    train(get_config(), tmp_path, stop=stop_after(second), program=program)
    assert train(get_config(), tmp_path, program=program) is not None
    assert_same_end(uninterrupted[0], tmp_path, program)


def test_a_run_stopped_in_the_evaluation_of_each_epoch_ends_with_the_same_bits(
    uninterrupted, program, tmp_path
):
    def start(evaluations: int) -> Summary | None:
        """Start the run, and stop it in an evaluation after some that end."""
        calls = itertools.count()

        def evaluate(state):
            if next(calls) == evaluations:
                raise Stopped(143)
            return program.evaluate(state)

        return train(get_config(), tmp_path / "run", program=program._replace(evaluate=evaluate))

    for epoch in range(1, EPOCHS + 1):
        # Each start but the first evaluates the epoch before.
        assert start(0 if epoch == 1 else 1) is None
        assert max(list_saved_steps(tmp_path / "run")) == epoch * STEPS_PER_EPOCH
        assert start(0) is None  # Stopped again in the same evaluation.
    assert start(EPOCHS) is not None
    assert_same_end(uninterrupted[0], tmp_path / "run", program)
    assert load_newest_state(tmp_path / "run", program).totals["seen"] == 0


def test_a_stop_after_the_last_step_is_ignored(program, tmp_path):
    assert train(get_config(), tmp_path, stop=stop_after(STEPS), program=program) is not None


def test_a_finished_run_started_again_trains_nothing_and_prints_the_same(
    uninterrupted, program, capsys
):
    workdir, summary = uninterrupted

    def written() -> tuple:
        files = [(workdir / name).read_text() for name in ("metrics.jsonl", "environment.json")]
        return get_bits(load_newest_state(workdir, program)), *files

    before = written()

    def compile_step() -> None:
        raise AssertionError("a finished run has no step to compile")

    idle = program._replace(compile_step=compile_step)
    assert train(get_config(), workdir, program=idle) == summary
    printed = capsys.readouterr().out
    assert f"test accuracy, last epoch │ {summary.last_accuracy:.2%}" in printed
    assert written() == before


def test_records_after_the_newest_checkpoint_of_a_killed_run_are_replaced(
    uninterrupted, program, tmp_path
):
    train(get_config(), tmp_path, stop=stop_after(STEPS_PER_EPOCH + 1), program=program)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": STEPS, "epoch": 2, "train_loss": 0.0}) + "\n")
        file.write('{"step": 9, "epo')  # Killed during a write.
    train(get_config(), tmp_path, program=program)
    assert_same_end(uninterrupted[0], tmp_path, program)


def test_a_run_killed_between_its_two_checkpoints_ends_with_the_same_bits(
    uninterrupted, program, tmp_path
):
    train(get_config(), tmp_path, stop=stop_after(STEPS_PER_EPOCH), program=program)
    shutil.rmtree(tmp_path / "last" / str(STEPS_PER_EPOCH))  # `best` is written first.
    assert (
        list_saved_steps(tmp_path, "best") == [STEPS_PER_EPOCH] and list_saved_steps(tmp_path) == []
    )
    assert train(get_config(), tmp_path, program=program) is not None
    assert_same_end(uninterrupted[0], tmp_path, program)


def stop_after_step_4(workdir: Path, program: Program) -> None:
    """Train four steps and stop; this leaves checkpoints of the steps 0, 3 and 4."""
    assert train(get_config(), workdir, stop=stop_after(4), program=program) is None
    assert sorted(list_saved_steps(workdir)) == [3, 4] and list_saved_steps(workdir, "first") == [0]


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [flip_a_bit, Path.unlink])
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(
    uninterrupted, program, tmp_path, capsys, harm
):
    stop_after_step_4(tmp_path, program)
    # The largest file has the parameters.
    harm(max((tmp_path / "last" / "4" / "state").rglob("*"), key=lambda file: file.stat().st_size))
    assert train(get_config(), tmp_path, program=program) is not None
    printed = capsys.readouterr()
    assert "the checkpoint last/4 is damaged: state/" in printed.err
    assert "the run resumes from step 3, last/3." in printed.err
    assert "resuming from step 3 of 6" in printed.out
    assert_same_end(uninterrupted[0], tmp_path, program)


def test_a_run_that_lost_all_later_checkpoints_resumes_from_its_first(
    uninterrupted, program, tmp_path
):
    stop_after_step_4(tmp_path, program)
    shutil.rmtree(tmp_path / "last")
    shutil.rmtree(tmp_path / "best")
    without_first = program._replace(first_state=lambda: pytest.fail("it was saved"))
    assert train(get_config(), tmp_path, program=without_first) is not None
    assert_same_end(uninterrupted[0], tmp_path, program)


def test_the_first_checkpoint_is_of_the_state_before_training(uninterrupted, program, tmp_path):
    shutil.copytree(uninterrupted[0] / "first", tmp_path / "first")
    assert get_bits(load_newest_state(tmp_path, program)) == get_bits(program.first_state())


def test_a_run_may_resume_with_other_checkpoint_settings(uninterrupted, program, tmp_path):
    stop_after_step_4(tmp_path, program)
    config = get_config()
    config.checkpoints = {"last": 9, "every_epochs": 1, "every_steps": 1, "seconds_apart": 0.0}
    assert train(config, tmp_path, program=program) is not None
    assert sorted(list_saved_steps(tmp_path)) == [3, 4, 5, 6] and list_saved_steps(
        tmp_path, "every"
    ) == [6]
    assert_same_end(uninterrupted[0], tmp_path, program)


def test_epochs_held_in_memory_are_written_when_the_run_ends(uninterrupted, program, tmp_path):
    config = get_config()
    config.checkpoints.seconds_apart = 3600.0
    assert train(config, tmp_path / "run", program=program) is not None
    assert list_saved_steps(tmp_path / "run") == [STEPS]
    assert list_saved_steps(tmp_path / "run", "best") == list_saved_steps(uninterrupted[0], "best")
    assert_same_end(uninterrupted[0], tmp_path / "run", program)


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_clock_that_jumps_back_changes_nothing(
    uninterrupted, program, tmp_path, monkeypatch, steps
):
    """Turn the clock back by an hour at each reading."""
    assert train(get_config(), tmp_path, stop=stop_after(steps), program=program) is None
    hours = itertools.count()
    now, now_ns = time.time(), time.time_ns()
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(hours))
    monkeypatch.setattr(time, "time_ns", lambda: now_ns - 3600 * 10**9 * next(hours))
    assert train(get_config(), tmp_path, program=program) is not None
    assert next(hours) > 1
    monkeypatch.undo()
    assert [record["step"] for record in load_records(tmp_path)] == [3, 6]
    assert max(list_saved_steps(tmp_path)) == STEPS


@contextlib.contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    """Let writes beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The threads of the failed save complain about their closed event loop when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_ended_by_a_full_disk_can_resume(uninterrupted, program, tmp_path):
    workdir = tmp_path / "run"
    stop_after_step_4(workdir, program)
    with limit_file_size(4096), pytest.raises(UserError) as error:
        train(get_config(), workdir, program=program)
    gc.collect()
    assert str(error.value) == (
        f"cannot write to {workdir}: File too large; the checkpoint of step 4 is kept. "
        "Fix this and repeat the command to resume."
    )
    assert max(list_saved_steps(workdir)) == 4
    assert train(get_config(), workdir, program=program) is not None
    assert_same_end(uninterrupted[0], workdir, program)
