"""The runner of benchmarks with workers whose times are known."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import records, report
from benchmarks.__main__ import ON_CPUS, main
from benchmarks.compare import compare
from benchmarks.peers import PEERS, ROOT
from benchmarks.runner import find_command, run, run_cell
from benchmarks.workload import WORKLOADS, Cell, Entry, Missing, Workload, load_module

WORKER = Path(__file__).with_name("fake_worker.py")


def make_command(entry):
    arguments = [sys.executable, str(WORKER), *entry.task["arguments"]]
    return arguments, {}


def measure(*entries, rounds=9):
    cell = Cell("a cell", entries, quick=True, turn_seconds=0.05)
    return run_cell("W1", cell, rounds, command=make_command, say=lambda line: None)


def make_entry(peer, *arguments):
    return Entry(peer, "LIF", {"arguments": list(arguments)})


def test_a_planted_slowdown_of_ten_percent_is_detected():
    cell = measure(
        make_entry("pit_jax", "1", "1.0"),
        make_entry("pytorch", "2", "1.1"),
        make_entry("flax", "3", "1.0"),
        make_entry("norse", "4", "0.9"),
    )
    ours, slower, equal, faster = (entry["seconds"] for entry in cell["entries"])
    assert compare(ours, slower).verdict == "faster"
    assert compare(ours, slower).median == pytest.approx(1.1, abs=0.04)
    assert compare(ours, equal).verdict == "equal"
    assert compare(ours, faster).verdict == "slower"
    # The machine varies by much more than that.
    assert max(ours) > 1.5 * min(ours)
    assert {entry["repeats"] for entry in cell["entries"]} == {5}


def test_what_does_not_run_is_reported_with_its_reason():
    cell = measure(
        make_entry("pit_jax", "1", "1.0"),
        make_entry("spyx", "1", "1.0", "missing"),
        make_entry("norse", "1", "1.0", "raises"),
        make_entry("snntorch", "1", "1.0", "dies"),
        rounds=5,
    )
    found = {entry["peer"]: (entry["status"], entry["reason"]) for entry in cell["entries"]}
    assert found["pit_jax"] == ("ok", "")
    assert found["spyx"] == ("missing", "fake is not installed")
    assert found["norse"] == ("failed", "RuntimeError: the fake raised")
    assert found["snntorch"] == ("failed", "the process ended with 1: the fake died")
    table = report.format_record(make_record(cell))
    assert "missing: fake is not installed" in table
    assert "failed: the process ended with 1: the fake died" in table


def test_a_peer_without_its_environment_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCHMARK_PEERS", str(tmp_path))
    with pytest.raises(Missing, match="snntorch is not installed: there is no "):
        find_command(Entry("snntorch", "LIF", {}))
    # Every entry of the record is there, measured or not.
    cell = Cell("a cell", (Entry("snntorch", "LIF", {"neuron": "LIF", "steps": 1}),))
    found = run_cell("W1", cell, 1, say=lambda line: None)
    assert [entry["status"] for entry in found["entries"]] == ["missing"]


def test_a_worker_reports_a_library_that_is_not_installed():
    request = {"do": "prepare", "workload": "W1", "peer": "spyx", "task": {}, "turn_seconds": 1}
    worker = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", "spyx"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    answer = json.loads(worker.stdout)
    assert answer["missing"] and "spyx is not installed" in answer["reason"]


def make_record(*cells, name="W1"):
    machine = {"processor": "P", "cores": 2, "memory_gib": 3.0, "system": "S", "python": "3.11"}
    record = {"schema": 1, "workload": name, "title": "A title", "unit": "runs", "device": "cpu"}
    return record | {"machine": machine, "cells": list(cells)}


def test_records_follow_the_schema_and_keep_cells_of_earlier_runs(tmp_path):
    cell = measure(make_entry("pit_jax", "1", "1.0"), make_entry("pytorch", "2", "1.1"), rounds=5)
    records.write(make_record(cell), tmp_path)
    file = records.write(make_record({**cell, "name": "another"}), tmp_path)
    assert [cell["name"] for cell in records.read(file)["cells"]] == ["a cell", "another"]
    for damage in (
        {"name": 3},
        {"rounds": 6},
        {"entries": [{**cell["entries"][0], "peer": "nobody"}]},
        {"entries": [{**cell["entries"][0], "reason": "ran, but why?"}]},
        {"entries": [{"peer": "pit_jax"}]},
        {"more": 1},
    ):
        with pytest.raises(ValueError):
            records.check(make_record({**cell, **damage}))


def test_stored_records_follow_the_schema():
    for file in records.RESULTS.glob("*.json"):
        record = records.read(file)
        assert file.stem == f"{record['workload']}-{record['device']}"


def test_the_readme_documents_every_key_and_every_workload():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    for types in (records.RECORD, records.MACHINE, records.CELL, records.ENTRY, records.MEASURED):
        missing = [key for key in types if f"`{key}`" not in text]
        assert missing == []
    assert [name for name in (*WORKLOADS, *PEERS) if name not in text] == []


def test_the_report_writes_table_and_plot(tmp_path):
    cell = measure(make_entry("pit_jax", "1", "1.0"), make_entry("pytorch", "2", "1.1"), rounds=5)
    records.write(make_record(cell), tmp_path)
    assert main(["report", "--out", str(tmp_path)]) == 0
    table = (tmp_path / report.TABLE).read_text()
    assert "| a cell | pytorch | LIF |" in table and "✓" in table
    assert (tmp_path / report.PLOT).stat().st_size > 1000


def test_workers_of_the_command_see_no_gpu(monkeypatch, tmp_path):
    seen = {}

    def run(workloads, out, **options):
        seen.update(options, **{name: os.environ[name] for name in ON_CPUS})
        return []

    monkeypatch.setattr("benchmarks.__main__.run", run)
    for name in ON_CPUS:
        monkeypatch.setenv(name, "all")
    assert main(["run", "W1", "--rounds", "5", "--out", str(tmp_path)]) == 0
    assert seen.pop("rounds") == 5 and {name: seen[name] for name in ON_CPUS} == ON_CPUS
    with pytest.raises(SystemExit):
        main(["run", "W1", "--device", "gpu"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_are_lists_of_json_without_loading_libraries(name):
    program = (
        "import sys; from benchmarks.workload import load_module; "
        f"load_module({name!r}).WORKLOAD; "
        "print({'jax', 'torch', 'flax', 'matplotlib'} & set(sys.modules))"
    )
    out = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=ROOT)
    assert out == "set()\n"
    workload = load_module(name).WORKLOAD
    assert workload.name == name
    names = [cell.name for cell in workload.cells]
    assert len(set(names)) == len(names)
    for cell in workload.cells:
        labels = {entry.label for entry in cell.entries if entry.peer == "pit_jax"}
        for entry in cell.entries:
            json.dumps(entry.task)
            assert entry.peer in PEERS
            assert set(entry.against) <= labels, (cell.name, entry)


def test_small_runs_through_the_whole_program(tmp_path):
    workload = load_module("W1").WORKLOAD.select(quick=True, peers=("pit_jax", "flax"), small=True)
    cells = [cell for cell in workload.cells if cell.name in ("ReLU T=1", "LIF T=4")]
    small = Workload(workload.name, workload.title, workload.unit, tuple(cells))
    (file,) = run([small], tmp_path, rounds=2, say=lambda line: None)
    record = records.read(file)
    entries = [entry for cell in record["cells"] for entry in cell["entries"]]
    assert {entry["peer"] for entry in entries} == {"pit_jax", "flax"}
    assert [entry["status"] for entry in entries] == ["ok"] * 3, entries
    # No turn compiles again.
    assert [entry["compiled"] for entry in entries] == [0] * 3
