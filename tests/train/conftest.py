"""Fixtures of the training tests: one finished run for all, compiled functions, no network."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from tests.train.helpers import limit_devices, read_contents, run_main

_compiled: list[str] = []


def _note(event: str, seconds: float, **about: str) -> None:
    del seconds
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(about["fun_name"])


@pytest.fixture(scope="session", autouse=True)
def _listen() -> None:
    jax.monitoring.register_event_duration_secs_listener(_note)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Return the names of the functions that were compiled since the test began."""
    _compiled.clear()
    yield _compiled


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Let every download fail at once."""

    def refuse(url: str, start: int) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("train.data.storage.download._open", refuse)


@pytest.fixture
def no_figures(monkeypatch) -> None:
    """Let runs write empty files instead of figures, whose drawing takes half of a tiny run."""
    empty = SimpleNamespace(savefig=lambda file, **_: file.touch())
    drawing = SimpleNamespace(curves=lambda *_: empty, firing_rates=lambda *_: empty)
    monkeypatch.setattr("train.run.summary.figures", drawing)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Iterator[Path]:
    """Return the folder of a finished run of tiny_finished.py on one device, for reading only.

    It has all files of a run: the checkpoints `first`, `last` and `best`, config.json,
    metrics.jsonl, summary.json and environment.json. Next to it, printed.txt has what it printed.
    One pytest-xdist worker makes it for all. Tests that write into a run use `finished_copy`.
    """
    folder = _find_shared_folder(tmp_path_factory) / "finished"
    folder.mkdir(exist_ok=True)
    workdir, done = folder / "tiny", folder / "done"
    with (folder / "lock").open("w") as lock:
        # A dead worker holds no lock: the operating system releases it when a process ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(workdir, ignore_errors=True)  # It may be incomplete, of a dead worker.
            arguments = ("--config", "tests/train/tiny_finished.py", "--config.cpu_devices=4")
            with (
                limit_devices(1),
                (folder / "printed.txt").open("w") as printed,
                contextlib.redirect_stdout(printed),
            ):
                assert run_main(*arguments, "--workdir", str(workdir)) == 0
            done.touch()
    before = read_contents(workdir)
    yield workdir
    assert read_contents(workdir) == before, "a test wrote into finished_run: use finished_copy"


@pytest.fixture
def finished_copy(finished_run, tmp_path_factory) -> Path:
    """Return a copy of `finished_run` that the test may change."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("copy") / finished_run.name)


def _find_shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of this pytest session that all its workers see."""
    own: Path = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
