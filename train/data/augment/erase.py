"""Cutout and Random Erasing: set rectangles of images to a value, for any number of channels."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Num

from pit_jax.checks.bounds import POSITIVE, SHARE, Bound, each, one_of, set_bounds

from .basic import PIXELS

TRIES = 10  # As in torchvision: an image in which none of ten boxes fits stays unchanged.


def pair_of(bound: Bound) -> Bound:
    """Return a bound that allows a smallest and a largest value, which `bound` allows."""

    def check(name: str, value: Any) -> None:
        each(bound)(name, value)
        if len(value) != 2 or value[0] > value[1]:
            raise ValueError(f"{name} must be the smallest and the largest value, got {value}.")

    return check


@set_bounds(size=PIXELS)
def cutout(key: jax.Array, images: Num[Array, "B H W C"], *, size: int) -> Num[Array, "B H W C"]:
    """Set one square of each image to 0; its center is a random pixel, the border cuts it.

    Cutout (DeVries and Taylor 2017). The hole is black in pixels, and the mean in normalized
    images. It has `size // 2` pixels before its center, and as many from the center on.

    Args:
        size: the side of the square in pixels.
    """
    batch, height, width, _ = images.shape
    row_key, column_key = jax.random.split(key)
    row = jax.random.randint(row_key, (batch,), 0, height, dtype=jnp.int32)
    column = jax.random.randint(column_key, (batch,), 0, width, dtype=jnp.int32)
    half = size // 2
    hole = make_box_masks(row - half, row + half, column - half, column + half, height, width)
    return _erase(images, hole)


@set_bounds(
    probability=SHARE, fill=one_of("mean", "noise"), scale=pair_of(SHARE), ratio=pair_of(POSITIVE)
)
def random_erasing(
    key: jax.Array,
    images: Num[Array, "B H W C"],
    *,
    probability: float,
    fill: str = "mean",
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Num[Array, "B H W C"]:
    """Set a rectangle of each image to 0, which is the mean after normalization, or to noise.

    Random Erasing (Zhong et al. 2020) as in torchvision.

    Args:
        probability: the probability that an image is changed.
        fill: the new values: `mean`, or normal `noise` for every value, as in timm's mode "pixel".
        scale: the smallest and the largest area of the rectangle, as shares of the image.
        ratio: the smallest and the largest ratio of height to width, drawn log-uniformly.
    """
    batch, height, width, _ = images.shape
    chance_key, area_key, ratio_key, row_key, column_key, noise_key = jax.random.split(key, 6)

    def uniform(key: jax.Array, low: float, high: float) -> Array:
        return jax.random.uniform(key, (batch, TRIES), jnp.float32, low, high)

    area = height * width * uniform(area_key, *scale)
    aspect = jnp.exp(uniform(ratio_key, *(math.log(side) for side in ratio)))
    tall = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    wide = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    # All tries at once: shapes under jit are fixed, so argmax finds the first that fits.
    # Strictly smaller, as in torchvision.
    fits = (tall < height) & (wide < width)
    first = fits.argmax(axis=1)[:, None]
    tall, wide = (jnp.take_along_axis(each, first, axis=1)[:, 0] for each in (tall, wide))
    erased = jax.random.uniform(chance_key, (batch,), jnp.float32) < probability
    erased &= fits.any(axis=1)
    tall, wide = (jnp.where(erased, each, 0) for each in (tall, wide))
    top = jax.random.randint(row_key, (batch,), 0, height - tall + 1, dtype=jnp.int32)
    left = jax.random.randint(column_key, (batch,), 0, width - wide + 1, dtype=jnp.int32)
    box = make_box_masks(top, top + tall, left, left + wide, height, width)
    if fill == "noise":
        return _erase(images, box, jax.random.normal(noise_key, images.shape, jnp.float32))
    return _erase(images, box)


def make_box_masks(
    top: Array, bottom: Array, left: Array, right: Array, height: int, width: int
) -> Bool[Array, "B H W"]:
    """Return a mask of each image, true in rows [top, bottom) and columns [left, right)."""
    row = jnp.arange(height, dtype=jnp.int32)[None, :, None]
    column = jnp.arange(width, dtype=jnp.int32)[None, None, :]
    top, bottom, left, right = (each[:, None, None] for each in (top, bottom, left, right))
    return (top <= row) & (row < bottom) & (left <= column) & (column < right)


def _erase(images: Array, mask: Array, fill: Array | float = 0) -> Array:
    return jnp.where(mask[..., None], jnp.asarray(fill, images.dtype), images)
