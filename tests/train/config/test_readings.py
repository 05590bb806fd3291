"""The three readings of PIT: as the paper prints it, as the authors' code has it, and ours."""

import importlib

import pytest

from tests.train.config.test_configs import CONFIGS, OURS_BY_DEFAULT, load_config
from train.errors import UserError

READINGS = ("paper", "released", "ours")
# Variants that existed before `ours` and must stay, of all pages and of some.
EARLIER = ("pit", "ilif", "lif", "relu", "pit_full", "qat", "if", "plif", "clif", "glif")
EARLIER += ("real_spike", "ternary", "trainable_ternary")
EARLIER_OF_PAGES = {
    "cifar10": ("released",),
    "cifar100": ("released",),
    "imagenet": ("released", "sew", "sdt", "sdt_pit", "e_spikeformer", "e_spikeformer_pit"),
}
# The section of saved runs.
PIT = {"name": "PIT", "levels": 4, "decay": 0.5, "strength": 0.01, "detach_reset": False}
OF_PAGES = {
    "cifar10_dvs": {"decay": 0.25},
    "dvs_gesture": {"levels": 2},
}


def import_page(name: str):
    return importlib.import_module(f"configs.{name}")


@pytest.mark.parametrize("name", CONFIGS)
def test_paper_and_pit_are_the_section_of_earlier_runs(name):
    paper = import_page(name).get_config("paper")
    assert paper.neuron.to_dict() == PIT | OF_PAGES.get(name, {})
    assert paper.to_dict() == import_page(name).get_config("pit").to_dict()


@pytest.mark.parametrize("name", CONFIGS)
def test_released_is_the_authors_neuron_in_full(name):
    neuron = import_page(name).get_config("released").neuron.to_dict()
    leak = {"decay": 0.5, "decay_input": True}
    full = PIT | leak | {"scale_init": "released", "parametrize": "released"}
    full |= OF_PAGES.get(name, {})
    if name == "cifar10_dvs":
        full |= {"reset": "clearing_reset"}
    if name == "dvs_gesture":
        full |= {"levels": 4}  # The only number of levels in the code.
    assert neuron == full


@pytest.mark.parametrize("name", CONFIGS)
def test_ours_initializes_scales_as_lsq_and_detaches_the_reset(name):
    paper, ours = (import_page(name).get_config(variant).to_dict() for variant in ("paper", "ours"))
    assert ours["neuron"] == paper["neuron"] | {"scale_init": "lsq", "detach_reset": True}
    assert {key for key in paper if paper[key] != ours[key]} == {"neuron"}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_for_laptops_default_to_ours_and_those_of_the_paper_to_paper(name):
    default = "ours" if name in OURS_BY_DEFAULT else "paper"
    assert (
        import_page(name).get_config().to_dict() == import_page(name).get_config(default).to_dict()
    )


RECIPES = {
    "cifar10": {"augment"},
    "cifar100": {"augment", "optimizer"},
    "cifar10_dvs": {"augment"},
    "imagenet": {"batch_size", "learning_rate", "optimizer", "pretrained"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_released_has_the_authors_recipe_where_they_trained_the_data_set(name):
    paper, released = (
        import_page(name).get_config(each).to_dict() for each in ("paper", "released")
    )
    different = {key for key in paper if paper[key] != released[key]}
    assert different == {"neuron"} | RECIPES.get(name, set())
    if name == "cifar10_dvs":
        assert released["augment"] == {"flip": True, "rotate": 15}


@pytest.mark.parametrize("recipe", ["sdt", "e_spikeformer"])
def test_a_transformers_recipe_has_the_three_readings(recipe):
    found = {
        reading: import_page("imagenet").get_config(f"{recipe}_{reading}").to_dict()
        for reading in (*READINGS, "pit")
    }
    assert found["paper"] == found["pit"] and found["paper"]["neuron"] == PIT
    for reading in READINGS:
        alone = import_page("imagenet").get_config(reading)
        assert found[reading]["neuron"] == alone.neuron.to_dict()
        assert found[reading] | {"neuron": PIT} == found["paper"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_page_lists_its_variants_with_a_meaning_each(name):
    variants = import_page(name).VARIANTS
    assert {*READINGS, *EARLIER, *EARLIER_OF_PAGES.get(name, ())} <= set(variants)
    for variant, meaning in variants.items():
        assert "\n" not in meaning and 3 < len(meaning) < 95
        import_page(name).get_config(variant)
    with pytest.raises(ValueError, match=f"no variant 'pitt'; choose one of {', '.join(variants)}"):
        import_page(name).get_config("pitt")
    with pytest.raises(UserError, match=f"{name}.py:pitt: there is no variant 'pitt'"):
        load_config(name, "pitt")
