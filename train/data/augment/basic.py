"""Crop, mirror and normalize images, the first and last stages of every recipe."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num, UInt8

from pit_jax.checks.bounds import set_bounds, whole

# Larger than any image that fits into a batch.
PIXELS = whole(0, 2**15)


@set_bounds(pad=PIXELS)
def pad_crop(key: jax.Array, images: Num[Array, "B H W C"], *, pad: int) -> Num[Array, "B H W C"]:
    """Pad each image with `pad` zeros on each side and cut a window of its old size at random.

    Raises `ValueError` for a negative `pad`.

    Args:
        pad: pixels of zeros on each side; 0 leaves the images as they are.
    """
    batch, *size = images.shape
    # An explicit int32: with x64 the default is int64, whose draws differ.
    rows, columns = jax.random.randint(key, (2, batch), 0, 2 * pad + 1, dtype=jnp.int32)
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def cut(image: Array, row: Array, column: Array) -> Array:
        return jax.lax.dynamic_slice(image, (row, column, jnp.int32(0)), size)

    return jax.vmap(cut)(padded, rows, columns)


def flip(key: jax.Array, images: Num[Array, "B H W C"]) -> Num[Array, "B H W C"]:
    """Mirror each image left to right with probability 1/2."""
    # Bits, not bernoulli, whose draws depend on x64.
    mirrored = jax.random.bits(key, (len(images), 1, 1, 1), jnp.uint8) % 2 == 0
    return jnp.where(mirrored, images[:, :, ::-1], images)


def normalize(
    images: UInt8[Array, "B H W C"],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: DTypeLike | None = None,
) -> Float[Array, "B H W C"]:
    """Return (x / 255 - mean) / std per channel, computed in float32 at least, as `dtype`.

    `dtype` None is float32, or float64 under x64.

    Raises `ValueError` unless the images are uint8 with one mean and one std per channel.
    """
    if images.dtype != jnp.uint8 or not len(mean) == len(std) == images.shape[-1]:
        raise ValueError(
            "normalize needs uint8 images with one mean and one std per channel, got "
            f"{images.dtype} images of shape {images.shape}, {len(mean)} means, {len(std)} stds."
        )
    dtype = jnp.result_type(float) if dtype is None else dtype
    # Computed in float32 even for bfloat16, whose 8 bits would round x / 255 and then the result.
    wide = jnp.promote_types(dtype, jnp.float32)
    means, stds = (jnp.asarray(values, wide).reshape(1, 1, 1, -1) for values in (mean, std))
    return ((images.astype(wide) / 255 - means) / stds).astype(dtype)
