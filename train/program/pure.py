"""The pure functions of a run: its first state, its training step, its test step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax import jit
from jax.sharding import Sharding
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from pit_jax.neurons.probe import Rounding

from ..config.own import explain_own
from ..data import Dataset
from . import build
from .feed import abstract_batch
from .inputs import make_normalize, make_prepare
from .metrics import Metric, make_metrics
from .sharding import abstract_arrays
from .state import Metrics, TrainState, create_state
from .step import Batch, Loss, Prepare, make_eval_step, make_train_step, split_step_key


class PureProgram(NamedTuple):
    """The pure functions of a run, and the parts that they consist of.

    `begin(key, batch, given)` returns the state before the first step, with the variables `given`
    and others initialized from the first batch, and how each layer rounds its membranes.
    `train(state, batch)` is a training step, `test(state, batch)` sums the metrics of a test batch.
    """

    model: nn.Module
    loss: Loss
    metrics: Mapping[str, Metric]
    prepare: Prepare
    normalize: Callable[[Array], Array]
    begin: Callable[[Key[Array, ""], Batch, Any], tuple[TrainState, dict[str, Rounding]]]
    train: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
    test: Callable[[TrainState, Batch], Metrics]


def make_pure_program(
    config: ConfigDict, dataset: Dataset, loss: Loss | None = None
) -> PureProgram:
    """Return the pure functions of a run with `config`; `loss` replaces the loss of the config.

    Raises UserError for names or values in the config that its parts refuse.
    """
    model = build.make_network(config, dataset)
    loss, metrics = loss or build.make_loss(config), make_metrics(config, dataset.num_classes)
    # At least 1: programs that only evaluate may use batches larger than the training split.
    optimizer = build.make_optimizer(config, max(len(dataset.train) // config.batch_size, 1))
    prepare, normalize = make_prepare(config, dataset), make_normalize(dataset)

    def begin(
        key: Key[Array, ""], batch: Batch, given: Any
    ) -> tuple[TrainState, dict[str, Rounding]]:
        init_key, key = jax.random.split(key)
        # PIT's scales are initialized from exactly the images of the first training step.
        augment_key, _ = split_step_key(key, 0)
        images, _ = prepare(augment_key, batch)
        return create_state(
            model, optimizer, init_key, key, images, given, averaged=config.averaging > 0
        )

    return PureProgram(
        model=model,
        loss=loss,
        metrics=metrics,
        prepare=prepare,
        normalize=normalize,
        begin=jit(begin),  # Traced once for its shapes and for its program.
        train=make_train_step(
            model,
            optimizer,
            loss,
            prepare,
            accumulate=config.accumulate,
            averaging=config.averaging,
            skip=config.skip,
        ),
        test=make_eval_step(model, loss, normalize, metrics=metrics),
    )


def abstract_state(
    config: ConfigDict, dataset: Dataset, sharding: Sharding, pure: PureProgram | None = None
) -> TrainState:
    """Return the shapes and types of a run's state, with `sharding`; nothing is computed.

    `pure` are the functions of the run, if they exist already: their trace is then shared. Raises
    UserError for images that the network does not take, and for a user's own parts that fail.
    """
    # With the sharding, because JAX traces again for other devices.
    key = abstract_arrays(jax.eval_shape(lambda: jax.random.key(config.seed)), sharding)
    batch = abstract_batch(dataset.train, config.batch_size, sharding)
    # Without `given`: pretrained variables have the shapes of the initial ones.
    begin = (pure or make_pure_program(config, dataset)).begin
    with explain_own("model", config.model.name):
        state, _ = jax.eval_shape(begin, key, batch, {})
    placed: TrainState = abstract_arrays(state, sharding)
    return placed


def abstract_images(dataset: Dataset) -> jax.ShapeDtypeStruct:
    """Return the shape and type of a batch of one image as the network sees it."""
    image = jax.ShapeDtypeStruct((1, *dataset.test.shape), dataset.test.dtype)
    images: jax.ShapeDtypeStruct = jax.eval_shape(make_normalize(dataset), image)
    return images
