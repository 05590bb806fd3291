"""Pillow's operations on batches of uint8 images, each image with its own setting, to the bit.

Integers wherever Pillow has integers; where it has floats, sums and products that no compiler can
round in another way. Tested against Pillow for x86-64.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, UInt8

from .geometry import Fill, nearest
from .settings import DEGENERATES, TABLES, Settings

Images = UInt8[Array, "B H W C"]
PerImage = Int32[Array, " B"]
Tables = UInt8[Array, "B C 256"]
LEVELS = 256


def apply(
    images: Images,
    settings: Settings,
    resample: Callable[[Array, Array, Fill], Array] = nearest,
    fill: Fill = 0,
) -> Images:
    """Each image through its own setting; `resample` and `fill` are those of geometry.py.

    Raises `ValueError` unless the images are uint8 with one channel or three.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "policies need uint8 images [B, H, W, C] with 1 or 3 channels, got "
            f"{images.dtype} of shape {images.shape}."
        )
    images = resample(images, settings.matrix, fill)
    images = posterize(images, settings.bits)
    images = solarize(images, settings.threshold)
    images = solarize_add(images, settings.gain)
    images = enhance(images, settings.degenerate, settings.factor)
    return look_up(images, tables(images, settings.table))


def posterize(images: Images, bits: PerImage) -> Images:
    """Gray levels with the bits that are 0 in the mask `bits` cleared."""
    return images & _add_image_axes(bits.astype(jnp.uint8))


def solarize(images: Images, threshold: PerImage) -> Images:
    """Gray levels inverted from `threshold` on; 0 inverts the image, 256 nothing."""
    return jnp.where(images.astype(jnp.int32) < _add_image_axes(threshold), images, 255 - images)


def solarize_add(images: Images, gain: PerImage) -> Images:
    """Gray levels below 128 with `gain` more, at most 255."""
    levels = images.astype(jnp.int32)
    gained = jnp.minimum(levels + _add_image_axes(gain), 255)
    return jnp.where(levels < 128, gained, levels).astype(jnp.uint8)


def enhance(images: Images, degenerate: PerImage, factor: Float32[Array, "B 2"]) -> Images:
    """degenerate + factor * (image - degenerate), cut to 0..255 and rounded down.

    `degenerate` chooses black (brightness), the mean gray (contrast), the image in gray (color) or
    smoothed (sharpness). `factor` is given as a sum of two; see settings.py.
    """
    luma = gray(images)
    low = jnp.zeros_like(images)
    for name, other in (("mean", mean(luma)), ("gray", luma), ("smooth", smooth(images))):
        low = jnp.where(_add_image_axes(degenerate == DEGENERATES.index(name)), other, low)
    low, high = low.astype(jnp.float32), images.astype(jnp.float32)
    coarse, fine = _add_image_axes(factor[:, 0]), _add_image_axes(factor[:, 1])
    product = (high - low) * coarse + (high - low) * fine
    return jnp.clip(low + product, 0, 255).astype(jnp.uint8)


def gray(images: Images) -> UInt8[Array, "B H W 1"]:
    """Pillow's luma of three channels; one channel as it is."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = (images[..., i : i + 1].astype(jnp.int32) for i in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(jnp.uint8)


def mean(luma: UInt8[Array, "B H W 1"]) -> UInt8[Array, "B 1 1 1"]:
    """The mean gray level of each image, rounded half up."""
    pixels = luma.shape[1] * luma.shape[2]
    total = luma.astype(jnp.int32).sum(axis=(1, 2, 3), keepdims=True, dtype=jnp.int32)
    return ((2 * total + pixels) // (2 * pixels)).astype(jnp.uint8)


def smooth(images: Images) -> Images:
    """Pillow's SMOOTH: the 3x3 mean with the center five times; the border stays as it is."""
    wide = images.astype(jnp.int32)
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * wide[:, 1:-1, 1:-1]
    inner = ((2 * total + 13) // 26).astype(jnp.uint8)
    return images.at[:, 1:-1, 1:-1].set(inner)


def tables(images: Images, chosen: PerImage) -> Tables:
    """For each image and channel the gray levels to look up, by its index into `TABLES`."""
    out = jnp.broadcast_to(
        jnp.arange(LEVELS, dtype=jnp.uint8), (len(images), images.shape[-1], LEVELS)
    )
    for name, table in (("autocontrast", autocontrast_table), ("equalize", equalize_table)):
        out = jnp.where((chosen == TABLES.index(name))[:, None, None], table(images), out)
    return out


def look_up(images: Images, table: Tables) -> Images:
    """Every pixel through the table of its image and channel."""

    def pick(table: Array, plane: Array) -> Array:
        return table.at[plane.astype(jnp.int32)].get(mode="promise_in_bounds")

    return jax.vmap(jax.vmap(pick, (0, 2), 2))(table, images)


def autocontrast_table(images: Images) -> Tables:
    """Stretches each channel to 0..255; a channel of one level stays as it is."""
    low = images.min(axis=(1, 2)).astype(jnp.int32)[..., None]
    high = images.max(axis=(1, 2)).astype(jnp.int32)[..., None]
    level = jnp.arange(LEVELS, dtype=jnp.int32)[None, None, :]
    over, span = 255 * (level - low), jnp.maximum(high - low, 1)
    value = over // span
    short = jnp.asarray(_find_short_levels())[low, high] >> jnp.clip(value // 15, 0, 31) & 1
    value = value - jnp.where(value * span == over, short, 0)
    stretched = jnp.clip(value, 0, 255)
    return jnp.where(high > low, stretched, level).astype(jnp.uint8)


def equalize_table(images: Images) -> Tables:
    """Flattens each channel's histogram; a channel of few pixels or one level stays as it is."""
    counts = histogram(images)
    level = jnp.arange(LEVELS, dtype=jnp.int32)[None, None, :]
    high = images.max(axis=(1, 2)).astype(jnp.int32)[..., None]
    pixels = images.shape[1] * images.shape[2]
    last = jnp.take_along_axis(counts, high, axis=-1)
    step = (pixels - last) // 255
    before = jnp.cumsum(counts, axis=-1, dtype=jnp.int32) - counts
    value = jnp.minimum((before + step // 2) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, value, level).astype(jnp.uint8)


def histogram(images: Images) -> Int32[Array, "B C 256"]:
    """How many pixels of each gray level every channel has."""

    def count(plane: Array) -> Array:
        return jnp.zeros(LEVELS, jnp.int32).at[plane.astype(jnp.int32)].add(1)

    return jax.vmap(jax.vmap(count, 2))(images)


@lru_cache
def _find_short_levels() -> np.ndarray:
    """Return where Pillow's autocontrast is one level short, as bits [low, high].

    It computes level * scale + offset in float64 and rounds down, so some values that should be
    whole come out one lower, even 254 for the brightest pixel. The whole values that can are
    multiples of 15 or of 17, so value // 15 tells them apart: it is the number of the bit.
    """
    bits = np.zeros((LEVELS, LEVELS), np.uint32)
    low, high = np.meshgrid(np.arange(LEVELS), np.arange(LEVELS), indexing="ij")
    span = np.maximum(high - low, 1)
    scale = 255.0 / span
    for value in sorted({*range(15, 256, 15), *range(17, 256, 17)}):
        whole = (high > low) & (value * span % 255 == 0)
        got = (low + value * span // 255) * scale + -low * scale
        bits |= (whole & (got.astype(int) < value)).astype(np.uint32) << np.uint32(value // 15)
    return bits.astype(np.int32)


def _add_image_axes(values: Array) -> Array:
    return values[:, None, None, None]
