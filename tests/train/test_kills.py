"""A run that is killed at any moment and resumed ends with the bits of an uninterrupted run."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.helpers import (
    ROOT,
    TINY,
    assert_same_end,
    list_saved_steps,
    load_records,
    make_program_on,
    start_main,
    take_devices,
)
from train.config.cli import parse
from train.loop import train

TINY_RUN = (
    *("--config", TINY, "--config.epochs=30", "--config.log_every=1"),
    "--config.checkpoints.every_steps=2",
)
DIGITS_RUN = (
    *("--config", str(ROOT / "configs/digits.py"), "--config.model.width=4"),
    *("--config.epochs=40", "--config.log_every=1", "--config.checkpoints.every_steps=10"),
)


def count_starts(workdir: Path) -> int:
    """Return how many processes have trained in `workdir`."""
    file = workdir / "environment.json"
    return len(json.loads(file.read_text())) if file.exists() else 0


def find_newest(workdir: Path) -> int:
    """Return the step of the newest checkpoint to resume from; -1 without one."""
    return max(list_saved_steps(workdir), default=-1)


def is_saving(workdir: Path) -> bool:
    """Return whether a checkpoint is being written."""
    return any(workdir.glob("*/*.orbax-checkpoint-tmp"))


def is_testing(workdir: Path, length: int) -> bool:
    """Return whether an epoch of `length` steps is in its last step or its test.

    Then all steps have their line in metrics.jsonl but the last, which is in the line of the epoch.
    """
    file = workdir / "metrics.jsonl"
    *lines, _ = file.read_text().split("\n") if file.exists() else [""]
    return bool(lines) and json.loads(lines[-1])["step"] % length == length - 1


def wait_until(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def interrupt(
    arguments: tuple[str, ...], workdir: Path, number: signal.Signals, times: int, seconds: float
) -> list[str]:
    """Start the run `times` times and end it; return what each process was doing, from its files.

    The moments are, in turn: at random in the `seconds` after its start, at random in the `seconds`
    after its first checkpoint, then in the next save after such a moment, and in the next test.
    """
    config = parse(["main", *arguments])[0]
    length = make_program_on(1, config).steps_per_epoch
    draw, doing = random.Random(0), []
    for turn in range(times):
        begun, known = count_starts(workdir), find_newest(workdir)
        process = start_main(*arguments, "--workdir", str(workdir))
        wait_until(process, lambda begun=begun: count_starts(workdir) > begun)
        if turn % 4:
            wait_until(process, lambda known=known: find_newest(workdir) > known)
        time.sleep(draw.uniform(0, seconds))
        if turn % 4 == 2:
            wait_until(process, lambda: is_saving(workdir))
        if turn % 4 == 3:
            wait_until(process, lambda: is_testing(workdir, length))
            time.sleep(draw.uniform(0, 0.03))  # After the last step, in the test itself.
        code, printed = end(process, number)
        saved = number == signal.SIGTERM and "stopped and saved" in printed
        assert code == (0 if saved else -number), printed
        assert "Traceback" not in printed and "damaged" not in printed, printed
        assert not (workdir / "summary.json").exists(), "the run ended before the signal"
        testing = "testing" if is_testing(workdir, length) else "else"
        doing.append("saving" if is_saving(workdir) else testing)
    return doing


def finish(arguments: tuple[str, ...], workdir: Path) -> None:
    process = start_main(*arguments, "--workdir", str(workdir))
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed


def assert_nothing_was_lost(arguments: tuple[str, ...], workdir: Path, alone: Path) -> None:
    config = parse(["main", *arguments])[0]
    program = make_program_on(1, config)
    assert_same_end(alone, workdir, program)
    length = program.steps_per_epoch
    steps = range(1, config.epochs * length + 1)
    expected = [step for step in steps if step % config.log_every == 0 or step % length == 0]
    assert [record["step"] for record in load_records(workdir)] == expected


def test_a_run_killed_three_times_and_terminated_once_ends_with_the_same_bits(tmp_path):
    workdir = tmp_path / "run"
    interrupt(TINY_RUN, workdir, signal.SIGKILL, times=3, seconds=0.5)
    interrupt(TINY_RUN, workdir, signal.SIGTERM, times=1, seconds=0.5)
    finish(TINY_RUN, workdir)
    train(parse(["main", *TINY_RUN])[0], tmp_path / "alone", devices=take_devices(1))
    assert_nothing_was_lost(TINY_RUN, workdir, tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("number, times", [(signal.SIGKILL, 20), (signal.SIGTERM, 6)])
def test_a_digits_run_ended_at_many_moments_ends_with_the_same_bits(tmp_path, number, times):
    workdir = tmp_path / "run"
    doing = interrupt(DIGITS_RUN, workdir, number, times, seconds=2)
    assert number == signal.SIGTERM or set(doing) == {"saving", "testing", "else"}
    assert load_records(workdir)  # Not all in the first epoch.
    for folder in (workdir, tmp_path / "alone"):
        finish(DIGITS_RUN, folder)
    assert_nothing_was_lost(DIGITS_RUN, workdir, tmp_path / "alone")


@pytest.mark.slow
def test_a_second_signal_ends_a_process_at_once_and_damages_no_checkpoint(tmp_path):
    workdir = tmp_path / "run"
    interrupt(TINY_RUN, workdir, signal.SIGTERM, times=2, seconds=0.5)
    shutil.rmtree(workdir / "compiled")  # So that it compiles for seconds, and saves only then.
    begun, saved = count_starts(workdir), find_newest(workdir)
    process = start_main(*TINY_RUN, "--workdir", str(workdir))
    wait_until(process, lambda: count_starts(workdir) > begun)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    since = time.monotonic()
    assert process.poll() is None
    code, printed = end(process, signal.SIGTERM)
    assert code == -signal.SIGTERM and time.monotonic() - since < 1
    assert "saved" not in printed and find_newest(workdir) == saved
    for folder in (workdir, tmp_path / "alone"):
        finish(TINY_RUN, folder)
    assert_nothing_was_lost(TINY_RUN, workdir, tmp_path / "alone")
