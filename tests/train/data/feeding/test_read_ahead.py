"""Training on images on disk: resumed runs have equal bits, tests see every image once."""

import functools
import multiprocessing
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from tests.helpers import QUICK_OPTIONS, jit_once
from tests.train.helpers import (
    get_bits,
    limit_devices,
    list_saved_steps,
    load_newest_state,
    load_records,
    load_summary,
    signal_when,
    start_main,
    stop_after,
)
from tests.train.imagenet_files import write_folders
from tests.train.tiny_imagenet import get_config
from train import data
from train.data.feeding.order import TrainingOrder
from train.data.imagenet import source
from train.data.imagenet.array_records import convert
from train.loop import train
from train.program import build, feed
from train.program.inputs import make_normalize
from train.program.program import Program, make_program

pytest.importorskip("grain")
# Sixteen training images and five for testing, in batches of four.
BATCH, STEPS_PER_EPOCH, EPOCHS = 4, 4, 2


@pytest.fixture(scope="module", autouse=True)
def _draw_no_figures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        empty = SimpleNamespace(savefig=lambda file, **_: file.touch())
        drawing = SimpleNamespace(curves=lambda *_: empty, firing_rates=lambda *_: empty)
        patch.setattr("train.run.summary.figures", drawing)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ConfigDict:
    folder = tmp_path_factory.mktemp("imagenet")
    convert(source.plan(write_folders(folder / "source")), folder / "data", workers=1)
    config = get_config()
    config.data.data_dir = str(folder / "data")
    config.health.every_epochs = 0  # Fewer programs to compile.
    return config


@pytest.fixture(scope="module")
def program(config) -> Program:
    with limit_devices(1):
        program = make_program(config, data.load(**config.data))
    # A fifth of the time, since it runs for only a few steps; runs are compared with each other.
    quick = functools.partialmethod(jax.stages.Lowered.compile, compiler_options=QUICK_OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.stages.Lowered, "compile", quick)
        step = program.compile_step()
    return program._replace(compile_step=lambda: step)


@pytest.fixture(scope="module")
def uninterrupted(config, program, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert train(config, workdir, program=program) is not None
    return workdir


def test_the_steps_of_an_epoch_follow_from_the_manifest(program, uninterrupted):
    assert program.steps_per_epoch == STEPS_PER_EPOCH
    assert [record["step"] for record in load_records(uninterrupted)] == [4, 8]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(STEPS_PER_EPOCH, marks=pytest.mark.slow),
        STEPS_PER_EPOCH + 3,
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(config, program, uninterrupted, tmp_path, steps):
    assert train(config, tmp_path, stop=stop_after(steps), program=program) is None
    assert max(list_saved_steps(tmp_path)) == steps
    assert train(config, tmp_path, program=program) is not None
    ended, other = (
        get_bits(load_newest_state(tmp_path, program)),
        get_bits(load_newest_state(uninterrupted, program)),
    )
    assert [path for path in other if ended[path] != other[path]] == []
    assert load_records(tmp_path) == load_records(uninterrupted)
    assert load_summary(tmp_path) == load_summary(uninterrupted)


def test_evaluation_counts_images_once_and_ignores_padding(config, program):
    dataset = data.load(**config.data)
    state = program.first_state()
    images, labels = zip(*(dataset.test.read(i, None) for i in range(5)), strict=True)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    variables = jax.tree.map(lambda x: jax.numpy.asarray(np.array(x)), variables)
    floats = make_normalize(dataset)(np.stack(images))
    logits = jit_once(build.make_network(config, dataset).apply)(variables, floats)
    logits = np.asarray(logits, np.float64).mean(axis=1)
    each = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(5), labels]
    got = program.evaluate(state)
    assert got.accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert got.loss == pytest.approx(each.mean(), abs=1e-5)
    assert program.evaluate(state) == got


def test_batches_of_a_program_are_those_of_the_order(config, program):
    dataset = data.load(**config.data)
    order = TrainingOrder(config.seed, len(dataset.train), BATCH, EPOCHS)
    read_batches = list(dataset.train.batches(order))
    for first in (0, 5):
        batches = list(program.batches(first))
        assert len(batches) == EPOCHS * STEPS_PER_EPOCH - first
        for step, batch in enumerate(batches, start=first):
            for name, column in read_batches[step].items():
                assert (np.asarray(batch[name]) == column).all()


def test_batches_are_divided_among_devices(config):
    with limit_devices(4):
        program = make_program(config, data.load(**config.data))
    batch = next(program.batches(0))
    assert {shard.data.shape for shard in batch["image"].addressable_shards} == {(1, 8, 8, 3)}


@pytest.mark.slow
def test_evaluation_on_four_devices_equals_evaluation_on_one(config, program):
    with limit_devices(4):
        of_four = make_program(config, data.load(**config.data))
    state = of_four.first_state()
    _, metrics = of_four.compile_step()(of_four.first_state(), next(of_four.batches(0)))
    assert np.isfinite(metrics["loss"])
    loss = program.evaluate(program.first_state()).loss
    assert of_four.evaluate(state).loss == pytest.approx(loss, abs=1e-4)


def test_prefetching_requests_one_batch_in_advance():
    asked = []

    def numbers():
        for i in range(3):
            asked.append(i)
            yield {"n": i}

    given = feed.prefetch_to_device(numbers())
    assert next(given) == {"n": 0} and asked == [0, 1]
    assert [item["n"] for item in given] == [1, 2]
    assert list(feed.prefetch_to_device(iter(()))) == []


def test_workers_added_at_a_resume_change_no_bit_and_end_with_the_run(
    config, program, uninterrupted, tmp_path
):
    assert train(config, tmp_path, stop=stop_after(1), program=program) is None
    config = config.copy_and_resolve_references()
    config.data.workers = 1
    with limit_devices(1):
        batches = make_program(config, data.load(**config.data)).batches
    # The same compiled program; only its batches are read by a worker.
    assert train(config, tmp_path, program=program._replace(batches=batches)) is not None
    assert get_bits(load_newest_state(tmp_path, program)) == get_bits(
        load_newest_state(uninterrupted, program)
    )
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_workers_end_with_a_killed_process_and_the_run_resumes(config, tmp_path):
    file, workdir = tmp_path / "run.py", tmp_path / "run"
    file.write_text(
        "from ml_collections import ConfigDict\n"
        f"def get_config():\n    return ConfigDict({config.to_dict()!r})\n"
    )
    options = ("--config", str(file), "--workdir", str(workdir), "--config.data.workers=1")
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        process = start_main(*options, "--config.epochs=1000000")
        workers: list[Path] = []

        before = list_saved_steps(workdir)

        def trains(process=process, workers=workers, before=before) -> bool:
            workers[:] = list_workers(process.pid)
            return bool(workers) and max(list_saved_steps(workdir), default=0) > max(
                before, default=0
            )

        ended, printed = signal_when(process, trains, number)
        assert ended == code, printed
        deadline = time.monotonic() + 300
        while any(map(is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert workers and not any(map(is_alive, workers))
    assert "stopped and saved" in printed


def list_workers(number: int) -> list[Path]:
    """Return the folders under /proc of the workers that a process has started."""
    lists = [read(file) for file in Path(f"/proc/{number}/task").glob("*/children")]
    children = [Path("/proc") / child.decode() for child in b" ".join(lists).split()]
    return [folder for folder in children if b"spawn_main" in read(folder / "cmdline")]


def is_alive(folder: Path) -> bool:
    """Return whether the process runs; a zombie has an empty command line."""
    return read(folder / "cmdline") != b""


def read(file: Path) -> bytes:
    """Return the content, or nothing if the process is gone."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
