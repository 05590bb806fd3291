"""Warnings before the first step: which starts fit the membranes, and which do not."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.digits import get_config
from pit_jax.initializers import SCALE_INITS
from pit_jax.neurons import PIT
from pit_jax.neurons.probe import Rounding, measure_rounding
from tests.helpers import jit_once
from tests.train.helpers import make_program_on
from train.monitor.levels import MOST, explain_rounding, measure_ratios

QUICK = {("paper", 1), ("ours", 8), ("ilif", 4)}
# The squared error of a start relative to the best step, for normal membranes.
RATIOS = {
    "three_sigma": {1: 3.40, 2: 4.50, 4: 6.13, 8: 9.00},
    "lsq": {1: 1.21, 2: 1.33, 4: 1.73, 8: 2.54},
    "ones": {1: 1.10, 2: 1.11, 4: 2.71, 8: 7.97},
}


def make_layer(start: str, levels: int, mean=0.0, sd=1.0, steps=1) -> Rounding:
    """Return a layer with four channels whose scale starts as `start` on normal membranes."""
    shape = steps, 4
    u = jnp.asarray(np.random.default_rng(0).normal(mean, sd, size=(20_000, 4)))
    a = np.broadcast_to(SCALE_INITS[start](u, levels=levels), shape)
    return Rounding(np.full(shape, mean), np.full(shape, sd), a, np.array(levels))


def make_config(name="PIT", **keys) -> ConfigDict:
    return ConfigDict({"neuron": {"name": name, **keys}})


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
@pytest.mark.parametrize("start", RATIOS)
def test_only_starts_above_three_times_the_least_error_are_reported(start, levels):
    layer = make_layer(start, levels)
    (ratio,) = measure_ratios(layer)
    assert ratio == pytest.approx(RATIOS[start][levels], rel=0.02)
    warned = explain_rounding({"PIT_0": layer}, make_config(scale_init=start))
    assert bool(warned) == (RATIOS[start][levels] > MOST)


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_later_steps_are_reported_for_the_same_starts(levels):
    """Run steps of normal currents: the reset changes mean and deviation of the membranes."""
    x = jax.random.normal(jax.random.key(0), (256, 5, 64))
    for start, is_reported in {"three_sigma": True, "lsq": levels == 8}.items():
        neuron = PIT(levels=levels, scale_init=SCALE_INITS[start])
        variables = jit_once(partial(neuron.init, mutable=True))(jax.random.key(0), x)
        found = measure_rounding(variables["intermediates"])
        ratios = measure_ratios(found[""])
        assert len(ratios) == 5 and ratios[:3] == sorted(ratios)[:3]
        warned = explain_rounding(found, make_config(scale_init=start))
        assert bool(warned) == is_reported
        if is_reported and start == "lsq":
            assert [ratio > MOST for ratio in ratios] == [False, False, True, True, True]
            assert "scale_init=covering" in warned[0]


def test_a_warning_names_the_worst_layer_and_step_and_a_better_start():
    late = make_layer("lsq", 4, steps=3)
    late = late._replace(scale=late.scale * np.array([[1.0], [5.0], [1.0]]))
    layers = {"a/PIT_0": make_layer("lsq", 4), "b/PIT_0": make_layer("three_sigma", 4), "c": late}
    (text,) = explain_rounding(layers, make_config(scale_init="three_sigma"))
    assert text.startswith("the levels of 2 of 3 layers do not fit their membranes")
    assert "rounding error of c, step 2 is" in text and "(the limit is 3)" in text
    assert "It would be 1.7 times with --config.neuron.scale_init=lsq." in text


def test_a_neuron_without_scale_gets_a_gain_or_pit():
    (text,) = explain_rounding({"ILIF_0": make_layer("ones", 8)}, make_config("ILIF"))
    # The best step of normal membranes with 8 levels is 0.32.
    assert re.search(r"--config.model.norm.gain=3\.[12],", text)
    assert "--config.neuron.name=PIT --config.neuron.scale_init=lsq" in text


@pytest.mark.parametrize(
    "model, gain",
    [
        ({"norm": {"name": "batch_norm", "gain": 2.0}}, r"6\.[2-4]"),
        ({"name": "resnet8", "norm": "TEBN"}, r"3\.[12]"),
        ("resnet8", r"3\.[12]"),
    ],
)
def test_the_gain_is_relative_to_the_gain_of_the_config(model, gain):
    config = make_config("ILIF")
    config.model = model
    (text,) = explain_rounding({"ILIF_0": make_layer("ones", 8)}, config)
    assert re.search(f"--config.model.norm.gain={gain},", text)


def test_scales_of_another_run_are_to_be_initialized_again():
    layers, config = {"a": make_layer("ones", 8)}, make_config(scale_init="lsq")
    config.pretrained = "runs/paper"
    (text,) = explain_rounding(layers, config)
    assert "--config.neuron.scale_init=lsq --config.reinitialize=\"('PIT',)\"." in text
    config.neuron.name = "ILIF"
    (text,) = explain_rounding(layers, config)
    assert "gain" not in text and "--config.neuron.name=PIT" in text


def test_the_advice_for_own_neurons_is_calibrate():
    (text,) = explain_rounding({"a": make_layer("ones", 8)}, make_config("my.module:Mine"))
    assert "pit_jax.analysis.calibrate" in text and "scale_init" not in text


def test_layers_that_never_fire_and_networks_without_rounding_are_not_reported():
    silent = make_layer("ones", 4)._replace(mean=np.full((1, 4), -9.0), sd=np.zeros((1, 4)))
    assert measure_ratios(silent) == [0.0]
    assert (
        explain_rounding({"a": silent}, make_config()) == explain_rounding({}, make_config()) == []
    )


def test_gaussians_of_different_channels_share_one_best_step():
    layer = make_layer("lsq", 4)
    wide = layer._replace(
        sd=np.array([[1.0, 1.0, 3.0, 3.0]]), scale=np.array([[0.8, 0.8, 2.4, 2.4]])
    )
    assert measure_ratios(wide)[0] < measure_ratios(layer)[0]


def explain_digits(variant: str, levels: int) -> list[str]:
    """Return the warnings of a run on the digits with a small network."""
    config = get_config(variant)
    config.neuron.levels = levels
    config.model = {"name": "resnet8", "stages": (1,), "width": 8}
    program = make_program_on(1, config)
    assert program.first_rounding() == {}
    program.first_state()
    assert len(program.first_rounding()) == len(program.neuron_layers) == 3
    return explain_rounding(program.first_rounding(), config)


@pytest.mark.parametrize(
    "variant, levels, warned",
    [
        pytest.param(
            variant, levels, warned, marks=() if (variant, levels) in QUICK else pytest.mark.slow
        )
        for variant, of_levels in (
            ("paper", {1: True, 2: True, 4: True, 8: True}),
            ("ours", dict.fromkeys((1, 2, 4, 8), False)),
            ("ilif", {1: False, 2: False, 4: False, 8: True}),
        )
        for levels, warned in of_levels.items()
    ],
)
def test_runs_on_the_digits_warn_as_normal_membranes_do(variant, levels, warned):
    found = explain_digits(variant, levels)
    assert bool(found) == warned
    assert not warned or "the levels of 3 of 3 layers" in found[0]


def test_a_run_prints_the_warning_once(finished_run):
    printed = (finished_run.parent / "printed.txt").read_text()
    assert printed.count("do not fit their membranes: the squared rounding error of") == 1
