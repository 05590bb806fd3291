"""Converts stored samples to the inputs of the network: augmentation, normalization, labels.

All of this runs on the device, inside the compiled step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from pit_jax.checks.bounds import SHARE, one_of, set_bounds

from ..config.choose import check_bounds, make_part, normalize_section
from ..data import Dataset
from ..data.augment import (
    POLICIES,
    flip,
    flip_frames,
    normalize,
    pad_crop,
    roll_frames,
    rotate_frames,
)
from ..errors import UserError
from .step import Batch, Prepare

Stages = list[tuple[str, Callable[..., Array]]]
# The stages of config.augment for images, in the order in which they run, and for event frames.
IMAGE_STAGES = ("pad", "flip", "policy", "cutout", "erase", "mix")
FRAME_STAGES = ("flip", "roll", "rotate")
STAGES = tuple(dict.fromkeys(IMAGE_STAGES + FRAME_STAGES))
# Keys for both that draw no random numbers.
FOR_ALL = ("smoothing", "repeats")
# Stages with one parameter, whose value is the value of the key.
AMOUNTS: dict[str, tuple[Callable[..., Array], str]] = {
    "pad": (pad_crop, "pad"),
    "roll": (roll_frames, "pixels"),
    "rotate": (rotate_frames, "degrees"),
}
# The gray levels that a section can name; a policy and `cutout` need them before they are called.
FILL = one_of("black", "mean")


def make_prepare(config: ConfigDict, dataset: Dataset) -> Prepare:
    """Return `(key, batch) -> (images, labels)`: `make_augment`, then `config.augment.mix`.

    The labels stay integers `[B]` unless images are mixed or labels smoothed: then they are shares
    of the classes, `[B, K]`.
    """
    augment = make_augment(config, dataset)
    check_bounds(smooth, config, smoothing="augment.smoothing")
    smoothing, mix = config.augment.get("smoothing", 0), _make_mix(config.augment)

    def prepare(key: Array, batch: Batch) -> tuple[Array, Array]:
        images, labels = augment(key, batch["image"]), batch["label"]
        if mix or smoothing:
            labels = smooth(labels, dataset.num_classes, smoothing=smoothing)
        if mix:
            images, labels = mix(_split_key(key)["mix"], images, labels)
        return images, labels

    return prepare


@set_bounds(smoothing=SHARE)
def smooth(labels: Array, num_classes: int, *, smoothing: float) -> Array:
    """Convert integer labels `[B]` to shares of the classes, `[B, K]`.

    Args:
        smoothing: the share of each label that is spread evenly over all classes.
    """
    shares = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    return (1 - smoothing) * shares + smoothing / num_classes


def check_augment(section: ConfigDict) -> None:
    """Raise UserError for keys and values that `config.augment` cannot have for any data."""
    known = (*STAGES, *FOR_ALL)
    for key in section:
        if key not in known:
            raise UserError(f"config.augment has no key {key!r}; it has {', '.join(known)}.")
    check_bounds(smooth, ConfigDict({"augment": section}), smoothing="augment.smoothing")
    _make_stages(section, frames=False, mean=())
    _make_mix(section)


def make_augment(config: ConfigDict, dataset: Dataset) -> Callable[[Array, Array], Array]:
    """Return `(key, images) -> floats`: the stages of `config.augment`, and normalization.

    The order for images: `pad`, `flip`, `policy`, `cutout` with the `fill` "black"; normalization;
    `cutout` with the `fill` "mean" (the default), `erase`. For event frames: `flip`, `roll`,
    `rotate`. Stages without a key are skipped.
    """
    check_augment(config.augment)
    _check_kind(config.augment, dataset)
    frames = len(dataset.train.shape) == 4
    pixels, floats = _make_stages(config.augment, frames, dataset.mean)
    to_floats = make_normalize(dataset)

    def augment(key: Array, images: Array) -> Array:
        keys = _split_key(key)
        for stage, change in pixels:
            images = change(keys[stage], images)
        images = to_floats(images)
        for stage, change in floats:
            images = change(keys[stage], images)
        return images

    return augment


def make_normalize(dataset: Dataset) -> Callable[[Array], Array]:
    """Return a function that normalizes uint8 images and converts other data to floats."""
    if not dataset.mean:
        return lambda images: images.astype(float)
    return partial(normalize, mean=dataset.mean, std=dataset.std)


def _make_stages(section: ConfigDict, frames: bool, mean: Sequence[float]) -> tuple[Stages, Stages]:
    """Return the stages before normalization, on uint8 images, and those after it."""
    # Before: policies compute with gray levels as Pillow does, and padding with 0 is black.
    pixels: Stages = []
    # After: random erasing fills with values of normalized images.
    floats: Stages = []
    if section.get("pad"):
        pixels.append(("pad", _make_amount(section, "pad")))
    if section.get("flip"):
        pixels.append(("flip", flip_frames if frames else flip))
    for key in ("roll", "rotate"):
        if section.get(key):
            pixels.append((key, _make_amount(section, key)))
    if "policy" in section:
        pixels.append(("policy", _make_policy(section.policy, mean)))
    if "cutout" in section:
        fill, holes = _split_fill("augment.cutout", section.cutout)
        # After normalization the mean is 0, the value of a hole; before it, black is 0.
        stages = pixels if fill == "black" else floats
        stages.append(("cutout", make_part("augment.cutout", holes)))
    if "erase" in section:
        floats.append(("erase", make_part("augment.erase", section.erase)))
    return pixels, floats


def _make_amount(section: ConfigDict, key: str) -> Callable[..., Array]:
    function, parameter = AMOUNTS[key]
    check_bounds(function, ConfigDict({"augment": section}), **{parameter: f"augment.{key}"})
    return partial(function, **{parameter: section[key]})


def _make_policy(section: Any, mean: Sequence[float]) -> Callable[..., Array]:
    fill, given = _split_fill("augment.policy", section)
    if fill == "mean":
        given["fill"] = tuple(round(255 * each) for each in mean)
    return make_part("augment.policy", given)


def _split_fill(what: str, section: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the `fill` of a section, and its other keys."""
    given = normalize_section(section)
    fill: str | None = given.pop("fill", None)
    if fill is not None:
        try:
            FILL(f"config.{what}.fill", fill)
        except ValueError as error:
            raise UserError(str(error)) from error
    return fill, given


def _make_mix(section: ConfigDict) -> Callable[..., tuple[Array, Array]] | None:
    return make_part("augment.mix", mix) if (mix := section.get("mix")) else None


def _split_key(key: Array) -> dict[str, Array]:
    # One key for each stage, used or not: a stage draws the same with and without the others. A new
    # stage goes to the end of STAGES, or it would change what the later ones draw.
    return dict(zip(STAGES, jax.random.split(key, len(STAGES)), strict=True))


def _check_kind(section: ConfigDict, dataset: Dataset) -> None:
    """Raise UserError for stages that do not apply to these data."""
    frames = len(dataset.train.shape) == 4
    for key, value in section.items():
        if value and key not in (*(FRAME_STAGES if frames else IMAGE_STAGES), *FOR_ALL):
            raise UserError(f"config.augment.{key} is for {'images' if frames else 'frames'} only.")
    side = min(dataset.train.shape[-3:-1])
    if section.get("pad", 0) > side:
        raise UserError(
            f"config.augment.pad must be at most {side}, the shorter side of the images, got "
            f"{section.pad}; with more, many crops would be black."
        )
    # A user's own policy may accept other images.
    if "policy" not in section or normalize_section(section.policy).get("name") not in POLICIES:
        return
    channels, dtype = dataset.train.shape[-1], dataset.train.dtype
    if channels not in (1, 3):
        raise UserError(f"config.augment.policy needs 1 or 3 channels; the data have {channels}.")
    if dtype != np.uint8:
        raise UserError(
            f"config.augment.policy needs uint8 images; {dataset.name} has {dtype}. Remove it, or "
            "load images of 0 to 255 as uint8."
        )
