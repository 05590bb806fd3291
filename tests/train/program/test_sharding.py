"""Four devices train as one does, each on its own part of the batch."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from tests.train.helpers import make_program_on, make_test_mesh
from tests.train.hlo import find_convolutions, find_convolutions_in_loops, find_loops
from tests.train.tiny import get_config
from train import data
from train.errors import UserError
from train.program import build
from train.program.inputs import make_normalize
from train.program.sharding import make_data_mesh, make_replicated
from train.program.state import TrainState

STEPS = 5


def eight_wide(num_steps: int = 2, loss: str = "cross_entropy", **neuron: Any) -> ConfigDict:
    """ResNet8, 8 wide, for at least five steps of 32 images an epoch."""
    config = get_config()
    config.data.num_train = 32 * STEPS
    config.model = {"name": "resnet8", "width": 8}
    config.num_steps = num_steps
    config.neuron.update(neuron)
    config.loss = {"name": loss}
    return config


class Trained(NamedTuple):
    """Five steps: the losses, what was learned before and after each, the compiled step.

    `deleted` tells for each part of a state whether its memory went to the next step.
    """

    losses: list[float]
    learned: list[Any]
    text: str
    deleted: list[bool]


def learned(state: TrainState) -> Any:
    return jax.device_get((state.params, state.batch_stats, state.opt_state))


def train(devices: int, config: ConfigDict, start: TrainState | None = None) -> Trained:
    program = make_program_on(devices, config)
    if start is None:
        state = program.first_state()
    else:
        state = jax.device_put(start, make_replicated(make_test_mesh(devices)))
    step = program.compile_step()
    losses, after, order = [], [learned(state)], next(program.batches(0))
    for _ in range(STEPS):
        state, metrics = step(state, order)
        losses.append(float(metrics["loss"]))
        after.append(learned(state))
    unseen, _ = step(state, order)  # What the host has looked at shares its memory with the host.
    jax.block_until_ready(step(unseen, order))
    deleted = [leaf.is_deleted() for leaf in jax.tree.leaves(unseen)]
    return Trained(losses, after, step.as_text(), deleted)


@pytest.fixture(scope="module")
def one() -> Trained:
    return train(1, eight_wide())


@pytest.fixture(scope="module")
def four() -> Trained:
    return train(4, eight_wide(), start=make_program_on(1, eight_wide()).first_state())


@pytest.fixture(scope="module")
def text_with_loops() -> str:
    """TET, and neurons that loop over four steps without unrolling."""
    program = make_program_on(4, eight_wide(num_steps=4, loss="tet", unroll=1))
    return program.compile_step().as_text()


def test_in_float64_four_devices_learn_what_one_does(x64):
    by_one, by_four = (train(devices, eight_wide()) for devices in (1, 4))
    assert {leaf.dtype for leaf in jax.tree.leaves(by_one.learned[-1][:2])} == {np.dtype("f8")}
    np.testing.assert_allclose(by_one.losses, by_four.losses, rtol=0, atol=1e-9)
    assert len(set(by_one.losses)) == STEPS
    for after_one, after_four in zip(by_one.learned, by_four.learned, strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-9), after_one, after_four)


def test_in_float32_the_first_step_of_four_devices_is_that_of_one(one, four):
    assert one.losses[0] == pytest.approx(four.losses[0], abs=1e-6)
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-6)
    jax.tree.map(close, one.learned[1], four.learned[1])
    moved = jax.tree.map(lambda x, y: abs(x - y).max(), one.learned[0][0], one.learned[1][0])
    assert min(jax.tree.leaves(moved["head"])) > 1e-4  # A step that did nothing would be equal.


def test_in_float32_few_spikes_flip_in_five_steps_on_other_devices(one, four, capsys):
    config = eight_wide()
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
    assert len(by_one) > 40 * 2 * 8 * 64 and by_one.mean() > 0.01
    assert 0 <= share < 0.05


def test_no_device_gathers_the_batch(four):
    assert "all-reduce" in four.text
    assert "all-gather" not in four.text


def test_no_device_gathers_the_batch_for_tet(text_with_loops):
    assert "all-reduce" in text_with_loops
    assert "all-gather" not in text_with_loops


def test_every_device_takes_only_its_own_images_from_the_data(four):
    assert "u8[8,8,8,1]" in four.text  # A quarter of the batch.
    assert "u8[32,8,8,1]" not in four.text


def test_a_gathered_batch_would_be_seen():
    mesh = make_test_mesh(4)
    divided = jax.ShapeDtypeStruct(
        (8, 3), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data"))
    )
    whole = jax.jit(lambda x: x + 1, out_shardings=make_replicated(mesh))
    assert "all-gather" in whole.lower(divided).compile().as_text()


def test_only_neurons_loop_and_no_convolution_is_inside(text_with_loops):
    assert len(find_loops(text_with_loops)) >= 7  # At least one for each neuron layer.
    assert len(find_convolutions(text_with_loops)) >= 20
    assert find_convolutions_in_loops(text_with_loops) == []


@pytest.mark.parametrize("differentiate", [False, True])
def test_a_convolution_in_a_loop_would_be_found(differentiate):
    def scanned(kernel: jax.Array, x: jax.Array) -> jax.Array:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jnp.tanh(jax.lax.conv(x, kernel, (1, 1), "SAME")), None

        return jax.lax.scan(step, x, length=5)[0].sum()

    function = jax.grad(scanned) if differentiate else scanned
    text = (
        jax.jit(function).lower(jnp.ones((4, 4, 3, 3)), jnp.ones((2, 4, 8, 8))).compile().as_text()
    )
    assert find_convolutions_in_loops(text)


def test_a_step_reuses_the_memory_of_the_state_before_it(four):
    assert all(four.deleted) and len(four.deleted) > 50
    (aliases,) = [line for line in four.text.splitlines() if "input_output_alias=" in line]
    assert aliases.count("-alias)") >= len(four.deleted)


@pytest.mark.parametrize("batch_size, nearest", [(30, "28, 32"), (33, "32, 36"), (5, "4, 8")])
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do(batch_size, nearest):
    with pytest.raises(UserError) as error:
        make_data_mesh(batch_size)
    assert f"batch_size {batch_size} does not divide among 4 devices" in str(error.value)
    assert str(error.value).endswith(f"the nearest that do: {nearest}.")


def test_a_batch_smaller_than_the_devices_is_refused_with_the_one_that_is_nearest():
    with pytest.raises(UserError, match=r"the nearest that do(es)?: 4\.$"):
        make_data_mesh(3)


def test_a_batch_that_divides_is_spread_over_all_devices():
    mesh = make_data_mesh(32)
    assert mesh.devices.tolist() == jax.devices() and mesh.axis_names == ("data",)
