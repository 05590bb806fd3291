"""Pillow's operations on batches of uint8 images, bit for bit, each image with its own settings.

Where Pillow computes with integers, so does this. Where it computes with floats, sums and products
here are exact or built such that no compiler can round them differently (settings.py). Tested
against Pillow for x86-64.
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
Counts = Int32[Array, "B C 256"]
LEVELS = 256


def apply(
    images: Images,
    settings: Settings,
    resample: Callable[[Array, Array, Fill], Array] = nearest,
    fill: Fill = 0,
) -> Images:
    """Apply its own settings to each image; for `resample` and `fill` see geometry.py.

    Raises `ValueError` unless the images are uint8 with one channel or three.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "policies need uint8 images [B, H, W, C] with 1 or 3 channels, got "
            f"{images.dtype} of shape {images.shape}."
        )
    # Every image passes through every stage: a switch under vmap would compute all branches anyway.
    # With its default settings, a stage returns its input.
    images = resample(images, settings.matrix, fill)
    images = look_up(images, build_level_tables(images, settings))
    images = enhance(images, settings.degenerate, settings.factor)
    return look_up(images, build_tables(images, settings.table))


def build_level_tables(images: Images, settings: Settings) -> Tables:
    """Return the stages that map each gray level by itself, as tables for `look_up`.

    XLA computes sums and products again for every pixel that reads them, and `smooth` reads each
    pixel nine times. It computes a lookup once.
    """
    levels = jnp.arange(LEVELS, dtype=jnp.uint8)[None, None, :, None]
    levels = jnp.broadcast_to(levels, (len(images), 1, LEVELS, 1))
    levels = posterize(levels, settings.bits)
    levels = solarize(levels, settings.threshold)
    levels = solarize_add(levels, settings.gain)
    return jnp.broadcast_to(levels[..., 0], (len(images), images.shape[-1], LEVELS))


def posterize(images: Images, bits: PerImage) -> Images:
    """Clear the bits of gray levels that are 0 in the mask `bits`."""
    return images & _add_image_axes(bits.astype(jnp.uint8))


def solarize(images: Images, threshold: PerImage) -> Images:
    """Invert gray levels of at least `threshold`; 0 inverts the whole image, 256 nothing."""
    return jnp.where(images.astype(jnp.int32) < _add_image_axes(threshold), images, 255 - images)


def solarize_add(images: Images, gain: PerImage) -> Images:
    """Add `gain` to gray levels below 128, up to 255."""
    levels = images.astype(jnp.int32)
    gained = jnp.minimum(levels + _add_image_axes(gain), 255)
    return jnp.where(levels < 128, gained, levels).astype(jnp.uint8)


def enhance(images: Images, degenerate: PerImage, factor: Float32[Array, "B 2"]) -> Images:
    """Return degenerate + factor * (image - degenerate), clipped to 0..255 and rounded down.

    `degenerate` selects black (brightness), the mean gray (contrast), the gray image (color) or the
    smoothed image (sharpness). `factor` is the sum of two numbers; see settings.py.
    """
    luma = gray(images)
    low = jnp.zeros_like(images)
    for name, other in (("mean", mean(luma)), ("gray", luma), ("smooth", smooth(images))):
        low = jnp.where(_add_image_axes(degenerate == DEGENERATES.index(name)), other, low)
    low, high = low.astype(jnp.float32), images.astype(jnp.float32)
    coarse, fine = _add_image_axes(factor[:, 0]), _add_image_axes(factor[:, 1])
    # Pillow blends in float32: low + (high - low) * factor. Both products below are exact, so their
    # sum is rounded once, as Pillow's product is, with and without a fused multiply-add.
    product = (high - low) * coarse + (high - low) * fine
    return jnp.clip(low + product, 0, 255).astype(jnp.uint8)


def gray(images: Images) -> UInt8[Array, "B H W 1"]:
    """Return Pillow's luma of three channels; one channel stays as it is."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = (images[..., i : i + 1].astype(jnp.int32) for i in range(3))
    # 0.299, 0.587 and 0.114 in 1/65536, rounded half up.
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(jnp.uint8)


def mean(luma: UInt8[Array, "B H W 1"]) -> UInt8[Array, "B 1 1 1"]:
    """Return the mean gray level of each image, rounded half up."""
    pixels = luma.shape[1] * luma.shape[2]
    total = luma.astype(jnp.int32).sum(axis=(1, 2, 3), keepdims=True, dtype=jnp.int32)
    return ((2 * total + pixels) // (2 * pixels)).astype(jnp.uint8)


def smooth(images: Images) -> Images:
    """Return Pillow's SMOOTH: a 3x3 mean whose center counts five times; borders stay."""
    wide = images.astype(jnp.int32)
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * wide[:, 1:-1, 1:-1]
    # Nine weights with the sum 13: total / 13, rounded half up.
    inner = ((2 * total + 13) // 26).astype(jnp.uint8)
    return images.at[:, 1:-1, 1:-1].set(inner)


def build_tables(images: Images, index: PerImage) -> Tables:
    """Return a lookup table for each image and channel, by the image's index into `TABLES`."""
    # All from the histogram: XLA computes the stage before again for each reader of the images, and
    # minima and maxima would be four more readers.
    counts = histogram(images)
    out = jnp.broadcast_to(jnp.arange(LEVELS, dtype=jnp.uint8), counts.shape)
    for name, table in (("autocontrast", autocontrast_table), ("equalize", equalize_table)):
        out = jnp.where((index == TABLES.index(name))[:, None, None], table(counts), out)
    return out


def look_up(images: Images, table: Tables) -> Images:
    """Map every pixel through the table of its image and channel."""

    # A gray level is always in bounds, so no clamping is compiled.
    def pick(table: Array, plane: Array) -> Array:
        return table.at[plane.astype(jnp.int32)].get(mode="promise_in_bounds")

    return jax.vmap(jax.vmap(pick, (0, 2), 2))(table, images)


def autocontrast_table(counts: Counts) -> Tables:
    """Return tables that stretch each channel to 0..255; a channel of one level stays."""
    low, high = find_range(counts)
    level = jnp.arange(LEVELS, dtype=jnp.int32)[None, None, :]
    over, span = 255 * (level - low), jnp.maximum(high - low, 1)
    value = over // span
    # Exact division, then one less where Pillow's float64 falls short of a whole number.
    short = jnp.asarray(_find_short_levels())[low, high] >> jnp.clip(value // 15, 0, 31) & 1
    value = value - jnp.where(value * span == over, short, 0)
    stretched = jnp.clip(value, 0, 255)
    return jnp.where(high > low, stretched, level).astype(jnp.uint8)


def equalize_table(counts: Counts) -> Tables:
    """Return tables that flatten the histogram of each channel.

    A channel of one level, or of too few pixels for 255 steps, stays as it is, as in Pillow.
    """
    level = jnp.arange(LEVELS, dtype=jnp.int32)[None, None, :]
    last = jnp.take_along_axis(counts, find_range(counts)[1], axis=-1)
    pixels = counts.sum(-1, keepdims=True, dtype=jnp.int32)
    step = (pixels - last) // 255
    # Level v becomes (step // 2 + the pixels below v) // step.
    before = jnp.cumsum(counts, axis=-1, dtype=jnp.int32) - counts
    value = jnp.minimum((before + step // 2) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, value, level).astype(jnp.uint8)


def find_range(counts: Counts) -> tuple[Int32[Array, "B C 1"], Int32[Array, "B C 1"]]:
    """Return the lowest and the highest gray level of each channel."""
    found = counts > 0
    low = jnp.argmax(found, axis=-1, keepdims=True)
    high = LEVELS - 1 - jnp.argmax(found[..., ::-1], axis=-1, keepdims=True)
    return low.astype(jnp.int32), high.astype(jnp.int32)


def histogram(images: Images) -> Counts:
    """Return the number of pixels of each gray level in every channel."""

    def count(plane: Array) -> Array:
        return jnp.zeros(LEVELS, jnp.int32).at[plane.astype(jnp.int32)].add(1)

    return jax.vmap(jax.vmap(count, 2))(images)


@lru_cache
def _find_short_levels() -> np.ndarray:
    """Return the levels at which Pillow's autocontrast is one too low, as bits `[low, high]`.

    Pillow computes level * scale + offset in float64 and rounds down, so some values that should be
    whole come out one lower, even 254 for the brightest pixel. Only multiples of 15 or of 17 do.
    For one pair of low and high, value // 15 differs for each of these, so it numbers the bits.
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
