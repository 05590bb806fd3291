"""Several processes, each with some of the devices, train as one run."""

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.arguments import UsageError
from tests.train.helpers import (
    ROOT,
    TINY,
    list_saved_steps,
    load_newest_state,
    load_records,
    load_summary,
    make_program_on,
)
from tests.train.imagenet_files import write_folders
from tests.train.processes import Run
from train.config import cli
from train.config.arguments import parse
from train.data.imagenet import source
from train.data.imagenet.array_records import convert
from train.distributed import hosts, watchdog
from train.errors import UserError

# Twelve steps, each with a record.
ARGUMENTS = ("--config", TINY, "--config.epochs=4", "--config.log_every=1")
TWO = (*ARGUMENTS, "--config.cpu_devices=2")
# Too long to end by itself, with a checkpoint every two steps.
LONG = ("--config", TINY, "--config.epochs=200", "--config.checkpoints.every_steps=2")
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


def test_two_processes_with_two_devices_agree_with_one_process_with_four(runs):
    assert_close_runs(runs["4"], runs["2x2"])


def test_losses_of_the_compared_runs_change(runs):
    losses = [record["loss"] for record in load_records(runs["2x2"]) if "loss" in record]
    assert len(set(losses)) == len(losses) == 12 - 4  # An epoch's last step is its line.


def test_two_processes_write_the_same_files_as_one(runs):
    names = {path.name for path in runs["4"].rglob("*") if path.suffix in (".json", ".png")}
    assert names == {
        path.name for path in runs["2x2"].rglob("*") if path.suffix in (".json", ".png")
    }
    environment = json.loads((runs["2x2"] / "environment.json").read_text())
    assert [(start["devices"], start["processes"]) for start in environment] == [(4, 2)]


@pytest.mark.slow
def test_a_run_of_two_processes_resumes_in_one_with_fewer_devices(tmp_path):
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    arguments = (*ARGUMENTS, "--config.epochs=60", "--config.checkpoints.every_steps=2")
    begun = Run(workdir, *arguments, "--config.cpu_devices=2")
    begun.end(1, signal.SIGTERM, when=lambda: bool(list_saved_steps(workdir)))
    begun.finish()
    assert not (workdir / "summary.json").exists()  # It was stopped, and not over.
    Run(workdir, *arguments, "--config.cpu_devices=1", count=1).finish()
    Run(alone, *arguments, "--config.cpu_devices=4", count=1).finish()
    starts = json.loads((workdir / "environment.json").read_text())
    assert [(start["devices"], start["processes"]) for start in starts] == [(4, 2), (1, 1)]
    assert_close_runs(alone, workdir, (*ARGUMENTS, "--config.epochs=60"))


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path, number):
    workdir = tmp_path / "run"
    run = Run(workdir, *LONG, "--config.cpu_devices=2")
    run.end(1, number, when=lambda: bool(list_saved_steps(workdir)))
    assert run.codes() == [0, 0], run.printed(0) + run.printed(1)
    assert "stopped and saved; repeat the command to resume." in run.printed(0)
    assert "stopped" not in run.printed(1) and "epoch" not in run.printed(1)
    assert not (workdir / "summary.json").exists()


@pytest.mark.slow
def test_a_second_signal_ends_a_process_at_once_and_what_was_saved_is_whole(tmp_path):
    workdir = tmp_path / "run"
    arguments = (*TWO, "--config.epochs=300", "--config.checkpoints.every_steps=2")
    run = Run(workdir, *arguments)
    run.end(1, signal.SIGTERM, when=lambda: bool(list_saved_steps(workdir)))
    deadline = time.monotonic() + 5
    while run.processes[1].poll() is None and time.monotonic() < deadline:
        run.processes[1].send_signal(signal.SIGTERM)
        time.sleep(0.005)
    codes = run.codes(seconds=60)
    assert codes[1] == -signal.SIGTERM and codes[0] not in (0, 2)
    again = Run(workdir, *arguments)
    again.end(0, signal.SIGTERM, when=lambda: "resuming from step" in again.printed(0))
    again.finish()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_is_killed_the_other_ends_and_explains_how_to_resume(tmp_path, victim):
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    arguments = (*TWO, "--config.epochs=12", "--config.checkpoints.every_steps=2")
    run = Run(workdir, *arguments)
    run.end(victim, signal.SIGKILL, when=lambda: max(list_saved_steps(workdir), default=0) > 2)
    since = time.monotonic()
    codes = run.codes(seconds=60)
    assert time.monotonic() - since < 60
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] not in (0, 2)
    printed = run.printed(1 - victim)
    assert "another process of th" in printed and "checkpoint" in printed
    assert "Start all processes again with the same command to resume." in printed
    Run(workdir, *arguments).finish()
    Run(alone, *arguments, "--config.cpu_devices=4", count=1).finish()
    assert_close_runs(alone, workdir, (*ARGUMENTS, "--config.epochs=12"))
    assert load_summary(alone)["best_epoch"] == load_summary(workdir)["best_epoch"]


@pytest.mark.slow
def test_a_nan_loss_ends_both_processes_with_step_and_layer(tmp_path):
    run = Run(tmp_path / "run", *TWO, "--config.learning_rate=1e300")
    assert run.codes() == [2, 2]
    for process in (0, 1):
        assert "error: step 2, in epoch 1, is not finite; the first" in run.printed(process)
        assert "Traceback" not in run.printed(process)
    assert "The checkpoint of step 0 is kept." in run.printed(0)
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


def test_data_missing_in_one_process_end_both_before_anything_is_written(imagenet, tmp_path):
    nowhere = f"--config.data.data_dir={tmp_path / 'nowhere'}"
    two = (*imagenet, "--config.cpu_devices=2")
    run = Run(tmp_path / "run", *two, own={1: (nowhere,)})
    assert run.codes() == [2, 2]
    assert "error: process 1: " in run.printed(0)
    for process in (0, 1):
        assert str(tmp_path / "nowhere") in run.printed(process)
    assert not (tmp_path / "run").exists()


def test_processes_with_different_configs_are_refused(tmp_path):
    run = Run(tmp_path / "run", *TWO, own={1: ("--config.seed=1",)})
    assert run.codes() == [2, 2]
    for process in (0, 1):
        said = "must have the same config; it differs from the first process in process 1."
        assert said in run.printed(process)
    assert not (tmp_path / "run").exists()


def test_a_batch_not_divisible_by_all_devices_is_refused(tmp_path):
    run = Run(tmp_path / "run", *TWO, "--config.batch_size=30")
    assert run.codes() == [2, 2]
    message = "error: batch_size 30 does not divide among 4 devices; the nearest that do: 28, 32.\n"
    for process in (0, 1):
        assert message in run.printed(process)
    assert not (tmp_path / "run").exists()


def test_a_workdir_refused_by_the_first_process_ends_both_with_the_reason(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "thesis.tex").write_text("mine")
    run = Run(workdir, *TWO)
    assert run.codes() == [2, 2]
    assert f"error: {workdir} is not empty and not the folder of a run" in run.printed(0)
    assert f"error: process 0: {workdir} is not empty and not the folder of a run" in run.printed(1)
    assert [path.name for path in workdir.iterdir()] == ["thesis.tex"]


def find_peers(*arguments: str, **environment: str):
    args = parse("train", ["--config", TINY, *arguments, "here"])
    return hosts.find_peers(args.coordinator, args.processes, args.process, environment)


def test_a_process_started_alone_looks_for_no_others():
    assert find_peers() is None
    assert find_peers(SLURM_JOB_ID="7", SLURM_NTASKS="8", OMPI_COMM_WORLD_SIZE="1") is None


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_a_process_started_by_srun_or_mpirun_looks_for_others(name):
    assert find_peers(**{name: "2"}) == {}


def test_flags_give_the_arguments_of_join():
    given = ("--coordinator", "node1:1234", "--processes=3", "--process=2")
    found = find_peers(*given, "--config.seed=1", SLURM_STEP_NUM_TASKS="2")
    assert found["coordinator_address"] == "node1:1234"
    assert (found["num_processes"], found["process_id"]) == (3, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--coordinator", "a:1"], "--coordinator, --processes and --process must be given"),
        (["--coordinator", "a", "--processes=2", "--process=0"], "must be HOST:PORT, got 'a'"),
        (["--coordinator", "a:1", "--processes=2", "--process=2"], "must be 0 to 1 .* got 2"),
        (["--coordinator", "a:1", "--processes=two", "--process=0"], "invalid int value: 'two'"),
    ],
)
def test_invalid_flags_are_refused(arguments, message):
    with pytest.raises((UserError, UsageError), match=message):
        find_peers(*arguments)


def test_a_killed_process_is_explained_by_the_watchdog(tmp_path):
    (tmp_path / "last/30").mkdir(parents=True)
    (tmp_path / "best/20").mkdir(parents=True)
    code = (
        "import os, pathlib, signal, sys; from train.distributed.watchdog import explain_kill\n"
        "with explain_kill(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), int(sys.argv[2]))"
    )
    for number, said in ((9, "The newest checkpoint is of step 30 in"), (0, "")):
        ended = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), str(number)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == -number
        assert said in ended.stderr and bool(said) == bool(ended.stderr)


def test_the_watchdog_reports_that_there_is_no_checkpoint(tmp_path, capsys):
    watchdog.main(tmp_path, io.BytesIO())
    assert f"There is no checkpoint in {tmp_path}." in capsys.readouterr().err
