"""Several processes, each with some of the devices, train as one run."""

import json
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.train.helpers import (
    ENVIRONMENT,
    ROOT,
    TINY,
    list_saved_steps,
    load_newest_state,
    load_records,
    load_summary,
    make_program_on,
    stop_after,
)
from tests.train.imagenet_files import write_folders
from tests.train.processes import PATIENCE_SECONDS, Run
from train.config import cli
from train.data.imagenet import source
from train.data.imagenet.array_records import convert
from train.loop import train

# Twelve steps, each with a record.
ARGUMENTS = ("--config", TINY, "--config.epochs=4", "--config.log_every=1")
# Too long to end by itself, with a checkpoint every two steps.
LONG = (*ARGUMENTS, "--config.epochs=1000", "--config.checkpoints.every_steps=2")
TINY_IMAGENET = str(ROOT / "tests/train/tiny_imagenet.py")


def load_learned(workdir: Path, arguments: tuple[str, ...] = ARGUMENTS) -> dict[str, np.ndarray]:
    """Return the arrays of the newest checkpoint of a run in float64, by path."""
    with jax.enable_x64(True):
        state = load_newest_state(workdir, make_program_on(1, cli.parse(["main", *arguments])[0]))
        state = jax.device_get((state.params, state.batch_stats, state.opt_state))
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}


def assert_close_runs(one: Path, other: Path, arguments: tuple[str, ...] = ARGUMENTS) -> None:
    """Check that two runs have the same weights and records, up to the order of sums."""
    ours, theirs = load_learned(one, arguments), load_learned(other, arguments)
    assert len(ours) > 20 and ours.keys() == theirs.keys()
    assert {leaf.dtype for path, leaf in ours.items() if "a'" in path} == {np.dtype("f8")}
    for path, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[path], rtol=0, atol=1e-9, err_msg=path)
    for a, b in zip(load_records(one), load_records(other), strict=True):
        assert flatten_dict(a) == pytest.approx(flatten_dict(b), abs=1e-9, rel=0)


class Runs(dict[str, Path]):
    """The folders of runs of one config in float64 on 1, 2, 4 or 8 devices, or on 2 × 2."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        processes, devices = name.split("x") if "x" in name else ("1", name)
        self[name] = self._folder / name
        arguments = (*ARGUMENTS, f"--config.cpu_devices={devices}")
        Run(self[name], *arguments, count=int(processes)).finish()
        return self[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """Return the runs, each of which is trained when a test first asks for it."""
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["2", "4", "8"])
def test_more_devices_agree_with_one_in_float64(runs, devices):
    assert_close_runs(runs["1"], runs[devices])


@pytest.mark.slow
def test_two_processes_with_two_devices_agree_with_one_process_with_four(runs):
    assert_close_runs(runs["4"], runs["2x2"])
    losses = [record["loss"] for record in load_records(runs["2x2"]) if "loss" in record]
    # All differ, so the comparison is not trivial. The last step of an epoch has no line.
    assert len(set(losses)) == len(losses) == 12 - 4


@pytest.mark.slow
def test_two_processes_write_the_same_files_as_one(runs):
    one, two = (
        {path.name for path in runs[name].rglob("*") if path.suffix in (".json", ".png")}
        for name in ("4", "2x2")
    )
    assert one == two and "summary.json" in one
    assert load_starts(runs["2x2"]) == [(4, 2)]


def load_starts(workdir: Path) -> list[tuple[int, int]]:
    """Return the numbers of devices and of processes of each start of a run."""
    starts = json.loads((workdir / "environment.json").read_text())
    return [(start["devices"], start["processes"]) for start in starts]


def test_two_processes_stop_at_the_same_step_and_agree_with_one(tmp_path):
    """The only quick test with several processes: SIGTERM to one, resumed in this process.

    Two processes with two devices each agree with one process and one device, in float64.
    """
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    run = Run(workdir, *LONG, "--config.cpu_devices=2")
    run.end(1, signal.SIGTERM, when=lambda: max(list_saved_steps(workdir), default=0) > 3)
    assert run.wait_for_codes() == [0, 0], run.read_output(0) + run.read_output(1)
    assert "stopped and saved; repeat the command to resume." in run.read_output(0)
    # Only the first process prints the progress.
    assert "stopped" not in run.read_output(1) and "epoch" not in run.read_output(1)
    assert not (workdir / "summary.json").exists()
    assert load_starts(workdir) == [(4, 2)]
    stopped = max(list_saved_steps(workdir))
    config = cli.parse(["main", *LONG])[0]
    with jax.enable_x64(True):
        program = make_program_on(1, config)
        assert train(config, alone, stop_after(stopped), program=program) is None
        assert_close_runs(alone, workdir, LONG)
        for folder in (alone, workdir):
            assert train(config, folder, stop_after(2), program=program) is None
        assert_close_runs(alone, workdir, LONG)
    assert max(list_saved_steps(workdir)) == stopped + 2


@pytest.mark.slow
def test_a_run_of_two_processes_resumes_in_one_with_fewer_devices(tmp_path):
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    arguments = (*ARGUMENTS, "--config.epochs=60", "--config.checkpoints.every_steps=2")
    first = Run(workdir, *arguments, "--config.cpu_devices=2")
    first.end(1, signal.SIGTERM, when=lambda: bool(list_saved_steps(workdir)))
    first.finish()
    assert not (workdir / "summary.json").exists()  # It was stopped and has not finished.
    Run(workdir, *arguments, "--config.cpu_devices=1", count=1).finish()
    Run(alone, *arguments, "--config.cpu_devices=4", count=1).finish()
    assert load_starts(workdir) == [(4, 2), (1, 1)]
    assert_close_runs(alone, workdir, (*ARGUMENTS, "--config.epochs=60"))


@pytest.mark.slow
def test_sigint_to_one_process_stops_all(tmp_path):
    run = Run(tmp_path / "run", *LONG, "--config.cpu_devices=2")
    run.end(1, signal.SIGINT, when=lambda: bool(list_saved_steps(tmp_path / "run")))
    assert run.wait_for_codes() == [0, 0], run.read_output(0) + run.read_output(1)
    assert "stopped and saved" in run.read_output(0)


@pytest.mark.slow
def test_a_second_signal_ends_a_process_at_once_and_what_was_saved_is_whole(tmp_path):
    workdir = tmp_path / "run"
    run = Run(workdir, *LONG, "--config.cpu_devices=2")
    run.end(1, signal.SIGTERM, when=lambda: bool(list_saved_steps(workdir)))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while run.processes[1].poll() is None and time.monotonic() < deadline:
        run.processes[1].send_signal(signal.SIGTERM)
        time.sleep(0.005)
    codes = run.wait_for_codes()
    assert codes[1] == 128 + signal.SIGTERM and codes[0] not in (0, 2)
    again = Run(workdir, *LONG, "--config.cpu_devices=2")
    again.end(0, signal.SIGTERM, when=lambda: "resuming from step" in again.read_output(0))
    again.finish()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_is_killed_the_other_ends_and_explains_how_to_resume(tmp_path, victim):
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    # Enough epochs that the run cannot finish before it is killed.
    arguments = (*ARGUMENTS, "--config.epochs=40", "--config.checkpoints.every_steps=2")
    run = Run(workdir, *arguments, "--config.cpu_devices=2")
    run.end(victim, signal.SIGKILL, when=lambda: max(list_saved_steps(workdir), default=0) > 2)
    codes = run.wait_for_codes()
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] not in (0, 2)
    printed = run.read_output(1 - victim)
    assert "another process of th" in printed and "checkpoint" in printed
    assert "Start all processes again with the same command to resume." in printed
    Run(workdir, *arguments, "--config.cpu_devices=2").finish()
    Run(alone, *arguments, "--config.cpu_devices=4", count=1).finish()
    assert_close_runs(alone, workdir, (*ARGUMENTS, "--config.epochs=40"))
    assert load_summary(alone)["best_epoch"] == load_summary(workdir)["best_epoch"]


@pytest.mark.slow
def test_a_nan_loss_ends_both_processes_with_step_and_layer(tmp_path):
    # Squares of the weights after the first step are infinite in float32.
    arguments = (*ARGUMENTS, "--config.cpu_devices=2", "--config.learning_rate=1e38")
    run = Run(tmp_path / "run", *arguments, environment=ENVIRONMENT)
    assert run.wait_for_codes() == [2, 2]
    for process in (0, 1):
        assert "error: step 2, in epoch 1, is not finite; the first" in run.read_output(process)
        assert "Traceback" not in run.read_output(process)
    assert "The checkpoint of step 0 is kept." in run.read_output(0)
    assert (
        list_saved_steps(tmp_path / "run", "first") == [0]
        and list_saved_steps(tmp_path / "run") == []
    )


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> tuple[str, ...]:
    """Return the arguments of a run that reads its images from disk."""
    folder = tmp_path_factory.mktemp("imagenet")
    convert(source.plan(write_folders(folder / "source")), folder / "data", workers=1)
    return "--config", TINY_IMAGENET, f"--config.data.data_dir={folder / 'data'}"


@pytest.mark.slow
def test_each_process_reads_only_the_images_of_its_devices(imagenet, tmp_path):
    Run(tmp_path / "one", *imagenet, "--config.cpu_devices=4", count=1).finish()
    Run(tmp_path / "two", *imagenet, "--config.cpu_devices=2").finish()
    assert_close_runs(tmp_path / "one", tmp_path / "two", imagenet)
