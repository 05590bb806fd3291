"""From a config to the parts of a run: network, loss, optimizer, augmentation."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Array
from ml_collections import ConfigDict

from pit_jax import models
from pit_jax.neurons import NEURONS
from train.data import Dataset
from train.data.augment import (
    MIXES,
    POLICIES,
    RESAMPLERS,
    cutout,
    flip,
    flip_frames,
    normalize,
    pad_crop,
    random_erasing,
    roll_frames,
    rotate_frames,
)
from train.errors import UserError
from train.losses import LOSSES
from train.optim import OPTIMIZERS, cosine
from train.step import Batch, Loss, Prepare

# The least that a number in a config can be.
LEAST = {
    "seed": 0,
    "num_steps": 1,
    "model.width": 1,
    "augment.pad": 0,
    "augment.roll": 0,
    "augment.rotate": 0,
    "augment.policy.num_ops": 1,
    "augment.policy.magnitude": 0,
    "augment.cutout.size": 0,
    "augment.erase.probability": 0,
    "epochs": 1,
    "batch_size": 1,
    "warmup_epochs": 0,
}
# The most.
MOST = {"augment.policy.magnitude": 30, "augment.erase.probability": 1}
# What must be more than 0.
POSITIVE = {"augment.mix.alpha", "augment.mix.mixup_alpha", "augment.mix.cutmix_alpha"}
# The words that one of few can be.
WORDS = {"augment.policy.resample": sorted(RESAMPLERS), "augment.cutout.fill": ["black", "mean"]}
# What config.augment can have for images, in the order in which it happens, and for event frames.
IMAGE_STAGES = ("pad", "flip", "policy", "cutout", "erase", "mix")
FRAME_STAGES = ("flip", "roll", "rotate")
STAGES = tuple(dict.fromkeys(IMAGE_STAGES + FRAME_STAGES))
STAGE = ("key", "images")


def check_values(config: ConfigDict) -> None:
    """Raises UserError for a value that cannot be, and for a warm-up that never ends."""
    for key, value in flatten_dict(config.to_dict(), sep=".").items():
        if key in LEAST and value < LEAST[key]:
            raise UserError(f"config.{key} must be at least {LEAST[key]}, got {value}.")
        if key in MOST and value > MOST[key]:
            raise UserError(f"config.{key} must be at most {MOST[key]}, got {value}.")
        if key in POSITIVE and value <= 0:
            raise UserError(f"config.{key} must be more than 0, got {value}.")
        if key in WORDS and value not in WORDS[key]:
            raise UserError(f"config.{key} is {value!r}; it can be {', '.join(WORDS[key])}.")
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
    return _named("loss", LOSSES, config.loss, "logits", "labels")


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
    """`(key, uint8 images) -> floats`: what `config.augment` says, normalised on the way.

    In this order, each left out when its key is missing: `pad`, `flip`, `policy`, `cutout` with the
    `fill` "black"; normalisation; `cutout` with the `fill` "mean" (the default), `erase`. Of event
    frames: `flip`, `roll` by up to so many pixels, `rotate` by up to so many degrees.
    """
    section = config.augment
    frames = len(dataset.train.shape) == 4
    _check_stages(section, frames)
    pixels: list[tuple[str, Callable[..., Array]]] = []
    floats: list[tuple[str, Callable[..., Array]]] = []
    if section.get("pad"):
        pixels.append(("pad", partial(pad_crop, pad=section.pad)))
    if section.get("flip"):
        pixels.append(("flip", flip_frames if frames else flip))
    if section.get("roll"):
        pixels.append(("roll", partial(roll_frames, pixels=section.roll)))
    if section.get("rotate"):
        pixels.append(("rotate", partial(rotate_frames, degrees=section.rotate)))
    if "policy" in section:
        _check_channels(dataset)
        pixels.append(("policy", _named("augment.policy", POLICIES, section.policy, *STAGE)))
    if "cutout" in section:
        stages = pixels if section.cutout.get("fill") == "black" else floats
        holes = _with("augment.cutout", cutout, _rest(section.cutout, "fill"), *STAGE)
        stages.append(("cutout", holes))
    if "erase" in section:
        erase = _with("augment.erase", random_erasing, _rest(section.erase), *STAGE)
        floats.append(("erase", erase))
    to_floats = normalization(dataset)

    def augment(key: Array, images: Array) -> Array:
        keys = _keys(key)
        for stage, change in pixels:
            images = change(keys[stage], images)
        images = to_floats(images)
        for stage, change in floats:
            images = change(keys[stage], images)
        return images

    return augment


def preparation(config: ConfigDict, dataset: Dataset) -> Prepare:
    """`(key, batch) -> (images, labels)` of training: `augmentation`, then `config.augment.mix`.

    The labels stay integers `[B]` unless images are mixed: then they are shares `[B, K]`.
    """
    augment = augmentation(config, dataset)
    section = config.augment.get("mix")
    mix = section and _named("augment.mix", MIXES, section, *STAGE, "labels")

    def prepare(key: Array, batch: Batch) -> tuple[Array, Array]:
        images, labels = augment(key, batch["image"]), batch["label"]
        if mix:
            shares = jax.nn.one_hot(labels, dataset.num_classes, dtype=jnp.float32)
            images, labels = mix(_keys(key)["mix"], images, shares)
        return images, labels

    return prepare


def _keys(key: Array) -> dict[str, Array]:
    # Keys behind the first two leave those as they are.
    return dict(zip(STAGES, jax.random.split(key, len(STAGES)), strict=True))


def _check_stages(section: ConfigDict, frames: bool) -> None:
    for key, value in section.items():
        if key not in STAGES:
            raise UserError(f"config.augment has no key {key!r}; it has {', '.join(STAGES)}.")
        if value and key not in (FRAME_STAGES if frames else IMAGE_STAGES):
            raise UserError(f"config.augment.{key} is for {'images' if frames else 'frames'} only.")


def _check_channels(dataset: Dataset) -> None:
    channels = dataset.train.shape[-1]
    if channels not in (1, 3):
        raise UserError(f"config.augment.policy needs 1 or 3 channels; the data have {channels}.")


def _named(
    what: str, table: dict[str, Any], section: ConfigDict, *arguments: str
) -> Callable[..., Any]:
    """The function of `table` that `section` names, with the rest of the section filled in."""
    return _with(what, _chosen(what, table, section), _rest(section), *arguments)


def _with(
    what: str, function: Callable[..., Any], options: dict[str, Any], *arguments: str
) -> Callable[..., Any]:
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise UserError(f"config.{what}: {function.__name__} {error}") from error
    return partial(function, **options)


def _chosen(what: str, table: dict[str, Any], section: ConfigDict) -> Any:
    if section.name not in table:
        raise UserError(
            f"config.{what}.name is {section.name!r}; it can be {', '.join(sorted(table))}."
        )
    return table[section.name]


def _rest(section: ConfigDict, but: str = "name") -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != but}
