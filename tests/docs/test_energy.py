"""docs/theory/energy.md: its tables are recounted, and its comparisons agree with the runs."""

import json
import re

import pytest

from docs._build.energy import PAGE, RUNS, TABLES, count_macs, count_resnet18
from docs._build.tables import fill_tables, list_tables

TEXT = PAGE.read_text()
FOUND = {run["config"]: run for run in json.loads(RUNS.read_text())}
PAPER_NUMBERS = (PAGE.parent / "paper_numbers.md").read_text()


def test_the_tables_are_up_to_date():
    assert fill_tables(TEXT, "energy", TABLES) == TEXT


def test_each_table_is_shown_once():
    assert sorted(list_tables(TEXT, "energy")) == sorted(TABLES)


def test_the_integers_of_resnet18_follow_from_its_shapes():
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
def test_the_ratios_between_neurons_follow_from_the_runs(said, first, second):
    accumulations = [FOUND[f"configs/{run}"]["honest"]["accumulations"] for run in (first, second)]
    assert f"{accumulations[0] / accumulations[1]:.2f}" == said[:4]
    assert said in " ".join(TEXT.split())


def test_the_papers_numbers_have_the_same_accumulates():
    for number in ("99.6", "398.6", "66.6", "266.3"):
        assert number in TEXT and number in PAPER_NUMBERS


def test_all_pictures_exist():
    for picture in re.findall(r"\]\((images/.*?)\)", TEXT):
        assert (PAGE.parent / picture).is_file()
