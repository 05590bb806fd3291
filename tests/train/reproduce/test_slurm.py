"""The script of a job array; fake programs replace Python and scontrol."""

import os
import signal
import subprocess
import time

import pytest

from tests.train.helpers import ROOT

SCRIPT = ROOT / "scripts" / "reproduce_slurm.sh"
# Notes its arguments, and ends with CODE; after SIGTERM with 143, as train.reproduce does.
PYTHON = """#!/usr/bin/env bash
trap 'sleep 0.3; exit 143' TERM
echo "$@" > {folder}/started
for ((i = 0; i < {tenths}; i++)); do sleep 0.1; done
exit {code}
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" > {folder}/requeued
"""


def start(folder, *words: str, tenths: int = 0, code: int = 0) -> subprocess.Popen[str]:
    for name, text in (("python", PYTHON), ("scontrol", SCONTROL)):
        (folder / name).write_text(text.format(folder=folder, tenths=tenths, code=code))
        (folder / name).chmod(0o755)
    own = {"PYTHON": str(folder / "python"), "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.Popen(
        ["bash", str(SCRIPT), *words],
        env=os.environ | own | {"SLURM_JOB_ID": "77"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_program_gets_the_arguments_and_its_exit_code_is_kept(code, tmp_path):
    process = start(tmp_path, "my results", "table2", "--scale", "paper", code=code)
    process.communicate(timeout=30)
    assert process.returncode == code and not (tmp_path / "requeued").exists()
    started = (tmp_path / "started").read_text()
    assert started == "-m train.reproduce table2 --scale paper --out my results\n"


def test_a_job_that_was_stopped_before_its_limit_is_requeued(tmp_path):
    process = start(tmp_path, "out", "all", tenths=300)
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"


def test_without_arguments_the_usage_is_printed(tmp_path):
    process = start(tmp_path)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 2 and printed.startswith("usage: ")
