"""The page of promises names tests that exist, and its table is the one of all recorded fuzzing."""

import ast
import json
import re

from tests.fuzz.core import ROOT
from tests.fuzz.table import END, FILE, PAGE, START, make_table


def test_every_promise_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text())
    assert len(named) > 50
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not test or test in functions, f"{file}::{test}"


def test_table_of_fuzzing_is_the_recorded_one() -> None:
    table = PAGE.read_text().partition(START)[2].partition(END)[0]
    assert table == make_table(json.loads(FILE.read_text()))
