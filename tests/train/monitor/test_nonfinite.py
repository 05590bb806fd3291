"""A step that is not finite: nothing is lost, and the first layer that is not finite is named."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from tests.helpers import compile_quickly
from tests.train.helpers import (
    get_bits,
    list_saved_steps,
    load_records,
    make_program_on,
)
from tests.train.tiny import get_config
from train import data
from train.data import ArraySplit
from train.data.feeding.order import epoch_order
from train.errors import UserError
from train.loop import train
from train.monitor.nonfinite import advise
from train.program.diagnose import make_diagnose
from train.program.losses import cross_entropy
from train.program.program import Program
from train.program.state import create_state
from train.session import check_parts


def make_config(**changed):
    config = get_config()
    config.update(changed)
    return config


def lose(logits, labels, *, of: int = 0):
    """Return the cross-entropy, or NaN for a batch of several whose first label is `of`."""
    value = cross_entropy(logits, labels)
    return jax.numpy.where((labels[0] == of) & (len(labels) > 1), jax.numpy.nan, value)


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly() -> Iterator[None]:
    with compile_quickly():
        yield


@pytest.fixture(scope="module")
def seed_and_label() -> tuple[int, int]:
    """Return a seed, and a label whose loss is NaN only at the second step of the first epoch."""
    labels = data.load(**make_config().data).train.labels
    for seed in range(50):
        firsts = labels[epoch_order(seed, 0, 100, 32)[:, 0]]
        if (firsts == firsts[1]).sum() == 1:
            return seed, int(firsts[1])
    raise AssertionError("no such seed")


class Losing(NamedTuple):
    """A config, and its program, whose loss is NaN at the second step."""

    config: ConfigDict
    program: Program


def make_losing(seed: int, label: int, **changed: Any) -> Losing:
    config = make_config(seed=seed, epochs=1, log_every=1, **changed)
    return Losing(config, make_program_on(1, config, loss=partial(lose, of=label)))


@pytest.fixture(scope="module")
def losing(seed_and_label) -> Losing:
    return make_losing(*seed_and_label)


@pytest.fixture(scope="module")
def skipping(seed_and_label) -> Losing:
    return make_losing(*seed_and_label, skip=1, averaging=0.9)


@pytest.fixture(scope="module")
def program() -> Program:
    """Return the program of the tiny config."""
    return make_program_on(1, make_config())


def test_a_nan_loss_ends_the_run_and_is_located(tmp_path, losing):
    with pytest.raises(UserError) as error:
        train(losing.config, tmp_path, program=losing.program)
    message, order = str(error.value), epoch_order(losing.config.seed, 0, 100, 32)
    assert "step 2, in epoch 1, is not finite; the first that is not is the loss, alth" in message
    assert f"samples {', '.join(map(str, order[1][:5]))}, ..." in message
    assert "Nothing was saved yet" not in message and "config.skip=N" in message
    written = json.loads((tmp_path / "nonfinite.json").read_text())
    assert written["step"] == 2 and written["samples"] == order[1].tolist()
    assert list_saved_steps(tmp_path, "first") == [0] and list_saved_steps(tmp_path) == []


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_ends_a_run_with_finite_loss(tmp_path):
    def steep_loss(logits, labels):
        """Return the cross-entropy plus a zero whose gradient is infinite."""
        nothing = logits - jax.lax.stop_gradient(logits)
        return cross_entropy(logits, labels) + jax.numpy.sqrt(abs(nothing).sum())

    program = make_program_on(1, make_config(), loss=steep_loss)
    said = "step 1, in epoch 1, is not finite; the first that is not is the gradient of head, on"
    with pytest.raises(UserError, match=said):
        train(make_config(), tmp_path, program=program)
    assert list_saved_steps(tmp_path, "first") == [0] and list_saved_steps(tmp_path) == []


def test_a_skipped_step_is_counted_and_recorded_without_a_loss(tmp_path, skipping, capsys):
    assert train(skipping.config, tmp_path, program=skipping.program) is not None
    assert "step 2 was skipped: its loss or gradient is not finite (1 of at most 1" in (
        capsys.readouterr().out
    )
    records = load_records(tmp_path)
    assert [record["step"] for record in records] == [1, 2, 3]
    assert [record.get("loss", 0) is None for record in records] == [False, True, False]
    assert np.isfinite(records[-1]["train_loss"])


def test_an_epoch_with_only_skipped_steps_ends_the_run(program, tmp_path):
    state = program.first_state()
    lost = state.replace(params=jax.tree.map(lambda x: x * 1e38, state.params))
    lost = jax.device_put(lost, state.step.sharding)
    with pytest.raises(UserError, match="every step of epoch 1 was skipped: none has") as error:
        train(make_config(skip=5), tmp_path, program=program._replace(first_state=lambda: lost))
    assert "In the last one, the first that is not finite is the output of " in str(error.value)
    assert "Its images and the weights before it are finite. A lower" in str(error.value)


def test_a_run_does_not_start_from_weights_that_are_not_finite(program, tmp_path):
    state = program.first_state()
    for value in (np.nan, np.inf):
        params = state.params | {"head": {k: v * value for k, v in state.params["head"].items()}}
        lost = jax.device_put(state.replace(params=params), state.step.sharding)
        with pytest.raises(UserError) as error:
            train(
                make_config(),
                tmp_path / str(value),
                program=program._replace(first_state=lambda lost=lost: lost),
            )
        assert "the initial params/head/" in str(error.value)
        assert "images of the first batch are finite" in str(error.value)
        assert "check config.pretrained" in str(error.value)
        assert "learning_rate" not in str(error.value)


def make_spoiled_program(place: int) -> Program:
    """Return a program whose images of the step `place` have a NaN."""
    config = make_config(seed=0)
    dataset = data.load(**config.data)
    images = dataset.train.images.astype(np.float32)
    images[epoch_order(0, 0, 100, 32)[place, 0], 4, 4, 0] = np.nan
    return make_program_on(
        1,
        config,
        dataset=replace(dataset, train=ArraySplit(images, dataset.train.labels), mean=(), std=()),
    )


@pytest.mark.parametrize("place", [0, 1])
def test_advice_for_images_with_nan_is_to_look_at_the_images(tmp_path, place):
    with pytest.raises(UserError) as error:
        train(make_config(seed=0), tmp_path, program=make_spoiled_program(place))
    first = "the initial params/PIT_0/a has values that are not finite; so have the images of"
    later = "step 2, in epoch 1, is not finite; the first that is not is the images of the step"
    assert (later if place else first) in str(error.value)
    assert "Look for NaN and infinity in the data" in str(error.value)
    assert "learning_rate" not in str(error.value)


@pytest.mark.parametrize(
    "where, dtype, advice",
    [
        ("the output of head", "float16", "float16 overflows above 65,504"),
        ("the output of head", "float32", "A lower config.learning_rate"),
        ("the weights of stem before the step", "float16", "check config.pretrained"),
        ("the images of the step", None, "Look for NaN and infinity in the data"),
    ],
)
def test_advice_names_the_cause_that_was_found(where, dtype, advice):
    assert advice in advise(where, dtype)


def test_a_skipped_step_changes_only_the_counters(skipping):
    program = skipping.program
    state, step, fed = program.first_state(), program.compile_step(), next(program.batches(0))
    state, _ = step(state, fed)
    before = get_bits(state)
    state, metrics = step(state, fed)
    after = get_bits(state)
    assert {path for path in after if after[path] != before[path]} == {".step", ".skipped", ".bad"}
    assert (int(state.step), int(state.skipped), int(state.bad)) == (2, 1, 1)
    assert np.isnan(float(metrics["loss"]))
    state, _ = step(state, fed)
    assert get_bits(state.params) != {
        path: before[f".params{path}"] for path in get_bits(state.params)
    }


def test_after_too_many_skipped_steps_nothing_changes(losing):
    program = losing.program
    state, step, fed = program.first_state(), program.compile_step(), next(program.batches(0))
    for _ in range(2):
        state, _ = step(state, fed)
    kept = get_bits(state.params)
    state, _ = step(state, fed)
    assert get_bits(state.params) == kept and int(state.bad) == 1 and int(state.skipped) == 1


@pytest.mark.parametrize("layer", ["stem", "stage1_block1/conv2", "head"])
def test_the_first_layer_whose_output_is_not_finite_is_named(program, layer):
    state, step, fed = program.first_state(), program.compile_step(), next(program.batches(0))

    def spoil(path, leaf):
        here = jax.tree_util.keystr(path, simple=True, separator="/") == f"{layer}/kernel"
        return leaf.at[..., 0].set(np.inf) if here else leaf

    params = jax.tree.map_with_path(spoil, state.params)
    state, _ = step(jax.device_put(state.replace(params=params), state.step.sharding), fed)
    assert program.diagnose(state) == f"the weights of {layer} before the step"


def test_steps_are_recorded_in_order_and_can_be_traced(program, tmp_path, capsys):
    train(make_config(log_every=1, profile_steps=(2, 3)), tmp_path, program=program)
    lines = load_records(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines] == [1, 1, 1, 2, 2, 2]
    assert ["test_loss" in line for line in lines] == [False, False, True] * 2
    assert all(np.isfinite(line["loss"]) for line in lines if "test_loss" not in line)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "a step takes 0.0" in printed and "GFLOP" in printed and "MiB for state and" in printed


@pytest.mark.parametrize("steps", [(3,), (0, 2), (3, 2), (1, 2, 3)])
def test_invalid_profile_steps_are_refused(steps):
    with pytest.raises(UserError, match="must be the first and the last step, counted from 1, got"):
        check_parts(make_config(profile_steps=steps))


class Cell(nn.Module):
    @nn.compact
    def __call__(self, v, x):
        v = 0.5 * v + jnp.log(nn.Dense(4)(x) - 100)
        return v, v


class Scanned(nn.Module):
    """A user's network whose layers run inside a loop."""

    @nn.compact
    def __call__(self, x, train=False):
        x = jnp.repeat(x.reshape(len(x), 1, -1), 3, axis=1)
        scan = nn.scan(
            Cell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1
        )
        return nn.Dense(3)(scan()(jnp.zeros((len(x), 4)), x)[1])


class Repeated(nn.Module):
    """A user's network that computes a layer again, by a `remat` that is not ours."""

    remat: bool = True

    @nn.compact
    def __call__(self, x, train=False):
        y = nn.remat(nn.Dense)(4)(x.reshape(len(x), 1, -1))
        return nn.Dense(3)(jnp.log(y - 1000))


class Rooted(nn.Module):
    """A user's network with finite outputs and a parameter whose gradient is infinite."""

    @nn.compact
    def __call__(self, x, train=False):
        w = self.param("w", nn.initializers.zeros, (3,))
        return nn.Dense(3)(x.reshape(len(x), 1, -1)) + jnp.sqrt(0 * w)


@pytest.mark.parametrize(
    "network, says",
    [
        (Scanned(), "the output of the network"),
        (Repeated(), "the output of the network"),
        (Rooted(), "the gradient of the network"),
    ],
)
def test_hidden_layers_of_a_user_are_reported_as_the_network(network, says):
    images, labels = jnp.ones((4, 2, 2, 1)), jnp.zeros(4, int)
    keys = jax.random.split(jax.random.key(0))
    state, _ = create_state(network, optax.sgd(0.1), *keys, images)
    state = state.replace(bad=jnp.zeros((), int))
    batch = {"image": images, "label": labels}
    diagnose = make_diagnose(network, cross_entropy, lambda key, b: (b["image"], b["label"]))
    assert diagnose(state, batch) == says
