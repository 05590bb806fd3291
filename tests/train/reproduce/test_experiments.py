"""The experiments of configs/scales: their cases are valid configs, their claims the paper's."""

import json
import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.claims import COMPARISONS
from configs.scales import NAMES, REFUSED, SCALES, load
from configs.scales.groups import GROUPS
from configs.scales.rows import REPEATED, load_rows
from train.config import cli, several
from train.data import ArraySplit, Dataset
from train.program import build

EVERY = [(name, scale) for name in NAMES for scale in SCALES]
SMALL = [scale for scale in SCALES if scale != "paper"]


@cache
def parse(config: str, overrides: tuple[str, ...]):
    flags = [f"--config.{override}" for override in overrides]
    return cli.parse(["reproduce", "--config", config, *flags])[0]


def list_trained(scale: str):
    """Return the name of the experiment and the case, for all cases with a config."""
    return [(name, case) for name in NAMES for case in load(name, scale).cases if case.config]


def list_configs(scale: str, name: str = "") -> set[str]:
    """Return the different configs of a scale, or of one of its experiments."""
    return {
        json.dumps(parse(case.config, case.overrides).to_dict(), default=str)
        for of, case in list_trained(scale)
        if name in ("", of)
    }


@pytest.mark.parametrize("name, scale", EVERY)
def test_claims_compare_two_cases_of_one_group(name, scale):
    experiment = load(name, scale)
    cases = {case.label: case for case in experiment.cases}
    assert len(cases) == len(experiment.cases) > 0
    rows = {row.label for row in load_rows(name)}
    assert {case.row for case in experiment.cases} - {""} <= rows
    pairs = [(cases[claim.better], cases[claim.worse]) for claim in experiment.claims]
    assert all(one.group == other.group and one != other for one, other in pairs)
    assert len({claim._replace(text="") for claim in experiment.claims}) == len(experiment.claims)


def test_other_names_are_refused_with_the_reason():
    for name, reason in REFUSED.items():
        with pytest.raises(ValueError, match=re.escape(reason)):
            load(name, "laptop")
    with pytest.raises(ValueError, match="there is no 'table13'; choose one of table2"):
        load("table13", "laptop")
    with pytest.raises(ValueError, match="scale must be one of paper, medium, laptop, smoke"):
        load("table7", "tiny")


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_the_paper_has_its_rows(name):
    cases = {case.row: case for case in load(name, "paper").cases}
    for row in load_rows(name):
        case = cases[row.label]
        if name == "table5":  # Counted from the config of the row.
            assert (case.config, case.seeds, case.measures) == ("", 0, ("memory",))
            continue
        assert (case.config, case.overrides) == (row.config, row.overrides)
        assert case.seeds == (0 if row.cited else 3)
        assert row.cited in case.remark


@pytest.mark.parametrize("scale", ["paper", "medium", "laptop"])
@pytest.mark.parametrize("name", ["table2", "table7", "table8"])
def test_the_nearest_competitor_has_a_row_that_is_not_in_the_paper(name, scale):
    (case,) = (case for case in load(name, scale).cases if "QB-LIF" in case.label)
    config, levels = parse(case.config, case.overrides), re.search(r"1x(\d)", case.label)[1]
    assert config.neuron.name == "QBLIF" and config.neuron.levels == int(levels)
    assert case.seeds and not case.row and case.remark.startswith("Not in the paper")


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_comparison_names_rows_or_cases_that_exist(name):
    rows = {row.label for row in load_rows(name)}
    claims = load(name, "laptop").claims + load(name, "paper").claims
    for comparison in COMPARISONS[name]:
        assert {row for pair in comparison.rows for row in pair} <= rows
        asked = [each for each in claims if each.text == comparison.text]
        assert asked, comparison.text
        if comparison.cases:  # Each reading of PIT that it names was found among the cases.
            assert {"dig200", "FM", "FM12k", "dvs400"} & {c.better.split(", ")[-1] for c in asked}


# The differences that the paper's text states.
STATED = {
    "table2": (6.21, 5.62, 14.99, 1.39),
    "table3": (1.64, 5.58, 0.72, 0.92),
    "table5": (0.22, 0.25),
    "table7": (4.61, 6.5),
    "table8": (1.12, 1.64, 1.03),
    "table9": (1.03, 1.92),
    "table11": (5.92, 3.9),
    "table12": (2.02, 1.84),
    "figure3": (5.62,),
}


@pytest.mark.parametrize("name", STATED)
def test_printed_differences_are_those_of_the_text(name):
    assert set(STATED[name]) <= {claim.printed for claim in load(name, "paper").claims}


def test_a_claim_is_asked_of_each_reading_and_each_group():
    text = "PIT at 1 x 4 is more accurate than I-LIF at 1 x 4"
    found = [claim for claim in load("table8", "laptop").claims if claim.text == text]
    assert [claim.better for claim in found] == [
        f"PIT {reading} 1x4, {group}"
        for group in ("dig200", "FM12k")
        for reading in ("ours", "released", "paper")
    ]
    assert {(claim.printed, claim.more, claim.measure) for claim in found} == {
        (1.03, True, "accuracy")
    }


@pytest.mark.parametrize("scale", SMALL)
def test_a_config_has_the_neuron_and_the_split_of_its_label(scale):
    for _, case in list_trained(scale):
        config = parse(case.config, case.overrides)
        split = re.search(r"(\d+)x(\d+)", case.label)
        assert config.num_steps == (int(split[1]) if split else 1), case
        if split and "levels" in config.neuron:
            assert config.neuron.levels == int(split[2]), case
        variant = case.config.split(":")[1]
        words = {"ours": "PIT ours", "paper": "PIT ", "released": "PIT released", "ilif": "I-LIF"}
        assert case.label.startswith(words.get(variant, case.label[:3])), case
        if strength := re.search(r"lambda ([\d.]+)", case.label):
            assert config.neuron.strength == float(strength[1])
        assert ("frozen" in case.label) == (config.freeze == ("PIT",))
        assert case.group in GROUPS[scale] and case.seeds >= 2


def test_the_command_takes_every_scale():
    assert several.SCALES == SCALES


@pytest.mark.parametrize("scale", SCALES)
def test_all_configs_are_valid(scale):
    checked = set()
    for _, case in list_trained(scale):
        config = parse(case.config, case.overrides)
        # One network and neuron of each kind; the rest differs in numbers only.
        kind = (config.model.name, config.neuron.name)
        if kind not in checked:
            build.check(config)
            checked.add(kind)


def test_tables_share_runs_and_smoke_has_few():
    assert len(list_configs("smoke")) <= 20
    assert sum(len(list_configs("smoke", name)) for name in NAMES) > 40
    eight = list_configs("laptop", "table8")
    for name in ("table3", "table9", "table10", "figure6", "figure7"):
        assert eight & list_configs("laptop", name), name
    assert list_configs("laptop", "table12") & list_configs("laptop", "table11")


def test_the_laptop_has_twenty_seeds_on_the_digits_where_the_claims_are_tested():
    for name in ("table4", "table7", "table8", "table9"):
        cases = {case.label: case for case in load(name, "laptop").cases}
        for claim in load(name, "laptop").claims:
            for label in (claim.better, claim.worse):
                expected = {"dig200": (20,), "FM12k": (3, 5)}[cases[label].group]
                assert cases[label].seeds in expected, label


def test_rows_that_repeat_the_paper_exist_among_the_cases():
    for name, rows in REPEATED.items():
        used = {case.row for case in load(name, "laptop").cases}
        assert set(rows.values()) <= used, name


@pytest.mark.parametrize("scale, name", [("medium", "table8"), ("medium", "table11")])
def test_full_networks_fit_the_small_data(scale, name):
    kinds = {case.group: case for case in load(name, scale).cases}
    shapes = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1), "dvs_digits": (10, 20, 20, 2)}
    for case in kinds.values():
        config = parse(case.config, case.overrides)
        shape = shapes[config.data.name]
        split = ArraySplit(np.zeros((2, *shape), np.uint8), np.zeros(2, np.int32))
        model = build.make_network(config, Dataset(config.data.name, split, split, 10))
        images = jnp.zeros((2, *shape), jnp.float32)
        logits, _ = jax.eval_shape(
            lambda images, model=model: model.init_with_output(jax.random.key(0), images), images
        )
        assert logits.shape == (2, config.num_steps, 10)
