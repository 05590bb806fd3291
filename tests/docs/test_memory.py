"""docs/theory/memory.md: its tables follow from the benchmark, and its example runs."""

import re

from docs._build.memory import PAGE, TABLES
from docs._build.tables import fill_tables, list_tables

TEXT = PAGE.read_text()
EXAMPLE = re.search(r"```python\n(.*?)```", TEXT, re.S)[1]


def test_the_tables_are_up_to_date():
    assert fill_tables(TEXT, "memory", TABLES) == TEXT


def test_each_table_is_shown_once():
    assert sorted(list_tables(TEXT, "memory")) == sorted(TABLES)


def test_the_example_returns_the_row_of_its_network():
    names = {}
    exec(EXAMPLE, names)
    activations = names["memory"].parts["activations"] / 1e9
    assert f"| resnet18 PIT T=1 128 images | 0.13 | {activations:.2f} |" in TEXT
