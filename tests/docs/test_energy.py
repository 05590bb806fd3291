"""The page on energy: its tables are counted anew, and what it says of runs is what they have."""

import json
import re

import pytest

from docs._build.energy import PAGE, RUNS, TABLES, count_macs, count_resnet18
from docs._build.tables import fill_tables, list_tables

TEXT = PAGE.read_text()
FOUND = {run["config"]: run for run in json.loads(RUNS.read_text())}
PAPER_VS_CODE = (PAGE.parent / "paper_vs_code.md").read_text()


def test_the_tables_are_those_that_are_counted():
    assert fill_tables(TEXT, "energy", TABLES) == TEXT


def test_all_tables_are_shown_once():
    assert sorted(list_tables(TEXT, "energy")) == sorted(TABLES)


def test_the_integers_of_resnet18_are_those_of_its_shapes():
    neurons = sum(layer.neurons for layer in count_resnet18())
    for number in (count_macs(), count_macs(100), count_resnet18()[0].macs, neurons):
        assert f"{number:,}" in TEXT


@pytest.mark.parametrize(
    ("said", "first", "second"),
    [
        ("0.40 of LIF's", "digits.py", "digits.py:lif"),
        ("0.80 of I-LIF's", "digits.py", "digits.py:ilif"),
        ("0.93 of PIT's", "dvs_digits.py:lif", "dvs_digits.py"),
    ],
)
def test_neurons_compare_as_the_page_says(said, first, second):
    accumulations = [FOUND[f"configs/{run}"]["honest"]["accumulations"] for run in (first, second)]
    assert f"{accumulations[0] / accumulations[1]:.2f}" == said[:4]
    assert said in " ".join(TEXT.split())


def test_the_page_on_paper_and_code_has_the_same_accumulates():
    for number in ("99.6", "398.6", "66.6", "266.3"):
        assert number in TEXT and number in PAPER_VS_CODE


def test_the_pictures_are_there():
    for picture in re.findall(r"\]\((images/.*?)\)", TEXT):
        assert (PAGE.parent / picture).is_file()
