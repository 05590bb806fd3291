"""The functions of runs that differ in their seed, compiled as one program for all of them."""

from collections.abc import Callable, Generator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from ..data import Dataset, Split
from ..data.feeding import resident
from ..errors import UserError
from ..program.evaluation import Evaluation, means, whole_sums
from ..program.program import CompiledStep, Program, make_program, quick
from ..program.state import TrainState, keyed, unkeyed
from ..program.step import Batch

# Arguments and results with an axis of the seeds in front, and those that all seeds share.
OF_SEED, SHARED = PartitionSpec("seed"), PartitionSpec()


class SeedsProgram(NamedTuple):
    """States, metrics and what is fed have an axis of the seeds in front, one on each device.

    `one` is the program of the first seed alone, on the first device.
    """

    one: Program
    first_states: Callable[[], TrainState]
    compile_step: Callable[[], CompiledStep]
    batches: Callable[[int], Generator[Any, None, None]]
    evaluate: Callable[[TrainState], list[Evaluation]]
    join: Callable[[Sequence[TrainState]], TrainState]


def make_seeds_program(
    config: ConfigDict, seeds: Sequence[int], dataset: Dataset, fresh: bool = True
) -> SeedsProgram:
    """The functions of runs with `config` that differ in their seed; nothing is compiled yet.

    No seed waits for another within a step, so that each gets the bits that it gets alone. Raises
    UserError for what `make_program` refuses, data on disk, and more seeds than devices.
    """
    trained, tested = dataset.train, dataset.test
    if not (isinstance(trained, Split) and isinstance(tested, Split)):
        raise UserError(f"{dataset.name} is read from disk; seeds at once need data in memory.")
    if len(seeds) > jax.device_count():
        raise UserError(f"{len(seeds)} seeds need as many devices; there are {jax.device_count()}.")
    devices = jax.devices()[: len(seeds)]
    one = make_program(config, dataset, fresh=fresh, among=devices[:1])
    pure, steps = one.pure, one.steps_per_epoch
    mesh = jax.make_mesh((len(seeds),), ("seed",), axis_types=(AxisType.Auto,), devices=devices)
    everywhere, divided = NamedSharding(mesh, SHARED), NamedSharding(mesh, OF_SEED)
    repeats = config.augment.get("repeats", 1)
    columns = jax.device_put(resident.arrays(trained), everywhere)
    test_columns = jax.device_put(resident.arrays(tested), everywhere)
    whole = jax.device_put(resident.whole_order(len(tested), config.batch_size), everywhere)

    def order(epoch: int) -> jax.Array:
        of_seeds = [
            resident.epoch_order(seed, epoch, len(trained), config.batch_size, repeats)
            for seed in seeds
        ]
        return jax.device_put(np.stack(of_seeds), divided)

    def batches(first: int) -> Generator[jax.Array, None, None]:
        begun, done = divmod(first, steps)
        for epoch in range(begun, config.epochs):
            yield from repeat(order(epoch), steps - done)
            done = 0

    def begin(columns: Batch, order: jax.Array, key: jax.Array, given: Any) -> TrainState:
        return pure.begin(key, resident.take(columns, order[0]), given)

    def train(state: TrainState, columns: Batch, order: jax.Array) -> Any:
        return pure.train(state, resident.take(columns, order[state.step % steps]))

    first_states = jax.jit(
        _each(mesh, begin, SHARED, OF_SEED, OF_SEED, SHARED), compiler_options=quick()
    )
    step = jax.jit(_each(mesh, train, OF_SEED, SHARED, OF_SEED), donate_argnums=0)
    sums = jax.jit(_each(mesh, whole_sums(pure.test, resident.take), OF_SEED, SHARED, SHARED))
    keys = jax.jit(jax.vmap(jax.random.key), out_shardings=divided)(np.asarray(seeds))
    given = jax.device_put(pure.given, everywhere)

    def compile_step() -> CompiledStep:
        state, fed = jax.eval_shape(first_states, columns, order(0), keys, given), order(0)
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=divided), state
        )
        return CompiledStep(step.lower(like, columns, fed).compile(), columns)

    def evaluate(states: TrainState) -> list[Evaluation]:
        totals = jax.device_get(sums(states, test_columns, whole))
        return [
            means({name: total[i] for name, total in totals.items()}, len(tested))
            for i in range(len(seeds))
        ]

    def join(states: Sequence[TrainState]) -> TrainState:
        stored = [jax.device_get(unkeyed(state)) for state in states]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *stored)
        return keyed(jax.device_put(stacked, divided))

    return SeedsProgram(
        one=one,
        first_states=lambda: first_states(columns, order(0), keys, given),
        compile_step=compile_step,
        batches=batches,
        evaluate=evaluate,
        join=join,
    )


def apart(states: TrainState) -> list[TrainState]:
    """The state of each seed, on the host."""
    stored = jax.device_get(unkeyed(states))
    return [
        keyed(jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), stored))
        for i in range(len(stored.step))
    ]


def _each(mesh: Mesh, function: Callable[..., Any], *specs: PartitionSpec) -> Callable[..., Any]:
    """`function` of one seed as one of all seeds, each on its own device.

    `specs` tell which of its arguments have an axis of the seeds; what it gives has one.
    """

    def on_device(*args: Any) -> Any:
        own = [
            jax.tree.map(lambda x: x[0], arg) if spec == OF_SEED else arg
            for arg, spec in zip(args, specs, strict=True)
        ]
        return jax.tree.map(lambda x: x[None], function(*own))

    # Nothing passes between the devices, which is what the check would be for.
    return jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=OF_SEED, check_vma=False)
