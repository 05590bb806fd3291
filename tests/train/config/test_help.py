"""The help of a config: its variants, and every key with type, value and meaning."""

import re

import pytest

from tests.train.helpers import TINY, run_main
from train.config import arguments
from train.config.cli import describe_config
from train.config.pages import list_shipped, load_page
from train.config.sections import list_keys


def describe(*words: str) -> str:
    return " ".join(describe_config(["--config", *words]).split())


@pytest.mark.parametrize("name", list_shipped())
def test_help_of_a_config_lists_its_variants_and_all_keys(name):
    page, shown = load_page(name), describe(name)
    assert page.variants and all(f":{variant} " in shown for variant in page.variants)
    assert all(f" {key} " in shown for key in list_keys(page.config) if not key.endswith("_neuron"))


@pytest.mark.parametrize(
    "line",
    [
        "epochs int = 30; passes over the training images.",
        "neuron.levels int = 4; the largest integer that it fires (D)",
        "neuron.decay float = 0.5; the part of the membrane",
        "optimizer.weight_decay float = 0.0005; ",
        "augment.flip bool = False; ",
        "model.norm.gain float = 1.0; ",
        "model.norm.name str = batch_norm; batch_norm, PerStepBatchNorm, TDBatchNorm, TEBN",
        "schedule.name str = cosine; cosine, linear, constant, steps, or an import path",
        "data.train_images int = 0; ",
        "loss.name str = cross_entropy; cross_entropy, mse, tet, or an import path",
        "augment.cutout.size int = required; ",
    ],
)
def test_a_key_is_shown_with_type_value_and_meaning(line):
    assert line in describe("digits")


def test_help_shows_the_keys_of_the_part_that_a_flag_names():
    shown = describe("digits", "--config.neuron=LIF", "--config.neuron.decay=0.25", "--help")
    assert "neuron.decay float = 0.25; " in shown and "neuron.threshold float = 1.0; " in shown
    assert "neuron.levels" not in shown
    shown = describe("digits", "--config.model=sew_resnet18")
    assert re.search(r"model\.downsample_neuron\.name str = none; \w+", shown)


def test_functions_are_listed_for_keys_that_take_one_and_not_for_numbers_of_that_name():
    assert "RESETS: soft, hard or clearing." in describe("digits:lif")
    assert not re.search("soft, hard|between 0 and 1. O", describe("digits:glif"))


def test_the_program_prints_the_help_of_its_config_and_returns_0(capsys):
    assert run_main("--config", TINY, "--help") == 0
    out, err = capsys.readouterr()
    assert "usage: python -m train.main" in out and "config.neuron" in out and err == ""
    assert run_main("--config", "nosuch.py", "--help") == 0
    assert "no keys are shown: there is no config file nosuch.py" in capsys.readouterr().out
    assert run_main("--help") == 0
    assert "keys of this config" not in capsys.readouterr().out


@pytest.mark.parametrize("program", ["check", "seeds"])
def test_every_program_that_takes_a_config_describes_it(program, capsys):
    assert arguments.run_program(program, lambda args: 1, ["--config", "digits", "--help"]) == 0
    assert "neuron.levels" in capsys.readouterr().out
