"""A run that is killed at any moment and resumed ends with the bits of an uninterrupted run."""

import itertools
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from tests.train.helpers import (
    ENVIRONMENT,
    ROOT,
    TINY,
    assert_same_end,
    list_saved_steps,
    load_records,
    make_program_on,
    start_main,
)
from train.config.cli import parse
from train.config.limits import count_epochs
from train.program.program import Program

MOMENTS = ("starting", "training", "saving", "testing")
# More epochs than a run can take before the signal comes, even if this process has to wait.
TINY_RUN = (
    *("--config", TINY, "--config.epochs=20", "--config.log_every=1", "--config.num_steps=1"),
    *("--config.tensorboard=False", "--config.health.every_epochs=0"),  # Half of the time.
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


def count_lines(workdir: Path) -> int:
    """Return how many lines of metrics.jsonl are complete."""
    file = workdir / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_until(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def interrupt(
    arguments: tuple[str, ...],
    workdir: Path,
    length: int,
    number: signal.Signals,
    moments: Iterable[str],
    most_steps: int,
) -> set[str]:
    """Start the run and end it, once for each moment; return all that the processes were doing.

    The moments are "starting": shortly after its start; "training": up to `most_steps` steps after
    its first checkpoint; "saving" and "testing": in the next save or test after such a step. An
    epoch has `length` steps. The files that a process left show whether it was saving or testing.
    """
    draw, doing = random.Random(0), set[str]()
    for moment in moments:
        begun, known = count_starts(workdir), find_newest(workdir)
        process = start_main(*arguments, "--workdir", str(workdir))
        wait_until(process, lambda begun=begun: count_starts(workdir) > begun)
        if moment == "starting":
            time.sleep(draw.uniform(0, 0.5))
        else:
            wait_until(process, lambda known=known: find_newest(workdir) > known)
            # A number of steps, not of seconds: no machine is too fast for it.
            lines = count_lines(workdir) + draw.randrange(most_steps)
            wait_until(process, lambda lines=lines: count_lines(workdir) >= lines)
        if moment == "saving":
            wait_until(process, lambda: is_saving(workdir))
        if moment == "testing":
            wait_until(process, lambda: is_testing(workdir, length))
            time.sleep(draw.uniform(0, 0.03))  # After the last step, in the test itself.
        code, printed = end(process, number)
        ended = -number if number == signal.SIGKILL else 128 + number
        assert code == (0 if "stopped and saved" in printed else ended), printed
        assert "Traceback" not in printed and "damaged" not in printed, printed
        assert not (workdir / "summary.json").exists(), "the run ended before the signal"
        found = {"saving": is_saving(workdir), "testing": is_testing(workdir, length)}
        doing |= {name for name, holds in found.items() if holds} or {"else"}
    return doing


def finish(arguments: tuple[str, ...], workdir: Path) -> None:
    """Run to the end, in a process that returns 0 and prints no error and no warning."""
    process = start_main(*arguments, "--workdir", str(workdir))
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "Traceback" not in printed and "Warning" not in printed, printed


def assert_nothing_was_lost(
    config: ConfigDict, workdir: Path, alone: Path, program: Program
) -> None:
    """Assert that a run ended as the run `alone`, with a line for each step and epoch."""
    assert_same_end(alone, workdir, program)
    length = program.steps_per_epoch
    steps = range(1, count_epochs(config) * length + 1)
    expected = [step for step in steps if step % config.log_every == 0 or step % length == 0]
    assert [record["step"] for record in load_records(workdir)] == expected


def prepare(arguments: tuple[str, ...]) -> tuple[ConfigDict, Program]:
    """Return the config and the program of a run, which is not compiled yet."""
    config = parse(["main", *arguments])[0]
    return config, make_program_on(1, config)


def test_a_run_killed_in_a_save_and_then_terminated_ends_with_the_same_bits(tmp_path):
    config, program = prepare(TINY_RUN)
    workdir, alone, length = tmp_path / "run", tmp_path / "alone", program.steps_per_epoch
    finish(TINY_RUN, alone)
    interrupt(TINY_RUN, workdir, length, signal.SIGKILL, ["saving"], most_steps=6)
    interrupt(TINY_RUN, workdir, length, signal.SIGTERM, ["training"], most_steps=6)
    finish(TINY_RUN, workdir)
    assert_nothing_was_lost(config, workdir, alone, program)


@pytest.mark.slow
@pytest.mark.parametrize("number, times", [(signal.SIGKILL, 20), (signal.SIGTERM, 6)])
def test_a_digits_run_ended_at_many_moments_ends_with_the_same_bits(tmp_path, number, times):
    config, program = prepare(DIGITS_RUN)
    workdir, alone, length = tmp_path / "run", tmp_path / "alone", program.steps_per_epoch
    moments = itertools.islice(itertools.cycle(MOMENTS), times)
    doing = interrupt(DIGITS_RUN, workdir, length, number, moments, most_steps=20)
    assert number == signal.SIGTERM or doing == {"saving", "testing", "else"}
    assert load_records(workdir)  # Not all in the first epoch.
    for folder in (workdir, alone):
        finish(DIGITS_RUN, folder)
    assert_nothing_was_lost(config, workdir, alone, program)


@pytest.mark.slow
def test_an_extension_killed_at_many_moments_ends_with_the_same_bits(tmp_path):
    extended = (*TINY_RUN, "--config.epochs=2", "--config.extend=20")
    config, program = prepare(extended)
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    finish(extended[:-1], alone)
    shutil.copytree(alone, workdir)
    interrupt(extended, workdir, program.steps_per_epoch, signal.SIGKILL, MOMENTS, most_steps=6)
    for folder in (workdir, alone):
        finish(extended, folder)
    assert_nothing_was_lost(config, workdir, alone, program)


@pytest.mark.slow
def test_two_signals_at_once_end_a_compilation_and_damage_no_checkpoint(tmp_path):
    config, program = prepare(TINY_RUN)
    workdir, alone, length = tmp_path / "run", tmp_path / "alone", program.steps_per_epoch
    interrupt(TINY_RUN, workdir, length, signal.SIGTERM, MOMENTS[:2], most_steps=6)
    begun, saved = count_starts(workdir), find_newest(workdir)
    # Without a cache it compiles for seconds, and would save only after that.
    uncached = {name: value for name, value in ENVIRONMENT.items() if "CACHE" not in name}
    uncached["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    process = start_main(*TINY_RUN, "--workdir", str(workdir), env=uncached)
    wait_until(process, lambda: count_starts(workdir) > begun)
    process.send_signal(signal.SIGINT)
    code, printed = end(process, signal.SIGTERM)
    # Both came at the same time, so they are one request, which ends the compilation. The system
    # may deliver either first.
    assert code in (128 + signal.SIGINT, 128 + signal.SIGTERM), printed
    assert printed.count("a second signal ends at once") == 1, printed
    assert "and saved" not in printed and find_newest(workdir) == saved
    for folder in (workdir, alone):
        finish(TINY_RUN, folder)
    assert_nothing_was_lost(config, workdir, alone, program)
