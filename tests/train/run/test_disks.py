"""Runs on a full or a read-only disk; only root may mount one."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.helpers import (
    ROOT,
    TINY,
    assert_same_end,
    make_program_on,
    start_main,
)
from tests.train.test_kills import finish
from train.config.cli import parse
from train.errors import UserError
from train.run.checkpoint import find_newest_step
from train.run.workdir import claim

MANY = ("--config", TINY, "--config.epochs=6", "--config.checkpoints.last=50")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """Mount a disk of 10 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-o", "size=10m", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this process may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_disk_is_refused(disk):
    with claim(disk / "run", {"seed": 1}):
        pass
    mount("-o", "remount,ro", "tmpfs", str(disk))
    with pytest.raises(UserError, match="cannot write to the workdir .* [(]Read-only file system"):
        with claim(disk / "run", {"seed": 1}):
            pass


@pytest.mark.slow
@pytest.mark.usefixtures("no_compilation_cache")  # Compiled programs take room, too.
def test_a_run_on_a_full_disk_ends_and_resumes_when_there_is_room(disk, tmp_path):
    """Let another write fail with each size: of a compiled program, a checkpoint, a manifest."""
    # All in processes of their own: the process of a test has more devices, which changes bits.
    finish(MANY, tmp_path / "alone")
    program = make_program_on(1, parse(["main", *MANY])[0])
    kept = set()
    for kilobytes in (420, 700, 840):
        workdir = disk / f"run{kilobytes}"
        mount("-o", f"remount,size={kilobytes}k", "tmpfs", str(disk))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = start_main(*MANY, "--workdir", str(workdir), env=environment)
        printed, _ = process.communicate(timeout=600)
        full = f"error: cannot write to {workdir}: No space left on device; (.*)"
        message = re.search(full, printed)
        assert process.returncode == 2 and message, printed
        newest = find_newest_step(workdir)
        was_kept = f"the checkpoint of step {newest} is kept"
        said = "nothing was saved yet" if newest is None else was_kept
        assert message[1] == f"{said}. Fix this and repeat the command to resume."
        kept.add(newest)
        mount("-o", "remount,size=10m", "tmpfs", str(disk))
        finish(MANY, workdir)
        assert_same_end(tmp_path / "alone", workdir, program)
        shutil.rmtree(workdir)
    assert len(kept) > 1
