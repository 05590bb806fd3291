"""Helpers of the training tests: devices, interrupted runs, and readers of what runs wrote."""

import contextlib
import io
import itertools
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from train import data
from train.data import Dataset
from train.main import main
from train.program.program import Program, make_program
from train.program.state import TrainState
from train.run.checkpoint import Checkpoints
from train.run.pretrained import load_pretrained

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "tests/train/tiny.py")
MAIN = (sys.executable, "-m", "train.main")
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
# Functions that every run compiles when it starts: a refused run has compiled neither.
RUN = {"jit(first_state)", "jit(step)"}


def make_test_mesh(count: int) -> Mesh:
    """Return the mesh of `sharding.make_data_mesh`, but of the first `count` devices only."""
    devices = jax.devices()[:count]
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def take_devices(count: int) -> list[jax.Device]:
    """Return the first `count` devices."""
    return jax.devices()[:count]


@contextlib.contextmanager
def limit_devices(count: int) -> Iterator[None]:
    """Let runs that start in this block use the first `count` devices only.

    On one device no test can hang: two programs that run at once on several devices may wait for
    each other's collectives forever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.program.sharding.make_data_mesh", lambda *_: make_test_mesh(count))
        yield


def make_program_on(
    count: int, config: ConfigDict, dataset: Dataset | None = None, **parts: Any
) -> Program:
    """Return the program of a run with `config` on the first `count` devices.

    `parts` are further arguments of `make_program`.
    """
    dataset = dataset or data.load(**config.data)
    given = load_pretrained(config, dataset)
    return make_program(config, dataset, given=given, devices=take_devices(count), **parts)


def stop_after(steps: int) -> Callable[[], bool]:
    """Return a `stop` argument for `train` that becomes true after `steps` steps."""
    calls = itertools.count()  # `train` calls it once before each step.
    return lambda: next(calls) >= steps


def load_newest_state(workdir: Path, program: Program) -> TrainState:
    """Return the state in the newest checkpoint of a run."""
    checkpoints = Checkpoints(workdir)
    try:
        restored = checkpoints.restore(program.abstract_state)
    finally:
        checkpoints.close()
    assert restored is not None, f"no checkpoint in {workdir}"
    return restored[0]


def get_bits(tree: Any) -> dict[str, bytes]:
    """Return the bytes of every leaf of `tree` by its path."""
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        leaves[jax.tree_util.keystr(path)] = np.asarray(leaf).tobytes()
    return leaves


def load_records(workdir: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl, without the values that depend on the clock."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name != "images_per_second"}
        for line in lines
    ]


def load_summary(workdir: Path) -> dict[str, Any]:
    """Read summary.json, without the workdir and the values that depend on the clock."""
    summary = json.loads((workdir / "summary.json").read_text())
    return {name: value for name, value in summary.items() if name not in ("seconds", "workdir")}


def list_saved_steps(workdir: Path, folder: str = "last") -> list[int]:
    """Return the steps of the complete checkpoints in a folder."""
    # An incomplete checkpoint has a suffix, which Orbax removes in the end.
    return [int(path.name) for path in (workdir / folder).glob("*") if path.name.isdigit()]


def assert_same_end(one: Path, other: Path, program: Program, leaves: int = 30) -> None:
    """Assert that two runs ended with the same bits and wrote the same records.

    Times are ignored. The states must have more than `leaves` arrays.
    """
    states = [get_bits(load_newest_state(workdir, program)) for workdir in (one, other)]
    assert len(states[0]) > leaves
    assert [path for path in states[0] if states[0][path] != states[1][path]] == []
    assert load_records(one) == load_records(other)
    assert load_summary(one) == load_summary(other)
    assert list_saved_steps(one, "best") == list_saved_steps(other, "best")


def read_contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and the modification time of `folder` and of everything in it, by path."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mtime_ns,
        )
        for path in [folder, *folder.rglob("*")]
    }


def run_main(*args: str) -> int:
    """Run `train.main` in this process, and restore log levels and hooks."""
    levels = {name: logging.getLogger(name).level for name in ("absl", "asyncio")}
    hook = sys.unraisablehook
    try:
        return main(["main", *args])
    finally:
        sys.unraisablehook = hook
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def start_main(
    *args: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `python -m train.main ARGS` in a new process."""
    return subprocess.Popen(
        [*MAIN, *args],
        cwd=cwd,
        env=ENVIRONMENT if env is None else env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def signal_when(
    process: subprocess.Popen[str], condition: Callable[[], bool], number: signal.Signals
) -> tuple[int, str]:
    """Send a signal once `condition()` is true; return the exit code and the output."""
    deadline = time.monotonic() + 300
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def write_cifar100(folder: Path, count: int) -> Path:
    """Write a small data set in the official format: pickled rows of 3072 bytes in a tar.gz."""
    rng = np.random.default_rng(0)
    archive = folder / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("train", "test"):
            rows = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
            batch = {b"data": rows, b"fine_labels": rng.integers(0, 100, count).tolist()}
            content = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive
