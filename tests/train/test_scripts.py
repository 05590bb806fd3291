"""The launchers start one run in several processes; fake programs replace srun and gcloud."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.helpers import ENVIRONMENT, ROOT, TINY, list_saved_steps
from tests.train.processes import find_free_port

ARGUMENTS = ("--config", TINY, "--config.cpu_devices=2")
# Starts two tasks on this computer, with the environment variables of srun.
SRUN = """#!/usr/bin/env bash
echo "$@" > {log}
shift  # --kill-on-bad-exit=1
export SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_NODES=1 SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
wait $!
"""
ECHO = """#!/usr/bin/env bash
printf '%s\\n' "$@" > {log}
"""


def start(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(ROOT / "scripts" / script), *arguments],
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHON": sys.executable} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process and return its output; assert that it returned 0."""
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def write_fake(folder: Path, name: str, text: str) -> Path:
    """Write an executable `name`; return the file to which it writes its arguments."""
    log = folder / f"{name}.log"
    (folder / name).write_text(text.format(log=log))
    (folder / name).chmod(0o755)
    return log


def list_processes(workdir: Path) -> list[int]:
    """Return the number of processes of each start of a run."""
    starts = json.loads((workdir / "environment.json").read_text())
    return [start["processes"] for start in starts]


@pytest.mark.slow
def test_processes_on_one_box_stop_together_and_resume(tmp_path):
    workdir = tmp_path / "run"
    arguments = ("2", *ARGUMENTS, "--config.epochs=60", "--workdir", str(workdir))
    first = start("one_box.sh", *arguments)
    deadline = time.monotonic() + 240
    while not list_saved_steps(workdir) and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    assert "stopped and saved" in finish(first)
    finish(start("one_box.sh", *arguments))
    assert (workdir / "summary.json").exists() and list_processes(workdir) == [2, 2]


def test_one_box_fails_if_a_process_fails(tmp_path):
    run = start("one_box.sh", "2", "--config", "nowhere.py", "--workdir", str(tmp_path / "run"))
    printed, _ = run.communicate(timeout=60)
    assert run.returncode == 2 and "there is no config file nowhere.py" in printed


@pytest.mark.parametrize("script", ["one_box.sh", "slurm.sbatch", "tpu_slice.sh"])
def test_a_launcher_without_arguments_prints_its_usage(script):
    run = start(script)
    printed, _ = run.communicate(timeout=60)
    assert run.returncode == 2 and printed.startswith("usage: ")


@pytest.mark.slow
def test_slurm_tasks_find_each_other_and_an_unfinished_job_is_requeued(tmp_path):
    srun = write_fake(tmp_path, "srun", SRUN)
    requeued = write_fake(tmp_path, "scontrol", ECHO)
    path = f"{tmp_path}:{os.environ['PATH']}"
    workdir = tmp_path / "run"
    job = {"PATH": path, "SLURM_JOB_ID": str(find_free_port()), "JAX_COORDINATOR_PORT": ""}
    finish(start("slurm.sbatch", str(workdir), *ARGUMENTS, **job))
    assert list_processes(workdir) == [2] and (workdir / "summary.json").exists()
    assert srun.read_text().split()[0] == "--kill-on-bad-exit=1" and not requeued.exists()

    (workdir / "summary.json").unlink()
    write_fake(tmp_path, "srun", ECHO)
    finish(start("slurm.sbatch", str(workdir), *ARGUMENTS, **job))
    assert requeued.read_text().split() == ["requeue", job["SLURM_JOB_ID"]]


@pytest.mark.slow
def test_open_mpi_processes_find_each_other(tmp_path):
    workdir = tmp_path / "run"
    # JAX reads the port from the job ID, which is a multiple of 2^12.
    said = {
        "OMPI_MCA_orte_hnp_uri": f"{find_free_port() << 12}.0;tcp://127.0.0.1:1",
        "OMPI_COMM_WORLD_SIZE": "2",
    }
    both = []
    for rank in ("0", "1"):
        own = said | {"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_LOCAL_RANK": rank}
        command = [sys.executable, "-m", "train.main", *ARGUMENTS, "--workdir", str(workdir)]
        both.append(subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT | own))
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert list_processes(workdir) == [2]


def test_every_host_of_a_tpu_slice_gets_the_arguments_unchanged(tmp_path):
    asked = write_fake(tmp_path, "gcloud", ECHO)
    where = ("slice", "us-central2-b", "--config", "configs/imagenet.py:e_spikeformer_pit")
    given = (*where, "--workdir", "/mnt/my runs")
    finish(start("tpu_slice.sh", *given, GCLOUD=str(tmp_path / "gcloud")))
    said = asked.read_text().splitlines()
    assert {"tpu-vm", "ssh", "slice", "us-central2-b", "--worker=all"} <= set(said)
    arguments = "--config configs/imagenet.py:e_spikeformer_pit --workdir /mnt/my\\ runs "
    assert f"nohup .venv/bin/python -m train.main {arguments} >> run.log" in said[-1]
