"""A run that starts from the weights of another run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import chex
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from pit_jax import interop
from tests.train import tiny_finished
from tests.train.helpers import (
    TINY,
    limit_devices,
    load_newest_state,
    load_records,
    make_program_on,
    stop_after,
    take_devices,
)
from tests.train.run.test_pretrained import make_published
from tests.train.tiny import get_config
from train import data
from train.config.cli import parse
from train.errors import UserError
from train.files import hash_file
from train.loop import train
from train.program.state import TrainState
from train.run.pretrained import load_pretrained
from train.run.reading import select_epochs
from train.seeds.loop import train_seeds


def make_config(**changed: Any) -> ConfigDict:
    config = get_config()
    for key, value in changed.items():
        config[key] = value
    return config


def load_given(num_classes: int = 10, **changed: Any) -> dict[tuple[str, ...], np.ndarray]:
    """Return the variables that a run starts with, by path, on images of `num_classes` classes."""
    config = make_config(**changed)
    dataset = replace(data.load(**config.data), num_classes=num_classes)
    given = flatten_dict(load_pretrained(config, dataset))
    return {path: np.asarray(leaf) for path, leaf in given.items()}


@pytest.fixture(scope="module")
def source(finished_run) -> Path:
    """Return the folder of a finished run with the network of the tiny config."""
    return finished_run


@pytest.fixture(scope="module")
def learned(source, tmp_path_factory) -> dict[tuple[str, ...], np.ndarray]:
    """Return the best variables of the source by path, restored like a run restores them."""
    best = tmp_path_factory.mktemp("best")
    shutil.copytree(source / "best", best / "best")
    return flatten_state(load_newest_state(best, make_program_on(1, make_config())))


def flatten_state(state: TrainState) -> dict[tuple[str, ...], np.ndarray]:
    found = flatten_dict({"params": state.params, "batch_stats": state.batch_stats})
    return {path: np.asarray(leaf) for path, leaf in found.items()}


def find_changed_layers(state: TrainState, learned: dict) -> set[str]:
    """Return the layers of a state that do not have the bits of `learned`."""
    begun = flatten_state(state)
    assert begun.keys() == learned.keys()
    return {
        "/".join(path[1:-1]) for path in begun if begun[path].tobytes() != learned[path].tobytes()
    }


def test_a_run_starts_with_the_bits_and_the_test_accuracy_of_another_run(source, learned):
    config = tiny_finished.get_config()
    config.update(pretrained=str(source), seed=1)
    program = make_program_on(1, config)
    state = program.first_state()
    assert find_changed_layers(state, learned) == set()
    assert int(state.step) == 0
    reached = program.evaluate(state)
    best = max(select_epochs(load_records(source)), key=lambda record: record["test_accuracy"])
    assert (reached.loss, reached.accuracy) == (best["test_loss"], best["test_accuracy"])


def test_only_initialized_layers_differ_from_the_other_run(source, learned):
    config = make_config(pretrained=str(source), reinitialize=("head", "stage1_block1/norm1"))
    dataset = replace(data.load(**config.data), num_classes=3)
    state = make_program_on(1, config, dataset).first_state()
    assert find_changed_layers(state, learned) == {"head", "stage1_block1/norm1"}
    assert state.params["head"]["kernel"].shape == (4, 3)
    stats = state.batch_stats["stage1_block1"]["norm1"]
    assert not np.any(stats["mean"]) and np.all(stats["var"] == 1)


def test_a_run_trains_with_some_layers_initialized_and_others_frozen(source, learned, tmp_path):
    config = make_config(
        pretrained=str(source), reinitialize=("head",), freeze=("stem", "conv1"), epochs=1
    )
    assert train(config, tmp_path, devices=take_devices(1)) is not None
    state = load_newest_state(tmp_path, make_program_on(1, config))
    kept = {
        "/".join(path)
        for path, leaf in flatten_state(state).items()
        if path[0] == "params" and leaf.tobytes() == learned[path].tobytes()
    }
    assert {"params/stem/kernel", "params/stage1_block1/conv1/kernel"} <= kept
    assert kept.isdisjoint({"params/stage1_block1/conv2/kernel", "params/head/kernel"})


def test_layers_can_be_named_on_the_command_line(source, learned):
    config, _ = parse(["main", "--config", TINY, "--config.reinitialize=('head', 'PIT')"])
    given = load_given(pretrained=str(source), reinitialize=config.reinitialize)
    skipped = {path for path in learned if "head" in path or path[-1] == "a"}
    assert given.keys() == learned.keys() - skipped and len(skipped) == 2 + 3


@pytest.mark.slow
def test_averaged_weights_are_loaded_from_a_run_that_has_them(tmp_path):
    config = make_config(averaging=0.9, epochs=1)
    train(config, tmp_path, devices=take_devices(1))
    averaged = flatten_dict(load_newest_state(tmp_path, make_program_on(1, config)).averaged)
    begun = make_program_on(1, make_config(pretrained=str(tmp_path))).first_state()
    assert (
        find_changed_layers(begun, {path: np.asarray(leaf) for path, leaf in averaged.items()})
        == set()
    )


@pytest.mark.slow
def test_before_the_first_evaluation_the_last_checkpoint_is_loaded(tmp_path):
    assert train(make_config(), tmp_path, stop=stop_after(2), devices=take_devices(1)) is None
    last = flatten_state(load_newest_state(tmp_path, make_program_on(1, make_config())))
    begun = make_program_on(1, make_config(pretrained=str(tmp_path))).first_state()
    assert find_changed_layers(begun, last) == set()


def test_the_checkpoint_that_was_loaded_is_printed(tmp_path, capsys):
    """Load from a run that still trains and has another best checkpoint later."""
    config, best = tiny_finished.get_config(), []
    for steps in (tiny_finished.STEPS_PER_EPOCH + 1, 10**6):
        train(config, tmp_path, stop=stop_after(steps), devices=take_devices(1))
        (there,) = (tmp_path / "best").iterdir()
        capsys.readouterr()
        load_given(pretrained=str(tmp_path))
        digest = hash_file(there / "manifest.json")[:12]
        assert capsys.readouterr().err == f"starting from {there}, sha256 {digest}\n"
        best.append(there.name)
    assert best[0] != best[1]


def read_origins(workdir: Path) -> list[str | None]:
    starts = json.loads((workdir / "environment.json").read_text())
    return [start.get("pretrained") for start in starts]


def test_the_checkpoint_that_a_run_started_from_is_recorded_with_its_hash(source, tmp_path):
    config, run = make_config(pretrained=str(source)), tmp_path / "run"
    (best,) = (source / "best").iterdir()
    digest = hash_file(best / "manifest.json")
    for _ in range(2):  # A run that resumes does not read it again.
        train(config, run, stop=stop_after(1), devices=take_devices(1))
    assert read_origins(run) == [f"best/{best.name}, sha256 {digest}", None]


def test_imported_weights_that_a_run_started_from_are_recorded_with_their_hash(tmp_path):
    interop.write(make_published(), tmp_path / "imported")
    config = make_config(pretrained=str(tmp_path / "imported"))
    train(config, tmp_path / "run", stop=stop_after(0), devices=take_devices(1))
    digest = hash_file(tmp_path / "imported" / "manifest.json")
    assert read_origins(tmp_path / "run") == [f"sha256 {digest}"]


def test_seeds_record_the_checkpoint_that_they_started_from(source, tmp_path):
    config = make_config(pretrained=str(source))
    with limit_devices(1):
        # Asked before each run and each step: stop in the second seed, then in the first again.
        assert train_seeds(config, [0], tmp_path, stop_after(1)) is None
        assert train_seeds(config, [0, 1], tmp_path, stop_after(1 + 6 + 1)) is None
    found = [read_origins(tmp_path / f"seed_{seed}") for seed in (0, 1)]
    assert found[0] == [*found[1], None] and "sha256" in found[1][0]


def test_a_run_that_starts_from_nothing_records_no_checkpoint(source):
    assert read_origins(source) == [None] * len(read_origins(source))


def raise_error(num_classes: int, **changed: Any) -> str:
    with pytest.raises(UserError) as error:
        load_given(num_classes, **changed)
    return str(error.value)


def test_a_head_for_other_classes_raises_an_error_with_advice(source):
    assert raise_error(3, pretrained=str(source)) == (
        f"config.pretrained: the head of {source} is for 10 classes, the data set has 3. "
        """With --config.reinitialize="('head',)" these layers start from scratch."""
    )


def test_scales_for_other_steps_raise_an_error_and_can_be_initialized(source, learned):
    message = raise_error(3, pretrained=str(source), num_steps=3)
    assert "PIT_0/a (2, 4), in the network (3, 4)" in message
    assert (
        """With --config.reinitialize="('head', 'PIT')" these layers start from scratch."""
        in message
    )
    given = load_given(pretrained=str(source), num_steps=3, reinitialize=("PIT",))
    assert {path[-1] for path in learned.keys() - given.keys()} == {"a"}
    chex.assert_trees_all_equal(given, {path: learned[path] for path in given})


def test_scales_for_a_neuron_without_parameters_raise_an_error(source):
    message = raise_error(10, pretrained=str(source), neuron={"name": "IF"})
    assert "PIT_0/a, unknown to the network" in message and "reinitialize=\"('PIT',)\"" in message


def test_unknown_layers_raise_an_error(source):
    message = raise_error(10, pretrained=str(source), reinitialize=("heat",))
    there = "norm, stage1_block1, PIT_0, head, stem"
    assert message == f"config.reinitialize: no layer begins with 'heat'; the layers are {there}."
    assert "config.reinitialize needs config.pretrained, which is empty" in raise_error(
        10, reinitialize=("head",)
    )


@pytest.mark.slow
def test_layers_of_imported_weights_can_be_initialized(tmp_path):
    interop.write(make_published(num_classes=3), tmp_path / "imported")
    config = make_config(pretrained=str(tmp_path / "imported"), reinitialize=("head",))
    state, given = (
        make_program_on(1, config).first_state(),
        flatten_dict(make_published(num_classes=3)),
    )
    begun = flatten_state(state)
    assert begun["params", "head", "kernel"].shape == (4, 10)
    for path in given.keys() - {("params", "head", "kernel"), ("params", "head", "bias")}:
        np.testing.assert_array_equal(begun[path], given[path])


def test_a_damaged_checkpoint_is_refused(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy")
    file = max((copy / "best").rglob("state/**/*"), key=lambda each: each.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    message = raise_error(10, pretrained=str(copy))
    assert message.startswith(f"config.pretrained: the checkpoint {copy}/best/")
    assert "is damaged: state/" in message and "has changed since it was written" in message


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 0}))
    assert "last has no checkpoint yet" in raise_error(10, pretrained=str(tmp_path))
