"""docs/theory/capacity.md: its tables are recounted, and its example runs."""

import math
import re
from itertools import pairwise

import pytest

from docs._build.capacity import LAYER, PAGE, STEPS_AND_LEVELS, TABLES
from docs._build.tables import fill_tables, list_tables
from pit_jax.analysis.capacity import count_paper, log_configurations

TEXT = PAGE.read_text()
EXAMPLE = re.search(r"```python\n(.*?)```", TEXT, re.S)[1]
PAPER_NUMBERS = (PAGE.parent / "paper_numbers.md").read_text()


def test_the_tables_are_up_to_date():
    assert fill_tables(TEXT, "capacity", TABLES) == TEXT


def test_each_table_is_shown_once():
    assert sorted(list_tables(TEXT, "capacity")) == sorted(TABLES)


def test_the_example_returns_the_values_in_its_comments():
    names = {}
    exec(EXAMPLE, names)
    lines = re.findall(r"^([a-z].*?)  # (\d+(?:\.\d+)?)", EXAMPLE, re.M)
    assert len(lines) == 5
    for expression, value in lines:
        assert eval(expression, names) == pytest.approx(float(value), rel=1e-8), expression


def test_the_number_of_digits_is_correct():
    digits = math.floor(log_configurations(10, 512 * 32 * 32, 4) / math.log(10)) + 1
    assert f"`configurations` has {digits:,} digits" in TEXT


def test_the_size_of_the_layer_is_correct():
    assert f"a layer with {LAYER:,} neurons, 64 channels of 32 × 32" in TEXT


def test_for_equal_products_the_formula_is_largest_at_the_fewest_steps():
    equal = [(t, d) for t, d in STEPS_AND_LEVELS if t * d == 4]
    assert equal == [(4, 1), (2, 2), (1, 4)]
    counts = [count_paper(t, 3, d) for t, d in equal]
    assert all(more > fewer for fewer, more in pairwise(counts))


def test_the_papers_numbers_have_the_same_counts():
    table = PAPER_NUMBERS.partition("### Capacity")[2]
    rows = re.findall(r"^\| .* (\| `.*\^.*` \|.*)$", table, re.M)
    assert len(rows) == 4
    for row in rows:
        assert row in TEXT
