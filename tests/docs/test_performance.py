"""The pages on speed and benchmarks: their tables follow from the records, and the example runs."""

import json
import re
import subprocess
import sys

import pytest

from docs._build import performance
from docs._build.performance import PAGE, PAGES, TABLES
from docs._build.tables import fill_tables, list_tables

TEXTS = [page.read_text() for page in PAGES]


@pytest.mark.parametrize("text", TEXTS, ids=[page.stem for page in PAGES])
def test_the_tables_are_up_to_date(text):
    assert fill_tables(text, "performance", TABLES) == text


def test_each_table_is_shown_once():
    shown = [name for text in TEXTS for name in list_tables(text, "performance")]
    assert sorted(shown) == sorted(TABLES)


OLD = {"jax": "0.10", "device": "cpu"}


@pytest.mark.parametrize(
    "head, machine",
    [
        (OLD, "cpu, jax 0.10."),
        (
            {"environment": OLD | {"commit": "abc"}, "load": 0.25},
            "cpu, jax 0.10, commit abc, load 0.2.",
        ),
    ],
    ids=["old", "new"],
)
def test_compile_times_show_one_step_and_their_machine(monkeypatch, tmp_path, head, machine):
    cells = {"neuron": "LIF", "compile_cpu_s": 0.5, "step_ms": 2.0}
    shapes = [(1, 1), (4, 1), (4, 4), (50, 1)]
    records = [cells | {"steps": steps, "unroll": unroll} for steps, unroll in shapes]
    (tmp_path / "neuron_compile.json").write_text(json.dumps(head | {"records": records}))
    monkeypatch.setattr(performance, "BENCHMARKS", tmp_path)
    performance.read.cache_clear()
    try:
        row = TABLES["compile_times"]().splitlines()[-1]
        assert TABLES["machines"]() == f"- `benchmarks.neuron_compile`: {machine}\n"
    finally:
        performance.read.cache_clear()
    assert row.split(" | ")[1:5] == ["0.50", "0.50 / 0.50", "– / –", "– / 0.50"]


@pytest.mark.parametrize(
    "name", [name for name in TABLES if name not in ("summary", "aims", "workloads")]
)
def test_tables_without_records_say_what_to_run(name, monkeypatch, tmp_path):
    monkeypatch.setattr(performance, "BENCHMARKS", tmp_path)
    performance.read.cache_clear()
    try:
        assert re.match("Not(hing is)? measured yet", TABLES[name]())
    finally:
        performance.read.cache_clear()


def test_the_example_runs():
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1]
    subprocess.run([sys.executable, "-c", example], check=True, timeout=120)
