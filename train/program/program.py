"""The functions that a run calls, jitted and placed on the devices."""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from pit_jax.neurons.probe import neuron_layers

from ..data import Dataset
from ..data.feeding.order import epoch_order
from ..errors import UserError
from . import build, sharding
from .diagnose import make_diagnose
from .evaluation import Evaluation, make_evaluate
from .feed import Feed, make_feed
from .metrics import check_metrics
from .probe import Look, make_probe
from .pure import PureProgram, abstract_images, abstract_state, make_pure_program
from .state import Metrics, TrainState
from .step import Loss
from .trial import try_parts


class CompiledStep:
    """A step of the state, whose memory it takes, and of a batch of `Program.batches`."""

    def __init__(self, compiled: jax.stages.Compiled) -> None:
        self._compiled = compiled

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """Return the state after the step, and its metrics."""
        stepped: tuple[TrainState, Metrics] = self._compiled(state, batch)
        return stepped

    def __str__(self) -> str:
        """Return the cost by the compiler's own count, on each device."""
        cost, memory = self._compiled.cost_analysis(), self._compiled.memory_analysis()
        parts = [f"{cost['flops'] / 1e9:,.2f} GFLOP"] if cost and "flops" in cost else []
        if memory is not None:
            parts += [
                f"{memory.argument_size_in_bytes / 2**20:,.0f} MiB for state and data",
                f"{memory.temp_size_in_bytes / 2**20:,.0f} MiB beside",
            ]
        return f"a step takes {', '.join(parts)} on each device" if parts else "compiled"

    def as_text(self) -> str:
        """Return the compiled program as text."""
        return str(self._compiled.as_text())


class Program(NamedTuple):
    """The functions of one run; their states and metrics are whole on each device.

    `batches(first)` yields the batches of the compiled step, from step `first` on, and
    `samples(step)` returns the training samples that step `step`, from 0 on, sees.
    `diagnose(state)` says in words where the step `state.bad` is not finite. `probe(state)`
    measures its neuron layers.

    `evaluate(state)` measures the split on which the best epoch is chosen; `split` is its name,
    `validation`, or `test` for data without one. `test(state)` measures the test images. `subset`
    is that of the data set.
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
    split: str
    test: Callable[[TrainState], Evaluation]
    subset: Mapping[str, np.ndarray]


def make_program(
    config: ConfigDict,
    dataset: Dataset,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
    devices: Sequence[jax.Device] | None = None,
    loss: Loss | None = None,
) -> Program:
    """Return the functions of a run with `config`; nothing is compiled before one is called.

    The network starts from the variables `given`. The run is on all devices, or on `devices`.
    `loss` replaces that of the config.

    Raises UserError for a batch that does not fit the data or the devices, for names or values in
    the config that its parts refuse, and for a user's own parts and metrics that fail.
    """
    build.check(config)
    check_batch(config, dataset)
    mesh = sharding.data_mesh(config.batch_size, config.accumulate, devices)
    everywhere = sharding.make_replicated(mesh)
    pure = make_pure_program(config, dataset, loss)
    try_parts(config, dataset, pure)
    check_metrics(pure.metrics, pure.model, abstract_images(dataset))
    abstract = abstract_state(config, dataset, everywhere)
    feed = _make_feed(config, dataset, mesh)

    @partial(jax.jit, out_shardings=everywhere, compiler_options=quick_options())
    def first_state(batch: Any, key: Key[Array, ""], given: Any) -> TrainState:
        return pure.begin(key, feed.select(batch, 0), given)

    @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        return pure.train(state, feed.select(batch, state.step))

    key = jax.jit(lambda: jax.random.key(config.seed), out_shardings=everywhere)
    start = sharding.place(dict(given), everywhere)

    def compile_step() -> CompiledStep:
        return CompiledStep(step.lower(abstract, feed.abstract_batch).compile())

    evaluate, test = make_evaluations(pure, dataset, config.batch_size, mesh)
    variables = {"params": abstract.params, "batch_stats": abstract.batch_stats}
    return Program(
        steps_per_epoch=len(dataset.train) // config.batch_size,
        abstract_state=abstract,
        first_state=lambda: first_state(feed.batch_at(0), key(), start),
        compile_step=compile_step,
        batches=feed.batches,
        evaluate=evaluate,
        neuron_layers=neuron_layers(pure.model, variables, abstract_images(dataset)),
        samples=partial(samples_of_step, config, len(dataset.train)),
        diagnose=partial(diagnose_step, pure, feed),
        probe=make_probe(
            pure.model, pure.normalize, dataset.train, config.health.images, everywhere
        ),
        split="test" if dataset.validation is None else "validation",
        test=test,
        subset=dataset.subset,
    )


def _make_feed(config: ConfigDict, dataset: Dataset, mesh: Mesh) -> Feed:
    return make_feed(
        dataset.train,
        seed=config.seed,
        batch_size=config.batch_size,
        epochs=config.epochs,
        repeats=config.augment.get("repeats", 1),
        mesh=mesh,
    )


def make_evaluations(
    pure: PureProgram, dataset: Dataset, batch_size: int, mesh: Mesh
) -> tuple[Callable[[TrainState], Evaluation], Callable[[TrainState], Evaluation]]:
    """Return two functions of a state: that of the end of an epoch and that of the test images."""
    if dataset.validation is None:
        evaluate = make_evaluate(pure.test, dataset.test, batch_size, mesh)
        return evaluate, evaluate
    # Made on the first call, so that the test images take no device memory until then.
    test = cache(lambda: make_evaluate(pure.test, dataset.test, batch_size, mesh))
    evaluate = make_evaluate(pure.test, dataset.validation, batch_size, mesh)
    return evaluate, lambda state: test()(state)


def check_batch(config: ConfigDict, dataset: Dataset) -> None:
    """Raise UserError for a batch size that does not fit the data or their repeats."""
    size, batch_size = len(dataset.train), config.batch_size
    if not 0 < batch_size <= size:
        raise UserError(f"batch_size must be 1 to {size}, the training images; got {batch_size}.")
    repeats = config.augment.get("repeats", 1)
    if batch_size % repeats:
        raise UserError(
            f"config.augment.repeats {repeats} does not divide batch_size {batch_size}; the "
            f"nearest that it divides: {batch_size // repeats * repeats or repeats}."
        )


def diagnose_step(pure: PureProgram, feed: Feed, state: TrainState) -> str:
    """Return in words where the step `state.bad` is not finite."""
    batch = jax.jit(feed.select)(feed.batch_at(int(state.bad)), state.bad)
    return make_diagnose(pure.model, pure.loss, pure.prepare)(state, batch)


def samples_of_step(config: ConfigDict, size: int, step: int) -> np.ndarray:
    """Return which of `size` training samples step `step`, from 0 on, sees."""
    epoch, place = divmod(step, size // config.batch_size)
    repeats = config.augment.get("repeats", 1)
    return epoch_order(config.seed, epoch, size, config.batch_size, repeats)[place]


def quick_options() -> dict[str, Any] | None:
    """Return options for what runs once, where compiling quickly is worth more than quick code."""
    # Tried on CPUs only.
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
