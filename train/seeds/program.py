"""The functions of runs that differ in their seed, compiled as one program for all of them.

Each seed has its own device, and `shard_map` gives each device the whole arrays of its seed. There
are no collectives, so each device runs the program of a single run, with the same bits.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from pit_jax.tuning import compiler_options

from .. import memory
from ..data import Dataset, Split
from ..data.feeding import resident
from ..data.feeding.order import SequentialOrder, epoch_order
from ..errors import UserError
from ..program.evaluation import Evaluation, compute_means, make_whole_sums
from ..program.feed import ResidentBatch, repeat_batches
from ..program.program import (
    CompiledStep,
    Program,
    compile_checked,
    make_program,
)
from ..program.pure import make_pure_program
from ..program.sharding import abstract_arrays
from ..program.state import Metrics, TrainState, unwrap_key, wrap_key
from ..program.step import Batch, Loss

# Arguments and results with a leading axis of seeds, and those that all seeds share.
OF_SEED, SHARED = PartitionSpec("seed"), PartitionSpec()
BATCH = ResidentBatch(samples=SHARED, order=OF_SEED)
TestStep = Callable[[TrainState, Batch], Metrics]
Evaluate = Callable[[TrainState], list[Evaluation]]


class SeedsProgram(NamedTuple):
    """The functions of all seeds at once.

    States, metrics and batches have a leading axis of seeds, one seed on each device. `one` is the
    program of the first seed alone, on the first device. `evaluate` measures the validation images
    if the data have some, otherwise the test images; `test` measures the test images.
    """

    one: Program
    first_states: Callable[[], TrainState]
    compile_step: Callable[[], CompiledStep]
    batches: Callable[[int], Generator[Any, None, None]]
    evaluate: Evaluate
    test: Evaluate
    join: Callable[[Sequence[TrainState]], TrainState]


def make_seeds_program(
    config: ConfigDict,
    seeds: Sequence[int],
    dataset: Dataset,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
    loss: Loss | None = None,
) -> SeedsProgram:
    """Return the functions of runs that differ in their seed, without compiling anything.

    Raises UserError as `make_program` does, for data on disk, and for more seeds than devices.
    """
    trained = dataset.train.arrays
    if trained is None:
        raise UserError(f"train.seeds needs data in memory; {dataset.name} is read from disk.")
    if len(seeds) > jax.device_count():
        raise UserError(f"{len(seeds)} seeds need as many devices; there are {jax.device_count()}.")
    devices = jax.devices()[: len(seeds)]
    one = make_program(config, dataset, given=given, devices=devices[:1], loss=loss)
    pure, steps = make_pure_program(config, dataset, loss), one.steps_per_epoch
    mesh = jax.make_mesh((len(seeds),), ("seed",), axis_types=(AxisType.Auto,), devices=devices)
    everywhere, divided = NamedSharding(mesh, SHARED), NamedSharding(mesh, OF_SEED)
    # Before anything is placed on the devices.
    memory.check_state(one.abstract_state, one.abstract_state.params, mesh)
    samples = jax.device_put(trained, everywhere)

    def epoch_batch(epoch: int) -> ResidentBatch:
        orders = make_epoch_orders(config, seeds, epoch, len(dataset.train))
        return ResidentBatch(samples, jax.device_put(orders, divided))

    def begin(batch: ResidentBatch, key: jax.Array, given: Any) -> TrainState:
        return pure.begin(key, resident.take(batch.samples, batch.order[0]), given)

    def train(state: TrainState, batch: ResidentBatch) -> Any:
        return pure.train(state, resident.take(batch.samples, batch.order[state.step % steps]))

    first_states = jax.jit(
        _map_seeds(mesh, begin, BATCH, OF_SEED, SHARED), compiler_options=compiler_options("once")
    )
    mapped = _map_seeds(mesh, train, OF_SEED, BATCH)
    step = jax.jit(mapped, donate_argnums=0, compiler_options=compiler_options("train"))
    keys = jax.jit(jax.vmap(jax.random.key), out_shardings=divided)(np.asarray(seeds))
    start = jax.device_put(dict(given), everywhere)

    def compile_step() -> CompiledStep:
        states = jax.eval_shape(first_states, epoch_batch(0), keys, start)
        abstract = abstract_arrays(states, divided)
        return CompiledStep(compile_checked(step, mesh, abstract, epoch_batch(0)))

    evaluate, test = _make_evaluations(pure.test, dataset, config.batch_size, mesh)
    return SeedsProgram(
        one=one,
        first_states=lambda: first_states(epoch_batch(0), keys, start),
        compile_step=compile_step,
        batches=lambda first: repeat_batches(epoch_batch, first, steps, config.epochs),
        evaluate=evaluate,
        test=test,
        join=lambda states: join_states(states, divided),
    )


def make_epoch_orders(
    config: ConfigDict, seeds: Sequence[int], epoch: int, size: int
) -> np.ndarray:
    """Return the indices of the samples in each step of an epoch, `[seeds, steps, batch]`."""
    repeats = config.augment.get("repeats", 1)
    return np.stack([epoch_order(seed, epoch, size, config.batch_size, repeats) for seed in seeds])


def join_states(states: Sequence[TrainState], sharding: NamedSharding) -> TrainState:
    """Return the states of all seeds stacked into one, with `sharding`."""
    # NumPy can stack the raw data of keys, but not typed keys.
    stored = [jax.device_get(unwrap_key(state)) for state in states]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *stored)
    return wrap_key(jax.device_put(stacked, sharding))


def split_states(states: TrainState) -> list[TrainState]:
    """Return the state of each seed, on the host."""
    stored = jax.device_get(unwrap_key(states))
    return [
        wrap_key(jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), stored))
        for i in range(len(stored.step))
    ]


def split_metrics(metrics: Metrics) -> list[Metrics]:
    """Return the metrics of each seed, still on its device."""
    # A shard is already the metric of one seed; an index would run another program.
    shards = {name: value.addressable_shards for name, value in metrics.items()}
    return [
        {name: shard.data for name, shard in zip(shards, of_seed, strict=True)}
        for of_seed in zip(*shards.values(), strict=True)
    ]


def _make_evaluations(
    test_step: TestStep, dataset: Dataset, batch_size: int, mesh: Mesh
) -> tuple[Evaluate, Evaluate]:
    """Return the functions that evaluate all seeds: after an epoch, and on the test images."""
    if dataset.validation is None:
        evaluate = _make_evaluate(test_step, dataset.test, batch_size, mesh)
        return evaluate, evaluate
    # Built on the first call, so that the test images take no device memory during training.
    test = cache(lambda: _make_evaluate(test_step, dataset.test, batch_size, mesh))
    evaluate = _make_evaluate(test_step, dataset.validation, batch_size, mesh)
    return evaluate, lambda states: test()(states)


def _make_evaluate(test_step: TestStep, split: Split, batch_size: int, mesh: Mesh) -> Evaluate:
    """Return the function that maps the states of all seeds to their means over the samples."""
    size, everywhere = len(split), NamedSharding(mesh, SHARED)
    order = SequentialOrder(size, batch_size)
    samples, batches = jax.device_put((split.arrays, (order.index, order.weight)), everywhere)
    sums = jax.jit(
        _map_seeds(mesh, make_whole_sums(test_step, resident.take), OF_SEED, SHARED, SHARED),
        compiler_options=compiler_options("evaluate"),
    )

    def evaluate(states: TrainState) -> list[Evaluation]:
        totals = jax.device_get(sums(states, samples, batches))
        return [
            compute_means({name: total[i] for name, total in totals.items()}, size)
            for i in range(mesh.size)
        ]

    return evaluate


def _map_seeds(mesh: Mesh, function: Callable[..., Any], *specs: Any) -> Callable[..., Any]:
    """Map `function`, written for one seed, over all seeds, each on its own device.

    `specs` has OF_SEED for each argument, or part of one, with a leading axis of seeds. All results
    get this axis.
    """

    def on_device(*args: Any) -> Any:
        own = jax.tree.map(
            lambda spec, part: jax.tree.map(lambda x: x[0], part) if spec == OF_SEED else part,
            specs,
            args,
        )
        return jax.tree.map(lambda x: x[None], function(*own))

    # The check follows values through collectives; there are none here.
    return jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=OF_SEED, check_vma=False)
