"""Learned and random policies: draw the operations of each image of a batch, and apply them.

Magnitudes, signs and probabilities are torchvision's, whose table for CIFAR is the paper's.
`rand_augment_increasing` has timm's. Every policy is a function `(key, images) -> images` of
uint8 images with one channel or three; `resample` is a name of `RESAMPLERS`, `fill` the color of
pixels from outside the image.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from pit_jax.checks.bounds import NOT_NEGATIVE, SHARE, between, one_of, set_bounds, whole

from .geometry import RESAMPLERS, Fill
from .operations import apply
from .settings import SIGNED, Settings, make_setting

Images = UInt8[Array, "B H W C"]
Space = dict[str, np.ndarray]

# Cubuk et al. 2019 (arXiv 1805.09501), appendix, the table for CIFAR-10: two operations in a row,
# with their probabilities and magnitudes, 0 to 9. None is for operations without a magnitude.
CIFAR_TABLE: tuple[tuple[tuple[str, float, int | None], ...], ...] = (
    (("invert", 0.1, None), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, None), ("equalize", 0.9, None)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, None), ("equalize", 0.5, None)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, None), ("autocontrast", 0.4, None)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, None)),
    (("equalize", 0.2, None), ("autocontrast", 0.6, None)),
    (("equalize", 0.2, None), ("equalize", 0.6, None)),
    (("color", 0.9, 9), ("equalize", 0.6, None)),
    (("autocontrast", 0.8, None), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, None)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, None), ("solarize", 0.8, 3)),
    (("equalize", 0.8, None), ("invert", 0.1, None)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, None)),
)
BINS = 31  # The number of magnitudes of the random policies.
TENTHS = 101  # timm's: 0, 0.1, ... 10.
SIDES = (1, -1)
RESAMPLE = one_of(*RESAMPLERS)


@set_bounds(resample=RESAMPLE)
def auto_augment(
    key: jax.Array, images: Images, *, resample: str = "nearest", fill: Fill = 0
) -> Images:
    """Apply a random row of `CIFAR_TABLE` to each image: two operations, each with its probability.

    AutoAugment (Cubuk et al. 2019).

    Args:
        resample: how pixels are moved: `nearest` or `bilinear`.
        fill: the color of empty pixels: a gray level, or one for each channel.
    """
    size = images.shape[1:3]
    space = narrow_space(10, *size)
    # [row, first or second operation, positive, negative or not applied]
    table = _stack(
        _stack(
            _stack([*_set_both_signs(name, space[name][bin or 0], *size), Settings()])
            for name, _, bin in row
        )
        for row in CIFAR_TABLE
    )
    probability = jnp.array([[p for _, p, _ in row] for row in CIFAR_TABLE], jnp.float32)
    row_key, chance_key, sign_key = jax.random.split(key, 3)
    row = _draw_integers(row_key, (len(images),), len(CIFAR_TABLE))
    chance = jax.random.uniform(chance_key, (len(images), 2), jnp.float32)
    sign = _draw_integers(sign_key, (len(images), 2), len(SIDES))
    # Index 2 of the last axis is the identity, for an operation that is not applied.
    which = jnp.where(chance < probability[row], sign, len(SIDES))
    for i in range(2):
        images = apply(images, _take(table, row, i, which[:, i]), RESAMPLERS[resample], fill)
    return images


@set_bounds(resample=RESAMPLE)
def trivial_augment_wide(
    key: jax.Array, images: Images, *, resample: str = "nearest", fill: Fill = 0
) -> Images:
    """Apply a random operation of `wide_space` at a random magnitude to each image.

    TrivialAugment (Müller and Hutter 2021), wide.

    Args:
        resample: how pixels are moved: `nearest` or `bilinear`.
        fill: the color of empty pixels: a gray level, or one for each channel.
    """
    table = _build_table(wide_space(BINS), *images.shape[1:3])
    return apply(images, _draw(key, table, len(images)), RESAMPLERS[resample], fill)


@set_bounds(num_ops=whole(1), magnitude=whole(0, BINS - 1), resample=RESAMPLE)
def rand_augment(
    key: jax.Array,
    images: Images,
    *,
    num_ops: int = 2,
    magnitude: int = 9,
    resample: str = "nearest",
    fill: Fill = 0,
) -> Images:
    """Apply `num_ops` random operations to each image in sequence, all at `magnitude`.

    RandAugment (Cubuk et al. 2020).

    Args:
        num_ops: the number of operations.
        magnitude: the magnitude of all operations, 0 to 30.
        resample: how pixels are moved: `nearest` or `bilinear`.
        fill: the color of empty pixels: a gray level, or one for each channel.
    """
    space = narrow_space(BINS, *images.shape[1:3])
    table = _build_table(
        # Unlike AutoAugment's, RandAugment's 14 operations do not include inversion.
        {name: at[[magnitude]] for name, at in space.items() if name != "invert"},
        *images.shape[1:3],
    )
    for operation_key in jax.random.split(key, num_ops):
        drawn = _draw(operation_key, table, len(images))
        images = apply(images, drawn, RESAMPLERS[resample], fill)
    return images


@set_bounds(
    num_ops=whole(1),
    magnitude=between(0, (TENTHS - 1) // 10),
    deviation=NOT_NEGATIVE,
    probability=SHARE,
    resample=RESAMPLE,
)
def rand_augment_increasing(
    key: jax.Array,
    images: Images,
    *,
    num_ops: int = 2,
    magnitude: int = 9,
    deviation: float = 0.5,
    probability: float = 0.5,
    resample: str = "bilinear",
    fill: Fill = 0,
) -> Images:
    """Apply `num_ops` random operations with `probability`, each at its own random magnitude.

    timm's RandAugment, "rand-m9-mstd0.5-inc1".

    Args:
        num_ops: the number of operations.
        magnitude: the mean of the magnitudes, 0 to 10.
        deviation: the standard deviation of the magnitudes, which are clipped to 0..10 and rounded
            to tenths.
        probability: the probability that an operation is applied.
        resample: how pixels are moved: `nearest` or `bilinear`.
        fill: the color of empty pixels: a gray level, or one for each channel.
    """
    size = images.shape[1:3]
    space = increasing_space(*size)
    rest = {"identity": np.zeros(TENTHS)}  # The last row, for operations that are not applied.
    table = _build_table(space | rest, *size)
    for operation_key in jax.random.split(key, num_ops):
        name_key, chance_key, bin_key, sign_key = jax.random.split(operation_key, 4)
        chance = jax.random.uniform(chance_key, (len(images),), jnp.float32)
        name = _draw_integers(name_key, (len(images),), len(space))
        name = jnp.where(chance < probability, name, len(space))
        normal = jax.random.normal(bin_key, (len(images),), jnp.float32)
        # timm draws floats; whole tenths keep all settings in a table that is computed once.
        tenths = jnp.round(10 * (magnitude + deviation * normal)).astype(jnp.int32)
        sign = _draw_integers(sign_key, (len(images),), len(SIDES))
        drawn = _take(table, name, jnp.clip(tenths, 0, TENTHS - 1), sign)
        images = apply(images, drawn, RESAMPLERS[resample], fill)
    return images


POLICIES: dict[str, Callable[..., Images]] = {
    "autoaugment": auto_augment,
    "trivial": trivial_augment_wide,
    "rand": rand_augment,
    "rand_increasing": rand_augment_increasing,
}
"""The policies by name, as `config.augment.policy` chooses them."""


def narrow_space(bins: int, height: int, width: int) -> Space:
    """Return the magnitudes of AutoAugment and RandAugment, `[bins]` for each operation."""
    return _interpolate_space(
        bins,
        shear=0.3,
        # The published range is 150 pixels, for images of 331 pixels.
        translate_x=150 / 331 * width,
        translate_y=150 / 331 * height,
        rotate=30,
        enhance=0.9,
        bits_lost=4,
    ) | {"invert": np.zeros(bins)}


def wide_space(bins: int) -> Space:
    """Return the magnitudes of TrivialAugment, `[bins]` for each operation."""
    return _interpolate_space(
        bins,
        shear=0.99,
        translate_x=32,
        translate_y=32,
        rotate=135,
        enhance=0.99,
        bits_lost=6,
    )


def increasing_space(height: int, width: int) -> Space:
    """Return the magnitudes of timm's RandAugment at 0, 0.1, ... 10, `[101]` for each operation."""
    level = np.arange(TENTHS) / 10
    none = np.zeros(TENTHS)
    return {
        "autocontrast": none,
        "equalize": none,
        "invert": none,
        "rotate": level / 10 * 30,
        "posterize": 4 - np.trunc(level / 10 * 4),
        "solarize": 256 - np.trunc(level / 10 * 256),
        "solarize_add": np.trunc(level / 10 * 110),
        **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), level / 10 * 0.9),
        "shear_x": level / 10 * 0.3,
        "shear_y": level / 10 * 0.3,
        "slide_x": level / 10 * 0.45 * width,
        "slide_y": level / 10 * 0.45 * height,
    }


def _interpolate_space(
    bins: int,
    *,
    shear: float,
    translate_x: float,
    translate_y: float,
    rotate: float,
    enhance: float,
    bits_lost: int,
) -> Space:
    """Return magnitudes from none to the given ones; operations without magnitude have zeros."""
    largest = {"identity": 0, "shear_x": shear, "shear_y": shear}
    largest |= {"translate_x": translate_x, "translate_y": translate_y, "rotate": rotate}
    largest |= dict.fromkeys(("brightness", "color", "contrast", "sharpness"), enhance)
    largest |= dict.fromkeys(("autocontrast", "equalize"), 0)
    return {name: np.linspace(0, most, bins) for name, most in largest.items()} | {
        # Bits to keep and thresholds fall as magnitudes grow.
        "posterize": 8 - np.round(np.linspace(0, bits_lost, bins)),
        "solarize": np.linspace(255, 0, bins),
    }


def _build_table(space: Space, height: int, width: int) -> Settings:
    """Return the settings `[operation, bin, sign]` of a space."""
    return _stack(
        _stack(_stack(_set_both_signs(name, magnitude, height, width)) for magnitude in magnitudes)
        for name, magnitudes in space.items()
    )


def _set_both_signs(name: str, magnitude: float, height: int, width: int) -> list[Settings]:
    # Operations without a sign have two equal entries, so that all rows have the same shape.
    signs = SIDES if name in SIGNED else (1, 1)
    return [make_setting(name, sign * float(magnitude), height, width) for sign in signs]


def _draw(key: jax.Array, table: Settings, batch: int) -> Settings:
    """Draw settings from a table for each image, all equally likely."""
    drawn = zip(jax.random.split(key, 3), table.bits.shape, strict=True)
    return _take(table, *(_draw_integers(each, (batch,), below) for each, below in drawn))


def _draw_integers(key: jax.Array, shape: tuple[int, ...], below: int) -> jax.Array:
    # An explicit int32: with x64 the default is int64, whose draws differ.
    return jax.random.randint(key, shape, 0, below, dtype=jnp.int32)


def _stack(settings: Iterable[Settings]) -> Settings:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *settings)


def _take(table: Settings, *index: jax.Array | int) -> Settings:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], table)
