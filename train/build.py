"""From a config to the parts of a run: network, loss, optimizer, augmentation."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Array
from ml_collections import ConfigDict

from pit_jax import models
from pit_jax.neurons import NEURONS
from train.data import Dataset
from train.data.augment import flip, normalize, pad_crop
from train.errors import UserError
from train.losses import LOSSES
from train.optim import OPTIMIZERS, cosine
from train.step import Loss

# The least that a number in a config can be.
LEAST = {
    "seed": 0,
    "num_steps": 1,
    "model.width": 1,
    "augment.pad": 0,
    "epochs": 1,
    "batch_size": 1,
    "warmup_epochs": 0,
}


def check_numbers(config: ConfigDict) -> None:
    """Raises UserError for a number that is too small, and for a warm-up that never ends."""
    for key, value in flatten_dict(config.to_dict(), sep=".").items():
        if key in LEAST and value < LEAST[key]:
            raise UserError(f"config.{key} must be at least {LEAST[key]}, got {value}.")
    if config.warmup_epochs >= config.epochs:
        raise UserError(
            f"config.warmup_epochs must be less than config.epochs, {config.epochs}, "
            f"got {config.warmup_epochs}."
        )


def network(config: ConfigDict, dataset: Dataset) -> nn.Module:
    """The network of `config.model` with the neuron of `config.neuron`."""
    neuron = partial(_chosen("neuron", NEURONS, config.neuron), **_rest(config.neuron))
    try:
        neuron()
        return models.create(
            config.model.name,
            num_classes=dataset.num_classes,
            neuron=neuron,
            num_steps=config.num_steps,
            **_rest(config.model),
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"config.model or config.neuron: {error}") from error


def loss(config: ConfigDict) -> Loss:
    """The loss of `config.loss`."""
    chosen, options = _chosen("loss", LOSSES, config.loss), _rest(config.loss)
    try:
        inspect.signature(chosen).bind("logits", "labels", **options)
    except TypeError as error:
        raise UserError(f"config.loss: {config.loss.name} {error}") from error
    return partial(chosen, **options)


def optimizer(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimizer of `config.optimizer` on the cosine schedule of the whole run."""
    schedule = cosine(
        config.learning_rate,
        steps=config.epochs * steps_per_epoch,
        warmup_steps=config.warmup_epochs * steps_per_epoch,
    )
    make = _chosen("optimizer", OPTIMIZERS, config.optimizer)
    try:
        return make(schedule, **_rest(config.optimizer))
    except TypeError as error:
        raise UserError(f"config.optimizer: {error}") from error


def normalization(dataset: Dataset) -> Callable[[Array], Array]:
    """uint8 images to zero mean and unit variance per channel; counts of events to floats."""
    if not dataset.mean:
        return lambda counts: counts.astype(float)
    return partial(normalize, mean=dataset.mean, std=dataset.std)


def augmentation(config: ConfigDict, dataset: Dataset) -> Callable[[Array, Array], Array]:
    """`(key, uint8 images) -> floats`: crop and flip as `config.augment` says, normalised."""
    to_floats = normalization(dataset)

    if not dataset.mean:
        return lambda key, counts: to_floats(counts)

    def augment(key: Array, images: Array) -> Array:
        crop_key, flip_key = jax.random.split(key)
        images = pad_crop(crop_key, images, pad=config.augment.pad)
        return to_floats(flip(flip_key, images) if config.augment.flip else images)

    return augment


def _chosen(what: str, table: dict[str, Any], section: ConfigDict) -> Any:
    if section.name not in table:
        raise UserError(
            f"config.{what}.name is {section.name!r}; it can be {', '.join(sorted(table))}."
        )
    return table[section.name]


def _rest(section: ConfigDict) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "name"}
