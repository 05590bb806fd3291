"""docs/guide/performance.md: its tables follow from the records, and its example runs."""

import re
import subprocess
import sys

import pytest

from docs._build import performance
from docs._build.performance import PAGE, TABLES
from docs._build.tables import fill_tables, list_tables

TEXT = PAGE.read_text()


def test_the_tables_are_up_to_date():
    assert fill_tables(TEXT, "performance", TABLES) == TEXT


def test_each_table_is_shown_once():
    assert sorted(list_tables(TEXT, "performance")) == sorted(TABLES)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "workloads"])
def test_tables_without_records_say_what_to_run(name, monkeypatch, tmp_path):
    monkeypatch.setattr(performance, "BENCHMARKS", tmp_path)
    performance.read.cache_clear()
    try:
        assert re.match("Not(hing is)? measured yet", TABLES[name]())
    finally:
        performance.read.cache_clear()


def test_the_example_runs():
    example = re.search(r"```python\n(.*?)```", TEXT, re.S)[1]
    subprocess.run([sys.executable, "-c", example], check=True, timeout=120)
