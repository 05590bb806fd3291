"""What the tests of the training program share: meshes, stopped runs, and what runs wrote."""

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
from collections.abc import Callable, Iterator
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
# A run has compiled these once it has begun.
RUN = {"jit(first_state)", "jit(step)"}


def make_test_mesh(count: int) -> Mesh:
    """The first `count` devices, as `train.program.sharding.make_data_mesh` places all of them."""
    devices = jax.devices()[:count]
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def take_devices(count: int) -> list[jax.Device]:
    """Return the devices of a run that takes only some of them."""
    return jax.devices()[:count]


@contextlib.contextmanager
def limit_devices(count: int) -> Iterator[None]:
    """Runs that begin meanwhile are on the first `count` devices.

    On one nothing can hang: two programs at once may wait for each other's collectives for ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.program.sharding.make_data_mesh", lambda *_: make_test_mesh(count))
        yield


def make_program_on(
    count: int, config: ConfigDict, dataset: Dataset | None = None, **parts: Any
) -> Program:
    """Return the program of a run with `config` or other `parts`, on the first `count` devices."""
    dataset = dataset or data.load(**config.data)
    given = load_pretrained(config, dataset)
    return make_program(config, dataset, given=given, devices=take_devices(count), **parts)


def stop_after(steps: int) -> Callable[[], bool]:
    """What `train` asks before each step; true once `steps` are done."""
    asked = itertools.count()
    return lambda: next(asked) >= steps


def load_newest_state(workdir: Path, program: Program) -> TrainState:
    """The newest checkpoint of a run."""
    checkpoints = Checkpoints(workdir)
    try:
        restored = checkpoints.restore(program.abstract_state)
    finally:
        checkpoints.close()
    assert restored is not None, f"no checkpoint in {workdir}"
    return restored[0]


def get_bits(tree: Any) -> dict[str, bytes]:
    """Every leaf of `tree` as bytes, by its path."""
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        leaves[jax.tree_util.keystr(path)] = np.asarray(leaf).tobytes()
    return leaves


def load_records(workdir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name != "images_per_second"}
        for line in lines
    ]


def load_summary(workdir: Path) -> dict[str, Any]:
    """summary.json without the place and what depends on the clock."""
    summary = json.loads((workdir / "summary.json").read_text())
    return {name: value for name, value in summary.items() if name not in ("seconds", "workdir")}


def list_saved_steps(workdir: Path, folder: str = "last") -> list[int]:
    """The steps of the whole checkpoints in a folder; an unfinished one has a longer name."""
    where = workdir / folder
    return [int(path.name) for path in where.glob("*") if path.name.isdigit()]


def assert_same_end(one: Path, other: Path, program: Program, leaves: int = 30) -> None:
    """Two runs ended with the same bits, of more than `leaves` arrays, and wrote the same but for
    the clock.
    """
    states = [get_bits(load_newest_state(workdir, program)) for workdir in (one, other)]
    assert len(states[0]) > leaves
    assert [path for path in states[0] if states[0][path] != states[1][path]] == []
    assert load_records(one) == load_records(other)
    assert load_summary(one) == load_summary(other)
    assert list_saved_steps(one, "best") == list_saved_steps(other, "best")


def read_contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below `folder` with its bytes and the time of its last change."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else b"",
            path.stat().st_mtime_ns,
        )
        for path in [folder, *folder.rglob("*")]
    }


def run_main(*args: str) -> int:
    """`python -m train.main ARGS` in this process, which keeps its own handlers and hooks."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    levels = {name: logging.getLogger(name).level for name in ("absl", "asyncio")}
    hook = sys.unraisablehook
    try:
        return main(["main", *args])
    finally:
        sys.unraisablehook = hook
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def start_main(*args: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """`python -m train.main ARGS` in a process of its own."""
    return subprocess.Popen(
        [*MAIN, *args],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def signal_when(
    process: subprocess.Popen[str], condition: Callable[[], bool], number: signal.Signals
) -> tuple[int, str]:
    """Sends the signal as soon as the condition holds; gives the exit code and what was printed."""
    deadline = time.monotonic() + 300
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def write_cifar100(folder: Path, count: int) -> Path:
    """A small data set in the official archive's format: pickled rows of 3072 bytes in a tar.gz."""
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
