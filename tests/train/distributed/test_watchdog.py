"""The watchdog explains why a process was killed."""

import io
import subprocess
import sys

from tests.train.processes import PATIENCE_SECONDS
from train.distributed import watchdog


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
            timeout=PATIENCE_SECONDS,
        )
        assert ended.returncode == -number
        assert said in ended.stderr and bool(said) == bool(ended.stderr)


def test_the_watchdog_reports_that_there_is_no_checkpoint(tmp_path, capsys):
    watchdog.main(tmp_path, io.BytesIO())
    assert f"There is no checkpoint in {tmp_path}." in capsys.readouterr().err
