"""Everything that docs/theory/paper_vs_code.md names exists."""

import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from pit_jax.models import MODELS
from pit_jax.neurons import NEURONS
from tests.models.published import PUBLISHED
from train.config.cli import parse

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/theory/paper_vs_code.md").read_text()
SPANS = sorted({" ".join(span.split()) for span in re.findall(r"`([^`]+)`", PAGE)})
PRINTED = PAGE.partition("| printed | where |")[2].partition("\n\n")[0].splitlines()[2:]
TABLE = [[cell.strip() for cell in line.strip("|").split("|")] for line in PRINTED]
SIZES = [row for row in PUBLISHED if f"`{row.name}`" in PAGE and not row.kw]


def find_matches(pattern: str) -> list[str]:
    return sorted({match for span in SPANS for match in re.findall(pattern, span)})


@pytest.mark.parametrize("name", find_matches(r"\b(?:pit_jax|train)(?:\.(?!py\b)\w+)+"))
def test_a_dotted_name_resolves(name):
    pkgutil.resolve_name(name)


@pytest.mark.parametrize("path", find_matches(r"configs/\w+\.py"))
def test_a_config_file_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(("neuron", "field"), find_matches(r"(\w+)\((\w+)="))
def test_a_neuron_has_the_named_field(neuron, field):
    assert field in NEURONS[neuron].__dataclass_fields__


@pytest.mark.parametrize("call", find_matches(r'create\("\w+".*\)'))
def test_a_network_accepts_the_named_arguments(call):
    name, rest = re.fullmatch(r'create\("(\w+)"(.*)\)', call).groups()
    inspect.signature(MODELS[name]).bind_partial(**dict.fromkeys(re.findall(r"(\w+)=", rest)))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_row_of_printed_sizes_names_existing_networks(row):
    _, _, _, name, _ = row
    names = re.findall(r"(?<=`)\w+(?=`)|(?<=create\(\")\w+", name)
    assert set(names) <= set(MODELS)
    assert names or name == "–"


@pytest.mark.parametrize("option", find_matches(r"--config\.[\w.]+=\S+"))
def test_an_option_of_the_training_program_is_accepted(option):
    parse(["main", "--config", str(ROOT / "configs/cifar100.py"), option])


@pytest.mark.parametrize("row", SIZES, ids=str)
def test_the_page_has_the_tested_size_of_each_network(row):
    assert f"{row.total:,}" in PAGE


def test_the_page_has_matches_for_every_pattern_of_this_file():
    assert len(TABLE) > 15
    for pattern in (
        r"pit_jax\.",
        r"create\(",
        r"train\.program\.losses",
        r"configs/",
        r"PIT\(",
        r"--config\.\w",
    ):
        assert find_matches(pattern), pattern
