"""A signal at any moment of training: one line within two seconds, a code, a run that resumes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from tests.train.helpers import ENVIRONMENT, ROOT, TINY, list_saved_steps, make_program_on
from tests.train.test_kills import assert_nothing_was_lost, finish
from train.config.cli import parse
from train.program.program import note_if_slow, report_slow_trace

# A program that begins as `python -m train.main` does, and makes one phase last for a minute.
SLOW = """
import sys, time
from pit_jax import signals
signals.begin_program()
from train.program import program
from train import loading

def slow(function, phase):
    def wait(*arguments):
        print("in", phase, flush=True)
        time.sleep(60)
        return function(*arguments)
    return wait

made, phase = program.make_program, sys.argv.pop(1)

def make(*arguments, **options):
    found = made(*arguments, **options)
    return found._replace(**{phase: slow(getattr(found, phase), phase)})

loading.make_program = make
from train.main import main
signals.end_program(main(sys.argv))
"""
RUN = ("--config", TINY, "--config.epochs=4", "--config.checkpoints.every_steps=0")


def start_slow(phase: str, *words: str) -> subprocess.Popen[str]:
    """Start a run that stays in a phase; return when it is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, phase, *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"in {phase}"):
            break
    return process


def interrupt(process: subprocess.Popen[str], number: int, group: bool) -> tuple[int, list[str]]:
    """Send a signal; return the code and the lines; assert that the first comes at once."""
    assert process.stdout is not None
    sent = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    first = process.stdout.readline()
    assert time.monotonic() - sent < 2, first
    code = process.wait(timeout=20)
    with process.stdout as rest:
        return code, [first.strip(), *rest.read().splitlines()]


PHASES = [
    ("first_state", signal.SIGINT, True, 130),
    ("compile_step", signal.SIGTERM, False, 143),
    ("evaluate", signal.SIGTERM, True, 0),
    ("evaluate", signal.SIGHUP, False, 0),
    ("test", signal.SIGUSR1, False, 138),
]


def test_ctrl_c_during_a_compilation_is_answered_at_once(tmp_path):
    process = start_slow("compile_step", *RUN, "--workdir", str(tmp_path / "run"))
    code, lines = interrupt(process, signal.SIGINT, group=True)
    assert code == 130 and "Traceback" not in "".join(lines), lines
    assert lines[0] == "SIGINT: stopping now; a second signal ends at once."
    assert lines[-1] == "stopped; repeat the command to resume from the newest checkpoint."


@pytest.mark.slow
@pytest.mark.parametrize("phase, number, group, code", PHASES)
def test_a_signal_in_a_long_phase_ends_it_at_once_and_nothing_is_lost(
    phase, number, group, code, tmp_path
):
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    # Without validation images, the last epoch has already evaluated the test images.
    words = (*RUN, "--config.data.validation=0.2") if phase == "test" else RUN
    found, lines = interrupt(start_slow(phase, *words, "--workdir", str(workdir)), number, group)
    assert found == code, lines
    name = signal.Signals(number).name
    assert lines[0] == f"{name}: stopping now; a second signal ends at once."
    assert not any("Traceback" in line or "Error" in line for line in lines), lines
    assert not list(workdir.rglob("*.part")) and not list(workdir.rglob("*tmp*"))
    config = parse(["main", *words])[0]
    program = make_program_on(1, config)
    if phase == "evaluate":
        assert max(list_saved_steps(workdir)) == program.steps_per_epoch
    if phase == "test":
        assert max(list_saved_steps(workdir)) == 4 * program.steps_per_epoch
    for folder in (workdir, alone):
        finish(words, folder)
    assert_nothing_was_lost(config, workdir, alone, program)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_of_batch_systems_save_like_sigterm(number, tmp_path):
    command = [sys.executable, "-m", "train.main", *RUN, "--config.epochs=1000"]
    process = subprocess.Popen(
        [*command, "--workdir", str(tmp_path / "run")],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not list_saved_steps(tmp_path / "run"):
        assert process.poll() is None
        time.sleep(0.01)
    before = max(list_saved_steps(tmp_path / "run"))
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped and saved" in printed, printed
    assert max(list_saved_steps(tmp_path / "run")) >= before


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_training(tmp_path):
    command = f"{sys.executable} -m train.main {' '.join(RUN)} --workdir {tmp_path}/run"
    subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} 2>&1 | head -n 1"],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
    )
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Return a folder with room for few files; skip where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-o", "size=50m,nr_inodes=60"]
    if subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder]).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_disk_without_inodes_ends_a_run_within_ten_seconds(small_disk):
    arguments = ("--config.epochs=50", "--config.checkpoints.seconds_apart=0")
    process = subprocess.Popen(
        [sys.executable, "-m", "train.main", *RUN, *arguments, "--workdir", f"{small_disk}/run"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines, since = [], 0.0
    with process.stdout as printed:
        for line in printed:
            lines.append(line)
            since = since or ("error: " in line and time.monotonic()) or 0.0
    assert process.wait(timeout=20) == 2, lines
    assert time.monotonic() - since < 10
    assert "No space left on device" in "".join(lines) and "Traceback" not in "".join(lines)


def test_a_slow_compilation_is_reported():
    notes: list[str] = []
    with note_if_slow(notes.append, ConfigDict({"accumulate": 4}), seconds=0.01):
        time.sleep(0.3)
    (note,) = notes
    assert note.startswith("compiling takes longer than 0.01 s,")
    assert "a smaller config.accumulate than 4" in note
    with note_if_slow(notes.append, ConfigDict({"accumulate": 1}), seconds=60):
        pass
    assert len(notes) == 1


def test_a_slow_trace_of_a_network_is_reported_before_anything_compiles(capsys):
    @report_slow_trace(seconds=0.01)
    def trace(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    assert trace(0.3) == 0.3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: tracing the network takes longer than 0.01 s,")
    with report_slow_trace():
        pass
    assert not capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_while_a_deep_network_is_traced_ends_at_once(tmp_path):
    words = [*RUN, "--config.model.stages=1000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "train.main", *words, "--workdir", str(tmp_path / "run")],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "tracing the network takes longer than 20 s" in line:
            break
    code, lines = interrupt(process, signal.SIGINT, group=False)
    assert code == 130 and lines[0].startswith("stopped by SIGINT;") and len(lines) == 1
    assert not (tmp_path / "run").exists()
