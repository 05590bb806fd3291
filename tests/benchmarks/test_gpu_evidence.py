"""The evidence from a GPU: its plans, its time limit, and what a repeated command skips."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_evidence, gpu_work
from benchmarks.gpu_evidence import UNFINISHED, Job
from benchmarks.gpu_work import FIRST, PROBE, ROWS, SPEED, Plan
from benchmarks.peers import ROOT
from train.config import cli
from train.data import ArraySplit, Dataset

DEVICE = "Card 9000"
PROBED = {
    "status": "ok", "device": DEVICE, "backend": "gpu", "environment": {"commit": "abc"}
}  # fmt: skip
TIMED = {"status": "ok", "epoch_seconds": 2.0}
TRAINED = {"status": "ok", "accuracy": 0.9, "spikes": 0.5}
FLIPS = {"flipped": 0.01}
DONE = {
    "run": TRAINED,
    "memory": {"status": "ok", "peak": 2e9, "paper": 2.43},
    "parity": {
        "status": "ok", "images": 256, "float32": FLIPS, "bfloat16": FLIPS,
        "program": {"equal": True, "flipped": 0.0},
    },
}  # fmt: skip


def make_job(out: Path, **changes) -> Job:
    given = {"small": False, "seconds": 1000.0, "epochs": 0, "seeds": 2, "together": 2}
    return Job(out=out, data=Path("data"), **{**given, **changes})


def list_names(epochs: int, **changes) -> list[str]:
    given = {"small": False, "epochs": epochs, "seeds": 2}
    return [plan.name for plan in gpu_work.list_plans(**{**given, **changes})]


def run_with(monkeypatch, job: Job, answers: dict):
    """Run with children that answer `answers[name]`; return code, printed lines, asked names."""
    asked, said = [], []

    def ask(name, *, small, seconds, module, options):
        asked.append(name)
        plans = gpu_work.list_plans(small=small, epochs=5, seeds=job.seeds)
        works = {plan.name: plan.work for plan in plans}
        usual = {PROBE: PROBED, SPEED: TIMED} | {n: DONE[work] for n, work in works.items()}
        return dict((usual | answers)[name])

    monkeypatch.setattr(gpu_evidence, "ask", ask)
    return gpu_evidence.run(job, said.append), said, asked


def read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_first_seeds_come_before_checks_memory_and_further_seeds():
    plans = gpu_work.list_plans(small=False, epochs=5, seeds=3)
    works = [(plan.work, plan.seed) for plan in plans]
    assert works[:4] == [("run", 0)] * 4 and {plan.row for plan in plans[:4]} == set(ROWS)
    assert [work for work, _ in works[4:14]] == ["parity"] * 2 + ["memory"] * 8  # Table 5.
    assert works[14:] == [("run", 1)] * 4 + [("run", 2)] * 4
    for small in (True, False):
        names = list_names(5, small=small)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ROWS)
def test_runs_are_of_the_full_network_in_bfloat16_on_padded_images(row):
    flags = gpu_work.make_flags(row, small=False, epochs=3, folder=Path("elsewhere"))
    config, _ = cli.parse(["gpu_evidence", *flags])
    model, given = config.model, config.data.to_dict()
    assert (model.name, model.width, model.dtype) == ("resnet18", 64, "bfloat16")
    assert given == {"name": "fashion_mnist", "data_dir": "elsewhere"} and config.epochs == 3
    levels = config.neuron.get("levels", 1)
    assert config.num_steps * levels == 4 and f"{config.num_steps}x{levels}" in row


def test_images_are_padded_on_all_sides():
    split = ArraySplit(np.ones((2, 28, 28, 1), np.uint8), np.zeros(2, np.int32))
    padded = gpu_work.pad_images(Dataset("fashion_mnist", split, split, 10), 32).test.images
    assert padded.shape == (2, 32, 32, 1) and padded.sum() == split.images.sum()
    assert padded[:, 2:30, 2:30].all()


@pytest.mark.parametrize(("seconds", "epochs"), [(0.1, 5), (5.0, 2), (8.0, 1), (1000.0, 1)])
def test_the_number_of_epochs_fits_the_time_limit(tmp_path, seconds, epochs):
    job = make_job(tmp_path / "new.jsonl", seconds=285.0)
    assert gpu_evidence.choose_epochs({"status": "ok", "epoch_seconds": seconds}, job) == epochs
    assert gpu_evidence.choose_epochs(TIMED, job._replace(epochs=7)) == 7
    late = {"status": "late", "reason": "not finished"}
    assert gpu_evidence.choose_epochs(late, job) == gpu_evidence.UNKNOWN_EPOCHS


def test_every_result_is_written_with_its_device_and_commit(monkeypatch, tmp_path):
    file = tmp_path / "new" / "gpu.jsonl"
    code, said, asked = run_with(monkeypatch, make_job(file), {})
    assert code == 0 and asked[:2] == [PROBE, SPEED] and set(asked[2:]) == set(list_names(5))
    probed, timed, *results = read(file)
    assert probed["name"] == PROBE and timed["epochs"] == 5
    assert {(each["device"], each["commit"], each["epochs"]) for each in results} == {
        (DEVICE, "abc", 5)
    }
    assert any("program and grid are equal on 256 images" in line for line in said)
    assert any(line.endswith("peak 2.00 GB, the paper prints 2.43") for line in said)


def test_a_repeated_command_computes_only_what_is_left(monkeypatch, tmp_path):
    job, (first, second, *others) = make_job(tmp_path / "gpu.jsonl"), list_names(5)
    answers = {
        first: {"status": "late", "reason": "not finished"},
        second: {"status": "failed", "reason": "out of memory"},
        others[0]: {"status": "missing", "reason": "no CPU"},
    }
    code, said, _ = run_with(monkeypatch, job, answers)
    assert code == UNFINISHED and said[-1].startswith("0 results are left and 2 failed")
    # The file determines the number of epochs.
    slow = {SPEED: {"status": "ok", "epoch_seconds": 1000.0}}
    code, _, asked = run_with(monkeypatch, job, slow)
    assert code == 0 and asked[0] == PROBE and set(asked[1:]) == {first, second}
    # Another device has no results yet.
    other = {PROBE: PROBED | {"device": "Card 1"}}
    assert len(run_with(monkeypatch, job, other)[2]) == 2 + len(list_names(5))


def test_a_machine_without_a_gpu_is_reported_and_not_recorded(monkeypatch, tmp_path):
    file, answers = tmp_path / "gpu.jsonl", {PROBE: PROBED | {"device": "cpu", "backend": "cpu"}}
    code, said, asked = run_with(monkeypatch, make_job(file), answers)
    assert code == 1 and asked == [PROBE] and not file.exists()
    assert said[-1].startswith("error: no GPU was found; JAX has only cpu.")


def test_a_failed_probe_ends_the_command(monkeypatch, tmp_path):
    answers = {PROBE: {"status": "failed", "reason": "Fashion-MNIST is missing"}}
    code, said, asked = run_with(monkeypatch, make_job(tmp_path / "gpu.jsonl"), answers)
    assert code == 1 and asked == [PROBE] and "Fashion-MNIST is missing" in said[0]


def test_the_time_limit_leaves_what_does_not_fit():
    plans = [Plan("long", "run", FIRST, seconds=1000.0), Plan("short", "run", FIRST, seconds=5.0)]
    done = []
    end = time.monotonic() + 100
    assert gpu_evidence.measure_all(plans, end, 2, done.append) == 1
    assert [plan.name for plan in done] == ["short"]
    assert gpu_evidence.measure_all(plans, time.monotonic(), 2, done.append) == 2


def test_flipped_spikes_are_counted_by_layer():
    zeros = {"a": np.zeros((1, 10)), "b": np.zeros((1, 10))}
    flipped = {"a": np.zeros((1, 10)), "b": np.eye(1, 10)}
    here, there = (np.array([[0.0, 1.0]]), zeros), (np.array([[0.5, 0.25]]), flipped)
    found = gpu_work.count_flips(here, there)
    assert found["flipped"] == pytest.approx(0.05) and found["flipped_most"] == pytest.approx(0.1)
    assert found["predictions_changed"] == 1 and found["logits_differ_by"] == 0.75


@pytest.mark.slow
def test_the_script_runs_on_a_cpu_in_small_size(tmp_path):
    file = tmp_path / "gpu.jsonl"
    command = ["bash", str(ROOT / "scripts" / "gpu_evidence.sh"), "--small", f"--out={file}"]
    environment = {**os.environ, "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))

    def start() -> tuple[int, str]:
        ended = subprocess.run(
            [*command, "--seeds=1"], env=environment, capture_output=True, text=True
        )
        return ended.returncode, ended.stdout + ended.stderr

    for _ in range(4):  # On a busy machine some results are left to the next command.
        code, printed = start()
        if code != UNFINISHED:
            break
    assert code == 0, printed
    probed, *lines = read(file)
    assert probed["environment"]["jax"] and probed["data"].startswith("digits")
    results = [line for line in lines if line["name"] not in (PROBE, SPEED)]
    results = [result for result in results if result["status"] == "ok"]
    names = list_names(1, small=True, seeds=1)
    assert sorted(result["name"] for result in results) == sorted(names)
    for result in results:
        if result["work"] == "parity":
            assert result["program"]["equal"] and result["program"]["logits_equal"]
            assert result["program"]["flipped"] == result["float32"]["flipped"] == 0
    assert "PIT ours 1x4" in printed and "I-LIF 1x4" in printed
    # Nothing but the probe is repeated.
    assert start()[0] == 0 and len(read(file)) == len(lines) + 2
