"""Everything that docs/theory/paper_vs_code.md and paper_numbers.md name exists."""

import inspect
import pkgutil
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from pit_jax import initializers
from pit_jax.models import MODELS
from pit_jax.neurons import NEURONS
from tests.docs.anchors import slugify
from tests.models.published import PUBLISHED
from train.config.cli import parse

ROOT = Path(__file__).parents[1]
THEORY = ROOT / "docs" / "theory"
DIFFERENCES = (THEORY / "paper_vs_code.md").read_text()
PAGE = DIFFERENCES + (THEORY / "paper_numbers.md").read_text()
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


STARTS = PAGE.partition("| start | D = 1 |")[2].partition("\n\n")[0].splitlines()[2:]
START_NAMES = ("three_sigma", "released", "covering", "lsq", "ones")
LEVELS = (1, 2, 4, 8)
# Quantiles of N(0, 1), which have the moments that a batch only has nearly.
MEMBRANES = norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]


def measure_error(step: float, levels: int) -> float:
    """Return the squared rounding error on positive membranes of N(0, 1), in closed form."""
    edges = np.array([0, *(np.arange(1, levels + 1) - 0.5) * step, np.inf])
    low, high = edges[:-1], edges[1:]
    share = norm.cdf(high) - norm.cdf(low)
    first = norm.pdf(low) - norm.pdf(high)
    second = share + low * norm.pdf(low) - np.append(high[:-1] * norm.pdf(high[:-1]), 0)
    value = step * np.arange(levels + 1)
    return float(np.sum(second - 2 * value * first + value**2 * share))


def find_best(levels: int) -> float:
    found = minimize_scalar(lambda step: measure_error(step, levels), bounds=(0.05, 3))
    return found.x


def start_from(name: str, levels: int) -> float:
    """Return the initial scale, in standard deviations of the membrane."""
    # The released neuron charges x / 2.
    weight = 0.5 if name == "released" else 1.0
    start = initializers.SCALE_INITS[name](jnp.asarray(weight * MEMBRANES), levels=levels)
    return float(start[0]) / weight


@pytest.mark.parametrize(("row", "name"), list(zip(STARTS[1:], START_NAMES, strict=True)))
def test_printed_errors_of_starts_equal_the_errors_of_the_initializers(row, name):
    errors = [
        measure_error(start_from(name, levels), levels) / measure_error(find_best(levels), levels)
        for levels in LEVELS
    ]
    printed = [float(cell) for cell in row.strip("|").split("|")[1:]]
    assert printed == pytest.approx(errors, abs=0.051)
    best = [float(cell) for cell in STARTS[0].strip("|").split("|")[1:]]
    assert best == pytest.approx([find_best(levels) for levels in LEVELS], abs=6e-4)


def test_the_released_start_is_half_of_eq_12_at_four_levels():
    assert start_from("three_sigma", 4) == pytest.approx(1.5, rel=1e-3)
    assert start_from("released", 4) == pytest.approx(0.75, rel=1e-3)


SUMMARY = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DIFFERENCES.partition("| difference |")[2].partition("\n\n")[0].splitlines()[2:]
]
SECTIONS = {
    slugify(title): " ".join(text.split())
    for title, _, text in (
        part.partition("\n") for part in re.split(r"^##+ ", DIFFERENCES, flags=re.M)[1:]
    )
}
EFFECT = re.compile(r"(\*\*)?([+−]\d+\.\d\d)")
each_difference = pytest.mark.parametrize("row", SUMMARY, ids=lambda row: row[0])


@each_difference
def test_a_difference_links_to_its_section(row):
    title, anchor = re.fullmatch(r"\[(.+)\]\(#(.+)\)", row[0]).groups()
    assert anchor == slugify(title) and anchor in SECTIONS


@each_difference
def test_the_effect_of_a_difference_is_in_its_section_and_bold_if_it_excludes_zero(row):
    section = SECTIONS[re.search(r"#(.+)\)", row[0])[1]]
    for bold, effect in EFFECT.findall(row[-1]):
        low, high = re.search(rf"accuracy {re.escape(effect)} \[(\S+), (\S+)\]", section).groups()
        assert bool(bold) == (low[0] == high[0] and float(low[1:]) > 0 < float(high[1:]))


def test_the_page_has_matches_for_every_pattern_of_this_file():
    assert len(TABLE) > 15 and len(SUMMARY) > 20
    assert sum(bool(EFFECT.search(row[-1])) for row in SUMMARY) > 5
    for pattern in (
        r"pit_jax\.",
        r"create\(",
        r"train\.program\.losses",
        r"configs/",
        r"PIT\(",
        r"--config\.\w",
    ):
        assert find_matches(pattern), pattern
