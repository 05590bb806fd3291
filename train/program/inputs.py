"""From stored samples to what the network sees: augmentation, normalization, labels.

All of it runs on the device, inside the compiled step.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from ..config.choose import chosen, filled, named, options
from ..data import Dataset
from ..data.augment import (
    MIXES,
    POLICIES,
    cutout,
    flip,
    flip_frames,
    normalize,
    pad_crop,
    random_erasing,
    roll_frames,
    rotate_frames,
)
from ..errors import UserError
from .step import Batch, Prepare

# What config.augment can have for images, in the order in which it happens, and for event frames.
IMAGE_STAGES = ("pad", "flip", "policy", "cutout", "erase", "mix")
FRAME_STAGES = ("flip", "roll", "rotate")
STAGES = tuple(dict.fromkeys(IMAGE_STAGES + FRAME_STAGES))
# What it can have for both, and that draws nothing.
FOR_ALL = ("smoothing", "repeats")
STAGE = ("key", "images")


def preparation(config: ConfigDict, dataset: Dataset) -> Prepare:
    """`(key, batch) -> (images, labels)` of training: `augmentation`, then `config.augment.mix`.

    The labels stay integers `[B]` unless images are mixed or there is some `smoothing`, the part of
    each label that all classes share: then they are shares `[B, K]`.
    """
    augment = augmentation(config, dataset)
    smoothing = config.augment.get("smoothing", 0)
    section = config.augment.get("mix")
    mix = section and named("augment.mix", MIXES, section, *STAGE, "labels")

    def prepare(key: Array, batch: Batch) -> tuple[Array, Array]:
        images, labels = augment(key, batch["image"]), batch["label"]
        if mix or smoothing:
            labels = jax.nn.one_hot(labels, dataset.num_classes, dtype=jnp.float32)
            labels = (1 - smoothing) * labels + smoothing / dataset.num_classes
        if mix:
            images, labels = mix(_keys(key)["mix"], images, labels)
        return images, labels

    return prepare


def augmentation(config: ConfigDict, dataset: Dataset) -> Callable[[Array, Array], Array]:
    """`(key, uint8 images) -> floats`: what `config.augment` says, normalized on the way.

    In this order, each left out when its key is missing: `pad`, `flip`, `policy`, `cutout` with the
    `fill` "black"; normalization; `cutout` with the `fill` "mean" (the default), `erase`. Of event
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
        pixels.append(("policy", _policy(section.policy, dataset)))
    if "cutout" in section:
        stages = pixels if section.cutout.get("fill") == "black" else floats
        holes = filled("augment.cutout", cutout, options(section.cutout, "fill"), *STAGE)
        stages.append(("cutout", holes))
    if "erase" in section:
        erase = filled("augment.erase", random_erasing, options(section.erase), *STAGE)
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


def normalization(dataset: Dataset) -> Callable[[Array], Array]:
    """uint8 images to zero mean and unit variance per channel; counts of events to floats."""
    if not dataset.mean:
        return lambda counts: counts.astype(float)
    return partial(normalize, mean=dataset.mean, std=dataset.std)


def _keys(key: Array) -> dict[str, Array]:
    # Keys behind the first two leave those as they are.
    return dict(zip(STAGES, jax.random.split(key, len(STAGES)), strict=True))


def _policy(section: ConfigDict, dataset: Dataset) -> Callable[..., Array]:
    channels = dataset.train.shape[-1]
    if channels not in (1, 3):
        raise UserError(f"config.augment.policy needs 1 or 3 channels; the data have {channels}.")
    given = options(section, "fill")
    if section.get("fill") == "mean":
        given["fill"] = tuple(round(255 * mean) for mean in dataset.mean)
    policy = chosen("augment.policy", POLICIES, section)
    return filled("augment.policy", policy, given, *STAGE)


def _check_stages(section: ConfigDict, frames: bool) -> None:
    known = (*STAGES, *FOR_ALL)
    for key, value in section.items():
        if key not in known:
            raise UserError(f"config.augment has no key {key!r}; it has {', '.join(known)}.")
        if value and key not in (*(FRAME_STAGES if frames else IMAGE_STAGES), *FOR_ALL):
            raise UserError(f"config.augment.{key} is for {'images' if frames else 'frames'} only.")
