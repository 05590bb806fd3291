"""The functions that a run calls, jitted and placed on the devices.

The training step is one program for all devices: the state is replicated, the batch is divided, and
the compiler inserts the collectives. So means over the batch, in the loss, the gradient and in
BatchNorm, are over the global batch, and results depend on the number of devices only by rounding.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from threading import Timer
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, Sharding
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from pit_jax.display import print_text
from pit_jax.neurons.probe import Rounding, neuron_layers
from pit_jax.tuning import compiler_options

from .. import memory
from ..config.limits import count_epochs
from ..data import Dataset
from ..data.dataset import describe_data
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

First = tuple[TrainState, dict[str, Rounding]]
# After this time users ask whether a program hangs.
SLOW_SECONDS = 20


@contextmanager
def _note_after(seconds: float, note: Callable[[str], None], text: str) -> Iterator[None]:
    """Call `note` with `text` if the block takes longer than `seconds`."""
    timer = Timer(seconds, note, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def report_slow_trace(seconds: float = SLOW_SECONDS) -> Iterator[None]:
    """Print a line if the block, which traces a network, takes longer than `seconds`."""
    text = (
        f"note: tracing the network takes longer than {seconds:g} s, as for networks of hundreds "
        "of blocks or on a busy machine. Fewer layers shorten it, and compiling too; Ctrl-C ends "
        "it."
    )
    with _note_after(seconds, partial(print_text, file=sys.stderr, flush=True), text):
        yield


class CompiledStep:
    """The compiled training step. It donates the state: a state can be used only once."""

    def __init__(self, compiled: jax.stages.Compiled) -> None:
        self._compiled = compiled

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """Return the state after a step on a batch of `Program.batches`, and its metrics."""
        stepped: tuple[TrainState, Metrics] = self._compiled(state, batch)
        return stepped

    def __str__(self) -> str:
        """Return the cost on each device, as the compiler counts it."""
        cost, memory = self._compiled.cost_analysis(), self._compiled.memory_analysis()
        parts = [f"{cost['flops'] / 1e9:,.2f} GFLOP"] if cost and "flops" in cost else []
        if memory is not None:
            parts += [
                f"{memory.argument_size_in_bytes / 2**20:,.0f} MiB for state and data",
                f"{memory.temp_size_in_bytes / 2**20:,.0f} MiB temporary",
            ]
        return f"a step takes {', '.join(parts)} on each device" if parts else "compiled"

    def as_text(self) -> str:
        """Return the compiled program as text."""
        return str(self._compiled.as_text())


class Program(NamedTuple):
    """The functions of one run. States and metrics are replicated: every device has a copy.

    `first_rounding()` returns how each layer rounds the membranes of the first batch, as found by
    the latest `first_state()`; {} before one. `compile_step()` compiles the step when it is called
    first. `batches(first)` yields the batches of the compiled step from step `first` on.
    `samples(step)` returns the indices of the training samples of a step. `diagnose(state)` returns
    in words where the step `state.bad` is not finite. `probe(state)` measures the neuron layers.

    `evaluate(state)` evaluates the split that selects the best epoch; `split` is its name,
    `validation`, or `test` for data without validation. `test(state)` evaluates the test images.
    `subset` is the subset of the data set that is used, `data` describes the data as loaded.
    `pretrained` is the checkpoint of the variables that a new run starts from, with its hash.
    `with_seed(seed)` returns the functions of a run that differs in its seed alone. It shares what
    this one compiles and has in the devices' memory.
    """

    steps_per_epoch: int
    abstract_state: TrainState
    first_state: Callable[[], TrainState]
    first_rounding: Callable[[], Mapping[str, Rounding]]
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
    data: Mapping[str, Any]
    with_seed: Callable[[int], "Program"]
    pretrained: str = ""


@report_slow_trace()
def make_program(
    config: ConfigDict,
    dataset: Dataset,
    *,
    given: Mapping[str, Any] = MappingProxyType({}),
    pretrained: str = "",
    devices: Sequence[jax.Device] | None = None,
    loss: Loss | None = None,
) -> Program:
    """Return the functions of a run with `config`; nothing is compiled before one is called.

    The network starts from the variables in `given`, of the checkpoint `pretrained`. The run uses
    all devices, or `devices`. `loss` replaces the loss of the config.

    Raises UserError for a batch that does not fit the data or the devices, for names or values in
    the config that its parts refuse, and for a user's own parts and metrics that fail.
    """
    build.check(config)
    check_batch(config, dataset)
    mesh = sharding.make_data_mesh(config.batch_size, config.accumulate, devices)
    everywhere = sharding.make_replicated(mesh)
    pure = make_pure_program(config, dataset, loss)
    try_parts(config, dataset, pure)
    check_metrics(pure.metrics, pure.model, abstract_images(dataset))
    abstract = abstract_state(config, dataset, everywhere, pure)
    memory.check_state(abstract, abstract.params, mesh)  # Before anything is placed on the devices.
    feed = _make_feed(config, dataset, mesh)

    # The donated state is overwritten by the new one: a device never needs memory for two.
    @_jit("train", everywhere, donate_argnums=0)
    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        return pure.train(state, feed.select(batch, state.step))

    begin = _make_begin(pure, feed, mesh, given)
    compile_step = cache(lambda: compile_checked(step, mesh, abstract, feed.abstract_batch))
    evaluate, test = make_evaluations(pure, dataset, config.batch_size, mesh)
    of_seed = partial(_make_functions_of_seed, config, dataset, pure, feed, begin)
    program = Program(
        steps_per_epoch=len(dataset.train) // config.batch_size,
        abstract_state=abstract,
        compile_step=lambda: CompiledStep(compile_step()),
        evaluate=evaluate,
        neuron_layers=list_neuron_layers(pure, abstract, dataset),
        probe=make_probe(
            pure.model, pure.normalize, dataset.train, config.health.images, everywhere
        ),
        split="test" if dataset.validation is None else "validation",
        test=test,
        subset=dataset.subset,
        data=describe_data(dataset),
        with_seed=lambda seed: program._replace(**of_seed(seed)),
        pretrained=pretrained,
        **of_seed(config.seed),
    )
    return program


def _jit(kind: str, sharding: Sharding, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return `jax.jit` with the compiler options of a `kind` of programs, and results placed."""
    return partial(
        jax.jit, out_shardings=sharding, compiler_options=compiler_options(kind), **options
    )


def _make_begin(
    pure: PureProgram, feed: Feed, mesh: Mesh, given: Mapping[str, Any]
) -> Callable[[Feed, int], First]:
    """Return a function of the feed and the seed of a run: what `PureProgram.begin` returns."""
    everywhere = sharding.make_replicated(mesh)
    start = sharding.place(dict(given), everywhere)
    # Jitted, because a key cannot be placed on the devices of other processes. A seed is below
    # 2**32 (checks/bounds.py).
    make_key = jax.jit(jax.random.key, out_shardings=everywhere)

    @_jit("once", everywhere)
    def first_state(batch: Any, key: Key[Array, ""], given: Any) -> First:
        return pure.begin(key, feed.select(batch, 0), given)

    def make_arguments(feed: Feed, seed: int) -> tuple[Any, ...]:
        return feed.batch_at(0), make_key(np.uint32(seed)), start

    # For any seed: it only changes the arguments.
    begin = cache(lambda: compile_checked(first_state, mesh, *make_arguments(feed, 0)))
    return lambda feed, seed: begin()(*make_arguments(feed, seed))


def list_neuron_layers(pure: PureProgram, state: TrainState, dataset: Dataset) -> list[str]:
    """Return the names of the neuron layers; `state` may be abstract."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return neuron_layers(pure.model, variables, abstract_images(dataset))


def compile_checked(function: Any, mesh: Mesh, *arguments: Any) -> jax.stages.Compiled:
    """Compile a jitted function; raise UserError if it needs more memory than there is."""
    compiled: jax.stages.Compiled = function.lower(*arguments).compile()
    memory.check_compiled(compiled, mesh)
    return compiled


@contextmanager
def note_if_slow(
    note: Callable[[str], None], config: ConfigDict, seconds: float = SLOW_SECONDS
) -> Iterator[None]:
    """Call `note` if the block, which compiles, takes longer than `seconds`."""
    parts = f" and a smaller config.accumulate than {config.accumulate}"
    text = (
        f"compiling takes longer than {seconds:g} s, as for large networks or on a busy machine. "
        f"Fewer layers{parts if config.accumulate > 1 else ''} shorten it; the next start reads "
        "the compiled programs from your compilation cache."
    )
    with _note_after(seconds, note, text):
        yield


def _make_feed(config: ConfigDict, dataset: Dataset, mesh: Mesh) -> Feed:
    return make_feed(
        dataset.train,
        seed=config.seed,
        batch_size=config.batch_size,
        epochs=count_epochs(config),
        repeats=config.augment.get("repeats", 1),
        mesh=mesh,
    )


def make_evaluations(
    pure: PureProgram, dataset: Dataset, batch_size: int, mesh: Mesh
) -> tuple[Callable[[TrainState], Evaluation], Callable[[TrainState], Evaluation]]:
    """Return two functions of a state: one evaluates the end of an epoch, one the test images."""
    if dataset.validation is None:
        evaluate = make_evaluate(pure.test, dataset.test, batch_size, mesh)
        return evaluate, evaluate
    # Cached on the first call, so that the test images take no device memory before.
    test = cache(lambda: make_evaluate(pure.test, dataset.test, batch_size, mesh))
    evaluate = make_evaluate(pure.test, dataset.validation, batch_size, mesh)
    return evaluate, lambda state: test()(state)


def check_batch(config: ConfigDict, dataset: Dataset) -> None:
    """Raise UserError for a batch size that does not fit the data or `augment.repeats`."""
    size, batch_size = len(dataset.train), config.batch_size
    if not 0 < batch_size <= size:
        raise UserError(
            f"config.batch_size must be 1 to {size}, the training images; got {batch_size}."
        )
    repeats = config.augment.get("repeats", 1)
    if batch_size % repeats:
        below = range(1, min(repeats, batch_size + 1))
        most = max(number for number in below if batch_size % number == 0)
        raise UserError(
            f"config.augment.repeats {repeats} does not divide batch_size {batch_size}; the "
            f"nearest that it divides: {batch_size // repeats * repeats or repeats}. Or use "
            f"config.augment.repeats={most}."
        )


def diagnose_step(pure: PureProgram, feed: Feed, state: TrainState) -> str:
    """Return in words where step `state.bad` is not finite."""
    batch = jax.jit(feed.select)(feed.batch_at(int(state.bad)), state.bad)
    return make_diagnose(pure.model, pure.loss, pure.prepare)(state, batch)


def _make_functions_of_seed(
    config: ConfigDict,
    dataset: Dataset,
    pure: PureProgram,
    feed: Feed,
    begin: Callable[[Feed, int], First],
    seed: int,
) -> dict[str, Any]:
    """Return those functions of a program that depend on the seed of its run."""
    own = feed.with_seed(seed)
    rounding: Mapping[str, Rounding] = {}

    def first_state() -> TrainState:
        nonlocal rounding
        state, rounding = begin(own, seed)
        return state

    return {
        "first_state": first_state,
        "first_rounding": lambda: rounding,
        "batches": own.batches,
        "samples": partial(list_samples, config, seed, len(dataset.train)),
        "diagnose": partial(diagnose_step, pure, own),
    }


def list_samples(config: ConfigDict, seed: int, size: int, step: int) -> np.ndarray:
    """Return the indices, among `size` training samples, of the samples of a step."""
    epoch, place = divmod(step, size // config.batch_size)
    repeats = config.augment.get("repeats", 1)
    return epoch_order(seed, epoch, size, config.batch_size, repeats)[place]
