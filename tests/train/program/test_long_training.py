"""Training of large networks: accumulated gradients, averaged weights, frozen layers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.layers.norm import no_norm
from pit_jax.models import create
from pit_jax.neurons import LIF
from tests.helpers import jit_once
from tests.train.helpers import get_bits, make_program_on
from tests.train.tiny import get_config
from train.errors import UserError
from train.program import build
from train.program.losses import cross_entropy
from train.program.sharding import make_data_mesh
from train.program.state import create_state
from train.program.step import make_train_step

RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.integers(0, 256, (8, 8, 8, 1), dtype=np.uint8),
    "label": np.arange(8, dtype=np.int32) % 3,
}


def take_two_steps(accumulate: int, norm=no_norm):
    """Return the state after two training steps on one batch, and the metrics of the second."""
    model = create(
        "resnet8", num_classes=3, neuron=LIF, num_steps=2, width=4, stages=(1,), norm=norm
    )
    optimizer = optax.sgd(0.1, momentum=0.9)

    def prepare(key, batch):
        return batch["image"] / 255.0, batch["label"]

    step = jit_once(
        make_train_step(model, optimizer, cross_entropy, prepare, accumulate=accumulate)
    )
    create_it = jit_once(partial(create_state, model, optimizer))
    state, _ = create_it(jax.random.key(0), jax.random.key(1), prepare(None, BATCH)[0])
    # Triple the kernels: without a norm the neurons would be silent.
    state = state.replace(params=jax.tree.map(lambda leaf: 3 * leaf, state.params))
    for _ in range(2):
        state, metrics = step(state, BATCH)
    return state, metrics


@pytest.fixture(scope="module")
def whole():
    """Return the state and the metrics of two steps on the whole batch, in float64."""
    with jax.enable_x64(True):
        return take_two_steps(1)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_without_norms_equals_the_step_of_the_whole_batch(accumulate, whole, x64):
    (whole, one), (parts, other) = whole, take_two_steps(accumulate)
    for name in ("loss", "accuracy"):
        assert float(other[name]) == pytest.approx(float(one[name]), abs=1e-9)
    assert float(one["loss"]) != pytest.approx(np.log(3), abs=1e-3)
    close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9)
    jax.tree.map(close, whole.params, parts.params)
    assert jax.tree.map(float, whole.totals) == pytest.approx(jax.tree.map(float, parts.totals))


def make_config(**changed):
    config = get_config()
    config.update(changed)
    return config


@pytest.mark.slow
def test_accumulation_gathers_nothing():
    assert (
        "all-gather" not in make_program_on(4, make_config(accumulate=2)).compile_step().as_text()
    )


def test_the_error_for_an_indivisible_batch_suggests_the_nearest():
    with pytest.raises(UserError, match="32 does not divide among 4 devices in 3 parts.*24, 36"):
        make_data_mesh(32, 3)


def test_averaged_weights_follow_the_weights_and_are_evaluated():
    program = make_program_on(1, make_config(averaging=0.75))
    plain = make_program_on(1, make_config())
    state, step, fed = program.first_state(), program.compile_step(), next(program.batches(0))
    want = jax.device_get({"params": state.params, "batch_stats": state.batch_stats})
    assert get_bits(state.averaged) == get_bits(want)
    for _ in range(3):
        state, _ = step(state, fed)
        now = jax.device_get({"params": state.params, "batch_stats": state.batch_stats})
        want = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, want, now)
    got = jax.device_get(state.averaged)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    # A run without averages that has the averaged weights evaluates to the same.
    other = plain.first_state().replace(
        params=state.averaged["params"], batch_stats=state.averaged["batch_stats"]
    )
    assert program.evaluate(state) == plain.evaluate(other)
    raw = other.replace(params=state.params, batch_stats=state.batch_stats)
    assert program.evaluate(state).loss != plain.evaluate(raw).loss


def test_frozen_layers_keep_their_bits_and_the_others_learn():
    config = make_config(freeze=("stem", "stage1_block1/conv1"))
    shapes = make_program_on(1, config).abstract_state.params
    optimizer = build.make_optimizer(config, steps_per_epoch=3)
    params = jax.tree.map(lambda x: jnp.ones(x.shape), shapes)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    frozen = {path for path, update in flatten_dict(updates, sep="/").items() if not update.any()}
    assert frozen >= {"stem/kernel", "stage1_block1/conv1/kernel"}
    assert frozen.isdisjoint({"stage1_block1/conv2/kernel", "head/kernel", "head/bias"})


def test_the_error_for_an_unknown_frozen_layer_lists_the_layers(compiled):
    layers = "PIT_0, head, norm, stage1_block1, stem"
    with pytest.raises(UserError, match=f"no layer begins with 'stim'; the layers are {layers}"):
        make_program_on(1, make_config(freeze=("stim",)))
    assert compiled == []


def test_invalid_accumulate_and_averaging_are_errors():
    for changed, message in (
        ({"accumulate": 0}, "config.accumulate must be at least 1, got 0"),
        ({"averaging": 1.0}, "config.averaging must be at most 0.99999, got 1"),
    ):
        with pytest.raises(UserError, match=message):
            make_program_on(1, make_config(**changed))
