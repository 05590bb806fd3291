"""Workloads W6, W7 and W8: what they run is what they say."""

import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks.workload import Missing, load_module
from benchmarks.workloads import inference, pipeline, startup
from train.data.feeding.order import TrainingOrder
from train.program.inputs import make_normalize


@pytest.mark.slow  # Half a minute for a network each.
@pytest.mark.parametrize("peer", ["pit_jax", "flax"])
def test_norms_of_inference_have_the_statistics_of_the_images(peer, monkeypatch):
    task = {**inference.NETWORK, "neuron": "ReLU", "steps": 1, "batch": 2, "small": True}
    begun = []

    def make_jax(model, task, options):
        begun.append((model, inference.begin(model)))

    monkeypatch.setattr(inference, "make_jax", make_jax)
    inference.make(peer, task)
    (model, variables) = begun[0]
    x = jax.numpy.asarray(inference.draw_images(inference.STATISTICS))

    @jax.jit
    def infer_twice(variables):
        with_batch, _ = model.apply(variables, x, train=True, mutable=["batch_stats"])
        return model.apply(variables, x, train=False), with_batch

    stored, with_batch = infer_twice(variables)
    np.testing.assert_allclose(stored, with_batch, rtol=1e-3, atol=1e-3)


def test_inference_of_one_image_has_no_options_of_batches(monkeypatch):
    given = []
    monkeypatch.setattr(inference, "make_jax", lambda model, task, options: given.append(options))
    monkeypatch.setattr("pit_jax.tuning.compiler_options", lambda kind: {"kind": kind})
    for batch in inference.BATCHES:
        inference.make(
            "pit_jax", {**inference.NETWORK, "neuron": "ReLU", "steps": 1, "batch": batch}
        )
    assert given == [None, {"kind": "evaluate"}]


def test_the_pipeline_yields_the_inputs_of_the_training_steps(tmp_path):
    task = {**pipeline.CASES["Fashion-MNIST: crop, flip"], "samples": 12, "batch": 4, "small": True}
    config = pipeline.make_config(task)
    config.augment = {}
    dataset = pipeline.make_dataset(task, config, tmp_path)
    order = TrainingOrder(config.seed, 12, 4, config.epochs)
    # The fourth step is in the second epoch.
    for step, (images, labels) in zip(
        range(4), pipeline.begin_pipeline(config, dataset), strict=False
    ):
        chosen = order.indices(step)
        want = make_normalize(dataset)(jax.numpy.asarray(dataset.train.images[chosen]))
        np.testing.assert_allclose(images, want, rtol=1e-6)
        np.testing.assert_array_equal(labels, dataset.train.labels[chosen])


def test_the_training_step_is_compared_with_its_pipeline():
    for cell in load_module("W7").WORKLOAD.cells:
        alone, step = cell.entries
        assert (alone.label, step.label, step.against) == (*pipeline.PARTS, pipeline.PARTS[:1])
        assert {**alone.task, "part": ""} == {**step.task, "part": ""}


def test_a_program_of_a_start_applies_its_settings_itself(monkeypatch):
    for name in ("GLIBC_TUNABLES", "PIT_JAX_RESTARTED", "PYTHONPATH", "KEPT"):
        monkeypatch.setenv(name, "1")
    shell = startup.read_shell()
    assert shell["KEPT"] == "1"
    assert not {"GLIBC_TUNABLES", "PIT_JAX_RESTARTED", "PYTHONPATH"} & shell.keys()


def test_a_start_ends_with_the_first_line_and_not_with_the_file(tmp_path):
    file = tmp_path / "metrics.jsonl"
    code = "import sys, time; f = open(sys.argv[1], 'w'); time.sleep(0.5); print(1, file=f)"
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-S", "-c", code, str(file)]) as process:
        assert startup.wait_for_line(file, process, started) > 0.5
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        assert startup.wait_for_line(tmp_path / "never", process, started) is None


def test_only_the_start_that_fills_the_cache_is_not_counted(monkeypatch):
    monkeypatch.setattr(startup.Start, "start", lambda self: 5.0)
    for cache, seconds in (("cold", 0.0), ("cached", 5.0)):
        start = startup.make("pit_jax", {"words": ["--config=digits"], "cache": cache})
        assert start.prepare() == seconds and start.measure(2) == 5.0
        start.close()


def test_the_first_step_of_a_peer_is_its_only_one():
    cells = load_module("W8").WORKLOAD.cells
    peers = [entry for cell in cells for entry in cell.entries if entry.peer != "pit_jax"]
    assert {entry.peer for entry in peers} == {"pytorch", "spikingjelly"}
    # Without a layout, training in PyTorch takes steps in both to choose one.
    assert all(entry.task["step"]["layout"] == "contiguous" for entry in peers)


def test_what_a_peer_cannot_do_is_missing():
    for name, task in (("W6", {}), ("W7", {}), ("W8", {"step": {}})):
        with pytest.raises(Missing):
            load_module(name).make("norse", task)


@pytest.mark.slow
def test_the_first_step_of_a_program_is_found():
    task = {"words": [], "cache": "cached", "small": True}
    start = startup.make("pit_jax", task)
    first = start.prepare()
    # Reading the cache is faster than compiling, by several seconds.
    assert 0 < start.measure(1) < first
    assert start.read_peak_mib() > 100
    start.close()
