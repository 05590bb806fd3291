"""Slots: GPUs and cores, and the workers that run in them."""

import json
import time

import pytest

from tests.train.reproduce.tiny import write_fake_worker
from train.reproduce.jobs import slots
from train.reproduce.jobs.slots import (
    ONE_THREAD,
    VISIBLE,
    limit_slots,
    list_gpus,
    make_slots,
    parse_gpus,
)
from train.reproduce.jobs.workers import Workers

LISTED = """GPU 0: NVIDIA H200 (UUID: GPU-aaa)
GPU 1: NVIDIA H200 (UUID: GPU-bbb)
  MIG 1g.18gb Device 0: (UUID: MIG-ccc)
  MIG 1g.18gb Device 1: (UUID: MIG-ddd)
"""
# Notes when the job begins and ends, and on which GPU.
NOTE = """log = Path(job["out"]) / (job["slug"] + ".json")
begin = time.monotonic()
time.sleep(0.2)
end = time.monotonic()
log.write_text(json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], begin, end]))
send("done", seed=0)"""


def test_small_runs_have_one_thread_each_whatever_the_number_of_workers():
    for scale in ("laptop", "smoke"):
        found = make_slots(scale, [], 8, None)
        assert len(found) == 8 and {slot.environment["PJRT_NPROC"] for slot in found} == {"1"}
        assert make_slots(scale, [], 8, 3) == found[:3]
        assert dict(make_slots(scale, [], 1, 1)[0].environment) == ONE_THREAD
    (large,) = make_slots("medium", [], 8, None)
    assert not large.environment


def test_each_gpu_has_one_run_at_a_time_unless_more_are_wanted():
    assert [slot.environment[VISIBLE] for slot in make_slots("paper", ["3", "5"], 8, None)] == [
        "3",
        "5",
    ]
    shared = make_slots("laptop", ["3", "5"], 8, 4)
    assert [slot.environment[VISIBLE] for slot in shared] == ["3", "5", "3", "5"]
    assert {slot.environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] for slot in shared} == {"0.375"}


def test_fewer_runs_train_at_once_if_memory_is_short(monkeypatch):
    monkeypatch.setattr(slots, "find_available_memory", lambda: 10)
    cores = make_slots("laptop", [], 8, None)
    assert [len(limit_slots(cores, needed)) for needed in (0, 1, 3, 11)] == [8, 8, 3, 1]
    gpus = make_slots("laptop", ["0", "1"], 8, None)
    assert limit_slots(gpus, 11) == gpus  # Their memory is not the host's.


@pytest.mark.parametrize(
    "environment, gpus",
    [
        ({VISIBLE: "0,2"}, ["0", "2"]),
        ({VISIBLE: "GPU-x, -1, 1"}, ["GPU-x"]),
        ({VISIBLE: ""}, []),
        ({VISIBLE: "0", "JAX_PLATFORMS": "cpu"}, []),
        ({VISIBLE: "0", "JAX_PLATFORMS": "cuda,cpu"}, ["0"]),
    ],
)
def test_gpus_are_those_that_jax_would_see(environment, gpus, monkeypatch):
    monkeypatch.setattr(slots, "find_spec", lambda name: name)
    assert list_gpus(environment) == gpus
    monkeypatch.setattr(slots, "find_spec", lambda name: None)
    assert list_gpus(environment) == []


def test_a_divided_gpu_counts_as_its_parts():
    assert parse_gpus(LISTED) == ["GPU-aaa", "MIG-ccc", "MIG-ddd"]


def test_a_quota_of_a_container_limits_the_cores(tmp_path, monkeypatch):
    file = tmp_path / "cpu.max"
    monkeypatch.setattr(slots, "CPU_QUOTA", file)
    free = slots.count_cores()
    for text in ("max 100000", "100000 100000", "50000 100000"):
        file.write_text(text)
        assert slots.count_cores() == (free if text.startswith("max") else 1)


def test_two_gpus_train_two_runs_at_a_time_and_none_shares_one(tmp_path):
    sources = write_fake_worker(tmp_path / "sources", NOTE)
    workers = Workers(tmp_path, make_slots("paper", ["0", "1"], 8, None), sources)
    waiting = [{"out": str(tmp_path), "slug": f"run{number}"} for number in range(6)]
    done = 0
    while waiting or workers.is_busy:
        while waiting and workers.has_room:
            workers.start(waiting.pop())
        event = workers.wait(1.0)
        done += event is not None and event.name == "done"
    workers.stop()
    spans = sorted(json.loads(file.read_text()) for file in tmp_path.glob("*.json"))
    assert done == 6 and {gpu for gpu, _, _ in spans} == {"0", "1"}
    for before, after in zip(spans, spans[1:], strict=False):
        assert before[0] != after[0] or before[2] <= after[1]
    assert time.monotonic() > max(end for _, _, end in spans)
