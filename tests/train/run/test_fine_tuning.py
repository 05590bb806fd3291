"""A run that starts from what another run learned."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from pit_jax import interop
from tests.train.helpers import (
    TINY,
    load_newest_state,
    load_records,
    make_program_on,
    stop_after,
    take_devices,
)
from tests.train.run.test_pretrained import published
from tests.train.tiny import get_config
from train import data
from train.config.cli import parse
from train.errors import UserError
from train.loop import train
from train.program.program import Program
from train.program.state import TrainState


def tiny(**changed: Any) -> ConfigDict:
    config = get_config()
    config.update(changed)
    return config


def program_for(num_classes: int, config: ConfigDict) -> Program:
    """The program of a run on made-up images of so many classes."""
    dataset = data.load(**config.data)
    return make_program_on(1, config, replace(dataset, num_classes=num_classes))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A finished run."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    assert train(tiny(), workdir, devices=take_devices(1)) is not None
    return workdir


@pytest.fixture(scope="module")
def learned(source) -> dict[tuple[str, ...], np.ndarray]:
    """Its best variables, by path, restored as the run itself would."""
    best = source.parent / "best"
    best.mkdir()
    shutil.copytree(source / "best", best / "best")
    return of(load_newest_state(best, make_program_on(1, tiny())))


def of(state: TrainState) -> dict[tuple[str, ...], np.ndarray]:
    found = flatten_dict({"params": state.params, "batch_stats": state.batch_stats})
    return {path: np.asarray(leaf) for path, leaf in found.items()}


def differing(state: TrainState, learned: dict) -> set[str]:
    """The layers of a state that are not, to the bit, those learned."""
    begun = of(state)
    assert begun.keys() == learned.keys()
    return {
        "/".join(path[1:-1]) for path in begun if begun[path].tobytes() != learned[path].tobytes()
    }


def test_a_run_begins_with_the_bits_that_another_learned(source, learned):
    state = make_program_on(1, tiny(pretrained=str(source), seed=1)).first_state()
    assert differing(state, learned) == set()
    assert int(state.step) == 0


def test_it_is_tested_at_once_as_the_other_was_at_its_best(source):
    program = make_program_on(1, tiny(pretrained=str(source)))
    reached = program.evaluate(program.first_state())
    best = max(load_records(source), key=lambda record: record["test_accuracy"])
    assert (reached.loss, reached.accuracy) == (best["test_loss"], best["test_accuracy"])


def test_a_head_for_other_classes_starts_from_scratch_and_the_rest_does_not(source, learned):
    config = tiny(pretrained=str(source), reinitialize=("head",))
    state = program_for(3, config).first_state()
    assert differing(state, learned) == {"head"}
    assert state.params["head"]["kernel"].shape == (4, 3)


def test_another_run_trains_with_some_layers_reset_and_others_kept(source, learned, tmp_path):
    config = tiny(
        pretrained=str(source), reinitialize=("head",), freeze=("stem", "conv1"), epochs=1
    )
    assert train(config, tmp_path, devices=take_devices(1)) is not None
    state = load_newest_state(tmp_path, make_program_on(1, config))
    kept = {
        "/".join(path)
        for path, leaf in of(state).items()
        if path[0] == "params" and leaf.tobytes() == learned[path].tobytes()
    }
    assert {"params/stem/kernel", "params/stage1_block1/conv1/kernel"} <= kept
    assert kept.isdisjoint({"params/stage1_block1/conv2/kernel", "params/head/kernel"})


def test_layers_are_named_on_the_command_line(source):
    config, _ = parse(["main", "--config", TINY, "--config.reinitialize=('head', 'PIT')"])
    config.pretrained = str(source)
    assert make_program_on(1, config).first_state() is not None


def test_norms_that_start_from_scratch_have_the_statistics_of_a_beginning(source, learned):
    state = make_program_on(
        1, tiny(pretrained=str(source), reinitialize=("stage1_block1/norm1",))
    ).first_state()
    assert differing(state, learned) == {"stage1_block1/norm1"}
    stats = state.batch_stats["stage1_block1"]["norm1"]
    assert not np.any(stats["mean"]) and np.all(stats["var"] == 1)


@pytest.mark.slow
def test_averages_are_what_is_taken_of_a_run_that_has_some(tmp_path):
    config = tiny(averaging=0.9, epochs=1)
    train(config, tmp_path, devices=take_devices(1))
    averaged = flatten_dict(load_newest_state(tmp_path, make_program_on(1, config)).averaged)
    begun = make_program_on(1, tiny(pretrained=str(tmp_path))).first_state()
    assert differing(begun, {path: np.asarray(leaf) for path, leaf in averaged.items()}) == set()


@pytest.mark.slow
def test_without_a_tested_epoch_the_last_checkpoint_is_taken(tmp_path):
    assert train(tiny(), tmp_path, stop=stop_after(2), devices=take_devices(1)) is None
    last = of(load_newest_state(tmp_path, make_program_on(1, tiny())))
    begun = make_program_on(1, tiny(pretrained=str(tmp_path))).first_state()
    assert differing(begun, last) == set()


def refusal(num_classes: int, **changed: Any) -> str:
    with pytest.raises(UserError) as error:
        program_for(num_classes, tiny(**changed))
    return str(error.value)


def test_a_head_for_other_classes_is_refused_with_what_to_do(source):
    assert refusal(3, pretrained=str(source)) == (
        f"config.pretrained: the head of {source} is for 10 classes, the data set has 3. "
        """With --config.reinitialize="('head',)" these layers start from scratch."""
    )


def test_scales_of_other_steps_are_refused_and_can_be_read_again(source, learned):
    message = refusal(3, pretrained=str(source), num_steps=3)
    assert "PIT_0/a (2, 4), in the network (3, 4)" in message
    assert (
        """With --config.reinitialize="('head', 'PIT')" these layers start from scratch."""
        in message
    )
    config = tiny(pretrained=str(source), num_steps=3, reinitialize=("PIT",))
    begun = of(make_program_on(1, config).first_state())
    assert {path[-1] for path in begun if begun[path].shape != learned[path].shape} == {"a"}
    assert all(
        leaf.tobytes() == learned[path].tobytes() for path, leaf in begun.items() if path[-1] != "a"
    )


def test_neurons_without_parameters_leave_those_that_were_learned(source):
    config = tiny(pretrained=str(source))
    config.neuron = {"name": "IF"}
    with pytest.raises(UserError) as error:
        make_program_on(1, config)
    message = str(error.value)
    assert "PIT_0/a, unknown to the network" in message and "reinitialize=\"('PIT',)\"" in message


def test_layers_that_are_not_there_are_named(source):
    message = refusal(10, pretrained=str(source), reinitialize=("heat",))
    there = "norm, stage1_block1, PIT_0, head, stem"
    assert message == f"config.reinitialize: no layer begins with 'heat'; there are {there}."
    assert "config.reinitialize needs config.pretrained, which is empty" in refusal(
        10, reinitialize=("head",)
    )


@pytest.mark.slow
def test_imported_weights_can_leave_layers_too(tmp_path):
    interop.write(published(num_classes=3), tmp_path / "imported")
    config = tiny(pretrained=str(tmp_path / "imported"), reinitialize=("head",))
    state, given = make_program_on(1, config).first_state(), flatten_dict(published(num_classes=3))
    begun = of(state)
    assert begun["params", "head", "kernel"].shape == (4, 10)
    for path in given.keys() - {("params", "head", "kernel"), ("params", "head", "bias")}:
        np.testing.assert_array_equal(begun[path], given[path])


def test_a_damaged_checkpoint_is_refused(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy")
    file = max((copy / "best").rglob("state/**/*"), key=lambda each: each.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    message = refusal(10, pretrained=str(copy))
    assert message.startswith(f"config.pretrained: the checkpoint {copy}/best/")
    assert "is damaged: state/" in message and "has changed since it was written" in message


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 0}))
    assert "last has no checkpoint yet" in refusal(10, pretrained=str(tmp_path))
