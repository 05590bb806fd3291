"""Four devices train as one device does, each on its own part of the batch."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from tests.helpers import jit_once
from tests.train.helpers import make_program_on, make_test_mesh
from tests.train.hlo import find_convolutions, find_convolutions_in_loops, find_loops
from tests.train.tiny import STEPS_PER_EPOCH, get_config
from train import data
from train.errors import UserError
from train.program import build
from train.program.inputs import make_normalize
from train.program.pure import make_pure_program
from train.program.sharding import make_batch_sharding, make_data_mesh, make_replicated
from train.program.state import TrainState

STEPS = STEPS_PER_EPOCH


def make_config(
    stages: tuple[int, ...] = (1,),
    num_steps: int = 2,
    loss: str = "cross_entropy",
    **neuron: Any,
) -> ConfigDict:
    """Return the tiny config with changes; without any, other files compile its program too."""
    config = get_config()
    config.model.stages = stages
    config.num_steps = num_steps
    config.neuron.update(neuron)
    config.loss.name = loss
    return config


class Trained(NamedTuple):
    """Training steps: the losses, the learned arrays before and after each, the compiled step.

    `deleted` has for each array of a state whether the next step took its memory.
    """

    losses: list[float]
    learned: list[Any]
    text: str
    deleted: list[bool]


def copy_learned(state: TrainState) -> Any:
    return jax.device_get((state.params, state.batch_stats, state.opt_state))


def train_steps(devices: int, config: ConfigDict, start: TrainState | None = None) -> Trained:
    program = make_program_on(devices, config)
    if start is None:
        state = program.first_state()
    else:
        state = jax.device_put(start, make_replicated(make_test_mesh(devices)))
    step = program.compile_step()
    losses, after, order = [], [copy_learned(state)], next(program.batches(0))
    for _ in range(STEPS):
        state, metrics = step(state, order)
        losses.append(float(metrics["loss"]))
        after.append(copy_learned(state))
    # An array that the host has read shares memory with it, which cannot be donated.
    unseen, _ = step(state, order)
    jax.block_until_ready(step(unseen, order))
    deleted = [leaf.is_deleted() for leaf in jax.tree.leaves(unseen)]
    return Trained(losses, after, step.as_text(), deleted)


@pytest.fixture(scope="module")
def one() -> Trained:
    return train_steps(1, make_config())


@pytest.fixture(scope="module")
def four() -> Trained:
    return train_steps(4, make_config(), start=make_program_on(1, make_config()).first_state())


@pytest.fixture(scope="module")
def text_with_loops() -> str:
    """Return the compiled text with TET, and neurons that loop over four steps."""
    program = make_program_on(4, make_config(num_steps=4, loss="tet", unroll=1))
    return program.compile_step().as_text()


def test_in_float64_four_devices_learn_the_same_as_one(x64):
    # Compiled with little optimization, unlike the programs in float32, and with a strided block.
    config = make_config(stages=(1, 1))
    dataset = data.load(**config.data)
    pure = make_pure_program(config, dataset)
    batch = {"image": dataset.train.images[:32], "label": dataset.train.labels[:32]}
    start, _ = jit_once(pure.begin)(jax.random.key(0), batch, {})
    losses, learned = [], []
    for count in (1, 4):
        mesh = make_test_mesh(count)
        state = jax.device_put(start, make_replicated(mesh))
        placed = jax.device_put(batch, make_batch_sharding(mesh))
        step = jit_once(pure.train, out_shardings=make_replicated(mesh))
        for _ in range(STEPS):
            state, metrics = step(state, placed)
            losses.append(float(metrics["loss"]))
            learned.append(copy_learned(state))
    assert {leaf.dtype for leaf in jax.tree.leaves(learned[-1][:2])} == {np.dtype("f8")}
    np.testing.assert_allclose(losses[:STEPS], losses[STEPS:], rtol=0, atol=1e-9)
    assert len(set(losses[:STEPS])) == STEPS
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-9)
    jax.tree.map(close, learned[:STEPS], learned[STEPS:])


def test_in_float32_the_first_step_is_equal_on_one_and_four_devices(one, four):
    assert one.losses[0] == pytest.approx(four.losses[0], abs=1e-6)
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-6)
    jax.tree.map(close, one.learned[1], four.learned[1])
    moved = jax.tree.map(lambda x, y: abs(x - y).max(), one.learned[0][0], one.learned[1][0])
    assert min(jax.tree.leaves(moved["head"])) > 1e-4  # Two idle steps would be equal too.


def test_in_float32_few_spikes_flip_within_some_steps_on_other_devices(one, four, capsys):
    config = make_config()
    dataset = data.load(**config.data)
    model = build.make_network(config, dataset)
    images = make_normalize(dataset)(dataset.test.images)

    @jax.jit
    def counts(params: Any, stats: Any) -> list[jax.Array]:
        variables = {"params": params, "batch_stats": stats}
        _, probes = model.apply(variables, images, mutable=["intermediates"])
        leaves = jax.tree.leaves_with_path(probes["intermediates"])
        return [leaf.ravel() for path, leaf in leaves if path[-2].key == "count"]

    by_one, by_four = (np.concatenate(counts(*run.learned[-1][:2])) for run in (one, four))
    share = (by_one != by_four).mean()
    with capsys.disabled():
        print(f"\nspikes flipped after {STEPS} float32 steps, 1 and 4 devices: {share:.2e}")
    assert len(by_one) > 40 * 2 * 4 * 64 and by_one.mean() > 0.01
    assert 0 <= share < 0.05


def test_no_device_gathers_the_batch(four):
    assert "all-reduce" in four.text
    assert "all-gather" not in four.text


@pytest.mark.slow
def test_no_device_gathers_the_batch_for_tet(text_with_loops):
    assert "all-reduce" in text_with_loops
    assert "all-gather" not in text_with_loops


def test_every_device_selects_only_its_own_images(four):
    assert "u8[8,8,8,1]" in four.text  # A quarter of the batch.
    assert "u8[32,8,8,1]" not in four.text


def test_the_check_for_gathers_finds_one():
    mesh = make_test_mesh(4)
    divided = jax.ShapeDtypeStruct(
        (8, 3), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data"))
    )
    whole = jax.jit(lambda x: x + 1, out_shardings=make_replicated(mesh))
    assert "all-gather" in whole.lower(divided).compile().as_text()


def test_only_neurons_loop_and_no_convolution_is_inside(text_with_loops):
    assert len(find_loops(text_with_loops)) >= 3  # At least one for each neuron layer.
    assert len(find_convolutions(text_with_loops)) >= 8
    assert find_convolutions_in_loops(text_with_loops) == []


@pytest.mark.parametrize("differentiate", [False, True])
def test_the_check_for_convolutions_in_loops_finds_one(differentiate):
    def scanned(kernel: jax.Array, x: jax.Array) -> jax.Array:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jnp.tanh(jax.lax.conv(x, kernel, (1, 1), "SAME")), None

        return jax.lax.scan(step, x, length=5)[0].sum()

    function = jax.grad(scanned) if differentiate else scanned
    text = (
        jax.jit(function).lower(jnp.ones((4, 4, 3, 3)), jnp.ones((2, 4, 8, 8))).compile().as_text()
    )
    assert find_convolutions_in_loops(text)


def test_a_step_reuses_the_memory_of_the_donated_state(four):
    assert all(four.deleted) and len(four.deleted) > 40
    (aliases,) = [line for line in four.text.splitlines() if "input_output_alias=" in line]
    assert aliases.count("-alias)") >= len(four.deleted)


@pytest.mark.parametrize("batch_size, nearest", [(30, "28, 32"), (33, "32, 36"), (5, "4, 8")])
def test_the_error_for_an_indivisible_batch_suggests_the_nearest(batch_size, nearest):
    with pytest.raises(UserError) as error:
        make_data_mesh(batch_size)
    assert f"batch_size {batch_size} does not divide among 4 devices" in str(error.value)
    assert str(error.value).endswith(f"the nearest that do: {nearest}.")


def test_the_error_for_a_batch_smaller_than_the_devices_suggests_the_nearest():
    with pytest.raises(UserError, match=r"the nearest that do(es)?: 4\.$"):
        make_data_mesh(3)


def test_a_batch_that_divides_is_spread_over_all_devices():
    mesh = make_data_mesh(32)
    assert mesh.devices.tolist() == jax.devices() and mesh.axis_names == ("data",)
