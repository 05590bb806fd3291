"""A run that starts from imported weights, and computes its scales with them."""

import re
import shutil
from functools import partial

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pit_jax import interop
from pit_jax.models import create
from pit_jax.neurons import IF, PIT
from pit_jax.neurons.probe import neuron_layers
from tests.helpers import jit_once
from tests.train.helpers import RUN, load_records, make_program_on, stop_after, take_devices
from tests.train.tiny import get_config
from train import data
from train.errors import UserError
from train.loop import train
from train.program.inputs import make_prepare
from train.program.program import Program
from train.program.state import TrainState
from train.program.step import split_step_key
from train.run.pretrained import load_pretrained


def make_published(width: int = 4, num_classes: int = 10) -> dict:
    """Return random variables of the tiny network with a neuron without parameters."""
    model = create("resnet8", num_classes=num_classes, neuron=IF, stages=(1,), width=width)
    images = jax.ShapeDtypeStruct((2, 8, 8, 1), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    rng = np.random.default_rng(7)
    # Positive, because variances are among them.
    return jax.tree.map(lambda x: rng.uniform(0.1, 1, x.shape).astype(x.dtype), dict(shapes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "resnet8"
    interop.write(make_published(), folder)
    return folder


def make_config(folder) -> ConfigDict:
    config = get_config()
    config.pretrained = str(folder)
    return config


@pytest.fixture(scope="module")
def program(folder) -> Program:
    """Return the program of a run from the imported weights."""
    return make_program_on(1, make_config(folder))


@pytest.fixture(scope="module")
def state(program) -> TrainState:
    """Return the first state of a run from the imported weights."""
    return program.first_state()


def test_the_rounding_of_the_first_batch_is_measured(program, state):
    assert program.first_rounding().keys() == set(program.neuron_layers)


def test_a_run_starts_with_imported_weights_and_statistics(state):
    begun = flatten_dict({"params": state.params, "batch_stats": state.batch_stats})
    for path, leaf in flatten_dict(make_published()).items():
        np.testing.assert_array_equal(begun[path], leaf)
    assert {path[-1] for path in begun.keys() - flatten_dict(make_published()).keys()} == {"a"}


def test_scales_are_computed_from_the_first_batch_with_imported_weights(folder, state):
    config = make_config(folder)
    dataset = data.load(**config.data)
    neuron = partial(PIT, levels=4)
    model = create("resnet8", num_classes=10, neuron=neuron, num_steps=2, stages=(1,), width=4)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    _, key = jax.random.split(jax.random.key(config.seed))
    order = np.random.default_rng((config.seed, 0)).permutation(100)[:32]
    batch = {"image": dataset.train.images[order], "label": dataset.train.labels[order]}
    images, _ = jit_once(make_prepare(config, dataset))(split_step_key(key, 0)[0], batch)

    def membranes(images):
        collections = ["intermediates", "batch_stats"]
        return model.apply(variables, images, train=True, mutable=collections)[1]["intermediates"]

    layer = neuron_layers(model, variables, images)[0]
    u = np.asarray(flatten_dict(jit_once(membranes)(images), sep="/")[f"{layer}/membrane"][0])[:, 0]
    mean, sigma = u.mean(axis=(0, 1, 2)), u.std(axis=(0, 1, 2))
    want = np.maximum(abs(mean - 3 * sigma), abs(mean + 3 * sigma)) / 2
    got = flatten_dict(state.params, sep="/")[f"{layer}/a"][0]
    np.testing.assert_allclose(got, want, rtol=1e-4)


def drop_statistics(variables: dict) -> dict:
    return {"params": variables["params"]}


def add_layer(variables: dict) -> dict:
    return variables | {"params": variables["params"] | {"more": {"kernel": np.ones(1)}}}


@pytest.mark.parametrize(
    "make, complaint",
    [
        (partial(make_published, width=6), r"params/.*kernel \(.*, 6\), in the network \(.*, 4\)"),
        (
            partial(make_published, num_classes=3),
            r"head of .*other is for 3 classes, .* has 10\. With --config.reinitialize=.*head",
        ),
        (
            partial(make_published, width=6, num_classes=3),
            r"head/kernel \(6, 3\), in the network \(4, 10\).* Give the config.model .*reinit",
        ),
        (lambda: drop_statistics(make_published()), "no batch_stats/"),
        (lambda: add_layer(make_published()), "more"),
    ],
    ids=["width", "head", "width and head", "no statistics", "another layer"],
)
def test_weights_of_another_network_are_refused_with_their_names(tmp_path, make, complaint):
    interop.write(make(), tmp_path / "other")
    with pytest.raises(UserError, match=complaint):
        load_from(tmp_path / "other")


def load_from(folder) -> dict:
    config = make_config(folder)
    return load_pretrained(config, data.load(**config.data))


def test_a_run_resumes_without_the_imported_folder(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "imported")
    config = make_config(copied)
    assert train(config, tmp_path / "run", stop=stop_after(2), devices=take_devices(1)) is None
    shutil.rmtree(copied)
    assert train(config, tmp_path / "run", devices=take_devices(1)) is not None
    assert [line["step"] for line in load_records(tmp_path / "run")] == [3, 6]


def test_a_run_with_a_missing_folder_is_refused_before_it_compiles(tmp_path, compiled):
    with pytest.raises(UserError, match=r"config.pretrained: .*nowhere .*pit_jax.interop CHECKP"):
        train(make_config(tmp_path / "nowhere"), tmp_path / "run", devices=take_devices(1))
    assert not RUN & set(compiled) and not (tmp_path / "run").exists()


def test_a_damaged_folder_is_refused(tmp_path):
    interop.write(make_published(), tmp_path / "changed")
    arrays = tmp_path / "changed" / "variables.safetensors"
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.write_bytes(content)
    with pytest.raises(UserError, match="import it again"):
        load_from(tmp_path / "changed")


@pytest.mark.parametrize(
    "leaf, value, says",
    [
        ("params/stem/kernel", np.nan, "params/stem/kernel (not finite: "),
        ("params/head/bias", np.inf, "params/head/bias (not finite: "),
        (
            "batch_stats/stage1_block1/norm1/var",
            -1.0,
            "batch_stats/stage1_block1/norm1/var (a variance of -1)",
        ),
    ],
)
def test_weights_that_no_network_can_use_are_refused_by_name(tmp_path, leaf, value, says):
    flat = flatten_dict(make_published(), sep="/")
    flat[leaf] = np.full_like(flat[leaf], value)
    interop.write(unflatten_dict(flat, sep="/"), tmp_path / "bad")
    config = make_config(tmp_path / "bad")
    with pytest.raises(UserError, match=f"config.pretrained: .*bad.*{re.escape(says)}"):
        load_pretrained(config, data.load(**config.data))


def test_a_checkpoint_file_as_pretrained_is_refused_with_the_command(tmp_path):
    (tmp_path / "best.pth").write_bytes(b"x")
    config = make_config(tmp_path / "best.pth")
    with pytest.raises(UserError, match="best.pth is a file. Import it first: python -m pit_jax"):
        load_pretrained(config, data.load(**config.data))
