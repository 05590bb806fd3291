"""Networks from configs: neurons in other places, and functions by their names."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from pit_jax import initializers, neurons, surrogate
from pit_jax.neurons import ILIF, LIF, PIT, scale
from tests.train.tiny import get_config
from train import data
from train.data.own import make_dataset
from train.errors import UserError
from train.program import build


def make_network(model: dict, neuron: dict | None = None):
    config = get_config()
    config.model = ConfigDict(model)
    if neuron is not None:
        config.neuron = ConfigDict(neuron)
    return build.make_network(config, data.load(**config.data))


def test_another_neuron_of_a_network_has_its_own_section():
    gate = {"name": "LIF", "threshold": 0.5}
    model = make_network({"name": "spike_driven_transformer", "gate_neuron": gate}, {"name": "LIF"})
    assert model.gate_neuron() == LIF(threshold=0.5) and model.neuron() == LIF()
    head = {"name": "ILIF", "decay": 0.0}
    model = make_network({"name": "e_spikeformer_s", "head_neuron": head})
    assert model.head_neuron() == ILIF(decay=0.0) and isinstance(model.neuron(), PIT)


def test_frames_need_as_many_steps():
    config = get_config()
    frames = np.zeros((4, 5, 8, 8, 2), np.uint8)
    dataset = make_dataset("mine:frames", dict.fromkeys(("train", "test"), (frames, [0, 1, 0, 1])))
    error = (
        "config.num_steps must be 5, the number of frames of each sample of frames, got 2. "
        "Give --config.num_steps=5."
    )
    with pytest.raises(UserError) as found:
        build.make_network(config, dataset)
    assert str(found.value) == error
    config.num_steps = 5
    assert build.make_network(config, dataset).num_steps == 5


def test_functions_of_a_neuron_are_given_by_name():
    section = {"name": "PIT", "scale_init": "released", "parametrize": "released"}
    made = make_network({"name": "resnet8"}, section | {"reset": "clearing_reset"}).neuron()
    assert made.scale_init is initializers.released and made.parametrize is scale.released
    assert made.reset is neurons.step.clearing_reset
    made = make_network({"name": "resnet8"}, {"name": "LIF", "spike": "sigmoid"}).neuron()
    assert made.spike is surrogate.sigmoid


@pytest.mark.parametrize(
    "model, neuron, complaint",
    [
        ({}, {"name": "LIF", "reset": "none"}, "config.neuron.reset is 'none'; it can be soft, "),
        ({}, {"name": "LIFE"}, "config.neuron.name is 'LIFE'; it can be CLIF"),
        ({}, {"name": "PIT", "levels": 0}, "config.neuron.levels must be at least 1, got 0"),
        (
            {"gate_neuron": {"name": "LIF"}},
            None,
            "no key 'gate_neuron'; resnet8 takes",
        ),
        (
            {"name": "spike_driven_transformer", "gate_neuron": {"name": "no"}},
            None,
            "config.model.gate_neuron.name is 'no'",
        ),
        ({"norm": {"name": "batch_norm", "gian": 1}}, None, "config.model.norm has no key 'gian'"),
        ({"norm": "BatchNorm"}, None, "config.model.norm.name is 'BatchNorm'; it can be PerStep"),
    ],
)
def test_the_error_for_an_invalid_neuron_or_norm_names_its_section(model, neuron, complaint):
    with pytest.raises(UserError, match=complaint):
        make_network({"name": "resnet8"} | model, neuron)
