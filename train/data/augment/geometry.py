"""Affine transforms in Pillow's fixed-point arithmetic, so that they pick Pillow's very pixels.

A transform is six int32 in 1/65536 pixel: output pixel (x, y) takes the input at column
m0 x + m1 y + m2 and row m3 x + m4 y + m5. Outside the image is `fill`, a gray level or one for each
channel: 0 unless given, black, as in torchvision.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Num

ONE = 1 << 16
Fill = int | Sequence[int]


def affine(a: float, b: float, c: float, d: float, e: float, f: float) -> np.ndarray:
    """The transform that takes output (x, y) from input (a x + b y + c, d x + e y + f).

    In these coordinates pixel 0 reaches from 0 to 1, and its center is at a half.
    """
    at_center = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    return np.array([math.floor(v * ONE + 0.5) for v in at_center], np.int32)


IDENTITY = affine(1, 0, 0, 0, 1, 0)


def rotation(degrees: float, height: int, width: int) -> np.ndarray:
    """Counterclockwise about the center of the image, from Pillow's rounded cosine and sine."""
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return affine(cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)


def nearest(
    images: Num[Array, "B H W C"], matrix: Int32[Array, "B 6"], fill: Fill = 0
) -> Num[Array, "B H W C"]:
    """Each image through its own transform, by the pixel that each sample falls into."""
    x, y, inside = _samples(images, matrix)
    return _where(inside, _pixels(images, y >> 16, x >> 16), fill)


def bilinear(
    images: Num[Array, "B H W C"], matrix: Int32[Array, "B 6"], fill: Fill = 0
) -> Num[Array, "B H W C"]:
    """Each image through its own transform, by the four pixels around each sample.

    Integers are rounded down as in Pillow, from weights of 1/65536 where Pillow's are float64: at
    most one gray level apart, but for samples on the very edge of the image, inside or not.
    """
    height, width = images.shape[1:3]
    x, y, inside = _samples(images, matrix)
    x, y = x - ONE // 2, y - ONE // 2
    left, top = x >> 16, y >> 16

    def pixels(row: Array, column: Array) -> Array:
        row, column = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
        return _pixels(images, row, column).astype(jnp.float32)

    def between(low: Array, high: Array, at: Array) -> Array:
        return low + (high - low) * ((at & (ONE - 1)).astype(jnp.float32) / ONE)[..., None]

    above = between(pixels(top, left), pixels(top, left + 1), x)
    below = between(pixels(top + 1, left), pixels(top + 1, left + 1), x)
    return _where(inside, between(above, below, y).astype(images.dtype), fill)


RESAMPLERS = {"nearest": nearest, "bilinear": bilinear}


def _samples(images: Array, matrix: Array) -> tuple[Array, Array, Bool[Array, "B H W"]]:
    """Where each output pixel is taken from, in 1/65536, and whether that is inside."""
    height, width = images.shape[1:3]
    m = [matrix[:, i, None, None] for i in range(6)]
    column = jnp.arange(width, dtype=jnp.int32)[None, None, :]
    row = jnp.arange(height, dtype=jnp.int32)[None, :, None]
    x = m[0] * column + m[1] * row + m[2]
    y = m[3] * column + m[4] * row + m[5]
    inside = (x >= 0) & (x < width * ONE) & (y >= 0) & (y < height * ONE)
    return x, y, inside


def _pixels(images: Array, row: Array, column: Array) -> Array:
    height, width = images.shape[1:3]
    place = jnp.clip(row * width + column, 0, height * width - 1)

    def pick(image: Array, place: Array) -> Array:
        return image.reshape(height * width, -1).at[place].get(mode="promise_in_bounds")

    return jax.vmap(pick)(images, place)


def _where(inside: Array, pixels: Array, fill: Fill) -> Array:
    outside = jnp.broadcast_to(jnp.array(fill, pixels.dtype), pixels.shape[-1:])
    return jnp.where(inside[..., None], pixels, outside[None, None, None])
