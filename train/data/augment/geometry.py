"""Affine transforms in Pillow's fixed-point arithmetic, so that they take the same pixels.

A transform is six int32 in 1/65536 pixel: output pixel (x, y) takes the input at column
m0 x + m1 y + m2 and row m3 x + m4 y + m5. Pixels from outside the image get `fill`, a gray level or
one for each channel; the default 0 is torchvision's.
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
    """Return the transform that takes output (x, y) from input (a x + b y + c, d x + e y + f).

    In these coordinates pixel 0 reaches from 0 to 1, and its center is at a half.
    """
    # Pillow samples at pixel centers, (x + 1/2, y + 1/2), and rounds each coefficient half up to
    # 1/65536, after it has added the half pixel to the offsets.
    at_center = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    return np.array([math.floor(v * ONE + 0.5) for v in at_center], np.int32)


IDENTITY = affine(1, 0, 0, 0, 1, 0)


def rotation(degrees: float, height: int, width: int) -> np.ndarray:
    """Return the counterclockwise rotation about the center of the image."""
    # Pillow rounds to 15 digits, so that the cosine of 90 degrees is 0, not 6e-17.
    angle = -math.radians(degrees % 360.0)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return affine(cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)


def nearest(
    images: Num[Array, "B H W C"], matrix: Int32[Array, "B 6"], fill: Fill = 0
) -> Num[Array, "B H W C"]:
    """Transform each image by its own matrix; take the pixel that each sample falls into."""
    x, y, inside = _locate_samples(images, matrix)
    return _fill_outside(inside, _gather_pixels(images, y >> 16, x >> 16), fill)


def bilinear(
    images: Num[Array, "B H W C"], matrix: Int32[Array, "B 6"], fill: Fill = 0
) -> Num[Array, "B H W C"]:
    """Transform each image by its own matrix; interpolate the four pixels around each sample.

    Values are rounded down as in Pillow. Weights are multiples of 1/65536, Pillow's are float64,
    so results differ by at most one gray level, except for samples within rounding of the edge,
    which may be inside here and outside there.
    """
    height, width = images.shape[1:3]
    x, y, inside = _locate_samples(images, matrix)
    # Values belong to pixel centers, half a pixel from the corner that coordinates count from.
    x, y = x - ONE // 2, y - ONE // 2
    left, top = x >> 16, y >> 16

    def pixels(row: Array, column: Array) -> Array:
        row, column = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
        return _gather_pixels(images, row, column).astype(jnp.float32)

    def between(low: Array, high: Array, at: Array) -> Array:
        return low + (high - low) * ((at & (ONE - 1)).astype(jnp.float32) / ONE)[..., None]

    above = between(pixels(top, left), pixels(top, left + 1), x)
    below = between(pixels(top + 1, left), pixels(top + 1, left + 1), x)
    return _fill_outside(inside, between(above, below, y).astype(images.dtype), fill)


RESAMPLERS = {"nearest": nearest, "bilinear": bilinear}
"""How a policy reads a pixel between others, by name."""


def _locate_samples(images: Array, matrix: Array) -> tuple[Array, Array, Bool[Array, "B H W"]]:
    """Return x and y that each output pixel is taken from, in 1/65536, and a mask of the inside."""
    height, width = images.shape[1:3]
    m = [matrix[:, i, None, None] for i in range(6)]
    column = jnp.arange(width, dtype=jnp.int32)[None, None, :]
    row = jnp.arange(height, dtype=jnp.int32)[None, :, None]
    x = m[0] * column + m[1] * row + m[2]
    y = m[3] * column + m[4] * row + m[5]
    inside = (x >= 0) & (x < width * ONE) & (y >= 0) & (y < height * ONE)
    return x, y, inside


def _gather_pixels(images: Array, row: Array, column: Array) -> Array:
    height, width = images.shape[1:3]
    # Samples from outside are replaced later; the clip makes "promise_in_bounds" true for them too.
    place = jnp.clip(row * width + column, 0, height * width - 1)

    def pick(image: Array, place: Array) -> Array:
        return image.reshape(height * width, -1).at[place].get(mode="promise_in_bounds")

    return jax.vmap(pick)(images, place)


def _fill_outside(inside: Array, pixels: Array, fill: Fill) -> Array:
    outside = jnp.broadcast_to(jnp.array(fill, pixels.dtype), pixels.shape[-1:])
    return jnp.where(inside[..., None], pixels, outside[None, None, None])
