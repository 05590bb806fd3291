"""The benchmark for GPUs: its probe, its time limit, and what a repeated command skips."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import gpu
from benchmarks.peers import ROOT, SETTINGS
from benchmarks.workload import Missing

DEVICE = "Card 9000"
PROBED = {"status": "ok", "device": DEVICE}


def run_with(monkeypatch, file, answers, seconds=1000.0):
    """Run with a child process that answers `answers[name]`; return code, printed lines, names."""
    asked = []

    def ask(work, *, small, seconds):
        asked.append(work)
        done = {"status": "ok", "per_second": 5.0}
        return answers.get(work, PROBED if work == gpu.PROBE else done)

    monkeypatch.setattr(gpu, "ask", ask)
    lines, printed = gpu.run(file, small=True, seconds=seconds), []
    while True:
        try:
            printed.append(next(lines))
        except StopIteration as ended:
            return ended.value, printed, asked


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_probe_is_first_and_every_result_names_the_device(monkeypatch, tmp_path):
    file = tmp_path / "new" / "gpu.jsonl"
    code, printed, asked = run_with(monkeypatch, file, {})
    names = [plan.name for plan in gpu.list_plans(small=True)]
    assert code == 0 and asked == [gpu.PROBE, *names] and len(printed) == len(asked)
    results = read(file)
    assert [result["name"] for result in results] == asked
    assert {result["device"] for result in results} == {DEVICE}
    assert results[1]["workload"] == "W3" and results[1]["task"]["dtype"] == "bfloat16"


def test_a_repeated_command_measures_only_what_is_left(monkeypatch, tmp_path):
    file = tmp_path / "gpu.jsonl"
    first, second, third = (plan.name for plan in gpu.list_plans(small=True)[:3])
    answers = {
        first: {"status": "late", "reason": "not finished"},
        second: {"status": "failed", "reason": "out of memory"},
        third: {"status": "missing", "reason": "torch is not installed"},
    }
    run_with(monkeypatch, file, answers)
    assert run_with(monkeypatch, file, {})[2] == [gpu.PROBE, first, second]
    assert run_with(monkeypatch, file, {})[2] == [gpu.PROBE]
    # Another device has no results yet.
    other = {gpu.PROBE: {"status": "ok", "device": "Card 1"}}
    assert len(run_with(monkeypatch, file, other)[2]) == 1 + len(gpu.list_plans(small=True))


def test_a_missing_library_is_reported_with_its_reason(monkeypatch, tmp_path):
    name = gpu.list_plans(small=True)[1].name
    answers = {name: {"status": "missing", "reason": "spikingjelly is not installed"}}
    code, printed, _ = run_with(monkeypatch, tmp_path / "gpu.jsonl", answers)
    assert code == 0 and printed[2].endswith("spikingjelly is not installed")


def test_a_failed_probe_ends_the_command(monkeypatch, tmp_path):
    answers = {gpu.PROBE: {"status": "failed", "reason": "no jax"}}
    code, printed, asked = run_with(monkeypatch, tmp_path / "gpu.jsonl", answers)
    assert code == 1 and asked == [gpu.PROBE] and "no jax" in printed[0]


def test_the_time_limit_leaves_the_rest_to_the_next_command(monkeypatch, tmp_path):
    file = tmp_path / "gpu.jsonl"
    code, printed, asked = run_with(monkeypatch, file, {}, seconds=gpu.LEAST_SECONDS - 1)
    assert code == gpu.UNFINISHED and asked == [gpu.PROBE]
    assert printed[-1].startswith(f"{len(gpu.list_plans(small=True))} results are left")


def test_an_incomplete_line_is_dropped_and_the_next_result_has_its_own(tmp_path):
    file = tmp_path / "gpu.jsonl"
    file.write_text('{"name": "a"}\n{"name": "b", "sec')
    gpu.append(file, {"name": "c"})
    assert gpu.read_results(file) == [{"name": "a"}, {"name": "c"}]


def test_a_child_that_takes_too_long_or_dies_is_a_result(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert gpu.ask("probe", small=True, seconds=10)["status"] == "failed"
    monkeypatch.setattr(gpu.subprocess, "run", raise_timeout)
    assert gpu.ask("probe", small=True, seconds=10)["status"] == "late"


def raise_timeout(command, **options):
    raise subprocess.TimeoutExpired(command, options["timeout"])


def test_a_child_has_no_settings_of_the_shell(monkeypatch):
    for name in SETTINGS:
        monkeypatch.setenv(name, "off")
    given = {}

    def start(command, **options):
        given.update(options["env"])
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(gpu.subprocess, "run", start)
    gpu.ask("probe", small=True, seconds=10)
    assert given["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false" and "PATH" in given
    assert {"GLIBC_TUNABLES", "XLA_FLAGS", "PIT_JAX_TUNING"} <= set(SETTINGS)
    assert not set(SETTINGS) & given.keys()


def test_names_of_results_differ():
    names = [plan.name for small in (False, True) for plan in gpu.list_plans(small=small)]
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_the_script_runs_on_a_cpu_in_small_size(tmp_path):
    file = tmp_path / "gpu.jsonl"
    command = ["bash", str(ROOT / "scripts" / "bench_gpu.sh"), "--small", f"--out={file}"]
    environment = {**os.environ, "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    ended = subprocess.run(
        [*command, "--seconds=100"], env=environment, capture_output=True, text=True
    )
    assert ended.returncode in (0, gpu.UNFINISHED), ended.stderr
    probed, *results = read(file)
    assert probed["status"] == "ok" and probed["jax"] and probed["devices"]
    assert results[0]["label"] == "PIT 1×4" and results[0]["status"] == "ok"
    assert results[0]["per_second"] > 0 and results[0]["compiled"] == 0
    assert all(result["status"] != "failed" for result in results)


@pytest.mark.parametrize(
    "result, answer",
    [
        ({"median": 1.0}, {"status": "ok", "median": 1.0}),
        (Missing("no torch"), {"status": "missing", "reason": "no torch"}),
        (ValueError("odd"), {"status": "failed", "reason": "ValueError: odd"}),
    ],
    ids=["ok", "missing", "failed"],
)
def test_a_child_prints_its_result_or_why_there_is_none(result, answer, capsys):
    def compute():
        if isinstance(result, Exception):
            raise result
        return result

    gpu.print_answer(compute)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == answer
