"""Runs of which one file is damaged, and the programs that read them: tiny.py, stopped early."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from tests.fuzz.core import SLOW_SHARE, FileTarget
from tests.train.helpers import (
    get_bits,
    load_newest_state,
    load_records,
    make_program_on,
    stop_after,
)
from tests.train.tiny import get_config
from train import data
from train.analyze.__main__ import read_run as read_subject
from train.data import Dataset
from train.evaluate.measure import evaluate
from train.export.compile_run import compile_checkpoint
from train.loop import train
from train.program.program import Program
from train.report.sections import make_page, read_run
from train.run.reading import load_run_config
from train.run.restore import identify_checkpoint

STOPPED_AFTER = 5


@functools.cache
def make_program() -> Program:
    """Return the program of all runs, whose step is compiled once."""
    return make_program_on(1, make_config())


def make_config() -> ConfigDict:
    """Return the config of the runs; without figures, TensorBoard files and a cache."""
    config = get_config()
    config.tensorboard = False
    return config


@functools.cache
def load_data() -> Dataset:
    """Return the data of the runs."""
    return data.load(**make_config().data)


def write_stopped(folder: Path) -> list[Path]:
    """Write a run that was stopped within its last epoch, with counts for its health."""
    train(make_config(), folder / "run", stop=stop_after(STOPPED_AFTER), program=make_program())
    assert (folder / "run" / "health.npz").is_file()
    return [folder / "run"]


@functools.cache
def finish_undisturbed(source: Path) -> tuple[list[dict], dict[str, bytes]]:
    """Return the records and the last state of an undisturbed run."""
    workdir = shutil.copytree(source, source.with_name("undisturbed"))
    return _finish(workdir)


def _finish(workdir: Path) -> tuple[list[dict], dict[str, bytes]]:
    train(make_config(), workdir, program=make_program())
    return load_records(workdir), get_bits(load_newest_state(workdir, make_program()))


def resume(path: Path) -> None:
    """Resume a damaged run: it ends like the undisturbed one."""
    records, state = finish_undisturbed(path.parents[1] / "good" / "run")
    found, bits = _finish(path)
    assert found == records, "other records"
    assert bits == state, "another state"


def report(path: Path) -> None:
    """Make the page of a damaged run, and check that it is one."""
    assert "</html>" in make_page([read_run(path, "run")])


def measure(path: Path) -> None:
    """Evaluate a damaged run: the result is the one of its checkpoint."""
    found = evaluate(load_run_config(path), path, "last", "test")
    assert np.isfinite(found["loss"]) and found["step"] == STOPPED_AFTER


def analyze(path: Path) -> None:
    """Load a damaged run for its analysis."""
    found = read_subject(path, "run", load_run_config(path), "last", path / "analysis")
    assert found.step == STOPPED_AFTER
    assert all(np.isfinite(leaf).all() for leaf in get_arrays(found.variables))


def export(path: Path) -> None:
    """Compile a checkpoint of a damaged run."""
    config, saved = load_run_config(path), identify_checkpoint(path, "last")
    assert compile_checkpoint(config, saved, load_data()) is not None


def get_arrays(tree: object) -> list[np.ndarray]:
    """Return the leaves of a tree as arrays."""
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _target(name: str, read: Callable[[Path], None]) -> FileTarget:
    # The compilation of a step, or of an evaluation, is part of the time of the first one.
    return FileTarget(name, write_stopped, read, seconds=120, gigabytes=4, share=SLOW_SHARE)


TARGETS = [
    _target("resume of a run", resume),
    _target("report of a run", report),
    _target("evaluation of a run", measure),
    _target("analysis of a run", analyze),
    _target("export of a run", export),
]
