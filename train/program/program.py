"""The functions that a run calls, jitted and placed on the devices."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from pit_jax.neurons.probe import neuron_layers

from ..data import Dataset
from ..data.feeding.resident import epoch_order
from ..errors import UserError
from ..run import pretrained
from . import build, sharding
from .diagnose import make_diagnose
from .evaluation import Evaluation, make_evaluate
from .feed import make_feed
from .inputs import normalization, preparation
from .probe import Look, make_probe
from .state import Metrics, TrainState, create_state
from .step import Batch, make_eval_step, make_train_step, step_keys


class CompiledStep:
    """A step of the state, whose memory it takes, and of what `Program.batches` gives."""

    def __init__(self, compiled: jax.stages.Compiled, columns: Batch) -> None:
        self._compiled, self._columns = compiled, columns

    def __call__(self, state: TrainState, fed: Any) -> tuple[TrainState, Metrics]:
        stepped: tuple[TrainState, Metrics] = self._compiled(state, self._columns, fed)
        return stepped

    def __str__(self) -> str:
        """What it costs by the compiler's own count, on each device."""
        cost, memory = self._compiled.cost_analysis(), self._compiled.memory_analysis()
        told = [f"{cost['flops'] / 1e9:,.2f} GFLOP"] if cost and "flops" in cost else []
        if memory is not None:
            told += [
                f"{memory.argument_size_in_bytes / 2**20:,.0f} MiB for state and data",
                f"{memory.temp_size_in_bytes / 2**20:,.0f} MiB beside",
            ]
        return f"a step takes {', '.join(told)} on each device" if told else "compiled"


class Pure(NamedTuple):
    """What a run computes, wherever it is placed: the state of a first batch, steps, tests.

    `given` are the variables that it starts from, on the host.
    """

    begin: Callable[[Key[Array, ""], Batch, Any], TrainState]
    train: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
    test: Callable[[TrainState, Batch], Metrics]
    given: Any


class Program(NamedTuple):
    """One run's functions; every state and metric they take and give is whole on each device.

    `batches(first)` gives what the compiled step takes beside the state, from step `first` on, and
    `samples(step)` which training samples step `step`, from 0 on, sees. `diagnose(state)` says in
    words where the step `state.bad` is not finite. `probe(state)` looks at its neuron layers.
    """

    steps_per_epoch: int
    abstract_state: TrainState
    first_state: Callable[[], TrainState]
    compile_step: Callable[[], CompiledStep]
    batches: Callable[[int], Generator[Any, None, None]]
    evaluate: Callable[[TrainState], Evaluation]
    neuron_layers: list[str]
    samples: Callable[[int], np.ndarray]
    diagnose: Callable[[TrainState], str]
    probe: Callable[[TrainState], Look]
    pure: Pure


def make_program(
    config: ConfigDict,
    dataset: Dataset,
    *,
    fresh: bool = True,
    among: Sequence[jax.Device] | None = None,
) -> Program:
    """The functions of a run with `config` on `dataset`; nothing is compiled before one is called.

    One that is not `fresh` goes on, and needs no weights to start from. It runs on all devices, or
    on those it is `among`.

    Raises UserError for a batch that does not fit the data or the devices, and for names or values
    in the config that its parts refuse.
    """
    build.check(config)
    size, batch_size = len(dataset.train), config.batch_size
    if not 0 < batch_size <= size:
        raise UserError(f"batch_size must be 1 to {size}, the training images; got {batch_size}.")
    steps_per_epoch = size // batch_size
    mesh = sharding.data_mesh(batch_size, config.accumulate, among)
    everywhere = sharding.replicated(mesh)
    model = build.network(config, dataset)
    loss = build.loss(config)
    optimizer = build.optimizer(config, steps_per_epoch)
    prepare = preparation(config, dataset)
    normalize = normalization(dataset)
    repeats = config.augment.get("repeats", 1)
    if batch_size % repeats:
        raise UserError(
            f"config.augment.repeats {repeats} does not divide batch_size {batch_size}; the "
            f"nearest that it divides: {batch_size // repeats * repeats or repeats}."
        )
    feed = make_feed(
        dataset.train,
        seed=config.seed,
        batch_size=batch_size,
        epochs=config.epochs,
        repeats=repeats,
        mesh=mesh,
    )
    train_step = make_train_step(
        model,
        optimizer,
        loss,
        prepare,
        accumulate=config.accumulate,
        averaging=config.averaging,
        skip=config.skip,
    )

    eval_step = make_eval_step(model, loss, normalize)

    def begin(key: Key[Array, ""], batch: Batch, given: Any) -> TrainState:
        init_key, key = jax.random.split(key)
        augment_key, _ = step_keys(key, 0)
        images, _ = prepare(augment_key, batch)
        return create_state(
            model, optimizer, init_key, key, images, given, averaged=config.averaging > 0
        )

    @partial(jax.jit, out_shardings=everywhere, compiler_options=quick())
    def first_state(columns: Batch, fed: Any, key: Key[Array, ""], given: Any) -> TrainState:
        return begin(key, feed.pick(columns, fed, 0), given)

    @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
    def step(state: TrainState, columns: Batch, fed: Any) -> tuple[TrainState, Metrics]:
        return train_step(state, feed.pick(columns, fed, state.step))

    key = jax.jit(lambda: jax.random.key(config.seed), out_shardings=everywhere)
    image = jax.ShapeDtypeStruct((1, *dataset.test.shape), dataset.test.dtype)
    images = jax.eval_shape(normalize, image)
    pure = Pure(
        begin,
        train_step,
        eval_step,
        pretrained.read(config.pretrained, config.reinitialize, model, images) if fresh else {},
    )
    given = sharding.placed(pure.given, everywhere)
    abstract = _placed(
        jax.eval_shape(first_state, feed.columns, feed.like, jax.eval_shape(key), given), everywhere
    )

    def compile_step() -> CompiledStep:
        return CompiledStep(step.lower(abstract, feed.columns, feed.like).compile(), feed.columns)

    def samples(step: int) -> np.ndarray:
        epoch, place = divmod(step, steps_per_epoch)
        return epoch_order(config.seed, epoch, size, batch_size, repeats)[place]

    def diagnose(state: TrainState) -> str:
        with closing(feed.batches(int(state.bad))) as batches:
            batch = jax.jit(feed.pick)(feed.columns, next(batches), state.bad)
        return make_diagnose(model, loss, prepare)(state, batch)

    variables = {"params": abstract.params, "batch_stats": abstract.batch_stats}
    return Program(
        steps_per_epoch=steps_per_epoch,
        abstract_state=abstract,
        first_state=lambda: first_state(feed.columns, feed.first(), key(), given),
        compile_step=compile_step,
        batches=feed.batches,
        evaluate=make_evaluate(eval_step, dataset.test, batch_size, mesh),
        neuron_layers=neuron_layers(model, variables, images),
        samples=samples,
        diagnose=diagnose,
        probe=make_probe(model, normalize, dataset.train, config.health.images, everywhere),
        pure=pure,
    )


def quick() -> dict[str, Any] | None:
    """Options for what runs once, of which a quick compilation is worth more than quick code."""
    # Tried on CPUs only.
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def _placed(tree: Any, everywhere: jax.sharding.NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), tree)
