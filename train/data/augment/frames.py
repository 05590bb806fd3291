"""Augmentation of event frames: all steps of a sample move together."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from pit_jax.checks.bounds import set_bounds, whole

from .basic import PIXELS, flip
from .geometry import nearest, rotation

Frames = Num[Array, "B T H W C"]


def flip_frames(key: jax.Array, frames: Frames) -> Frames:
    """Mirror each sample left to right with probability 1/2."""
    return _split_steps(flip(key, _merge_steps(frames)), frames)


@set_bounds(pixels=PIXELS)
def roll_frames(key: jax.Array, frames: Frames, *, pixels: int) -> Frames:
    """Roll each sample by up to `pixels` in both directions of both axes, with wrap-around.

    The augmentation of temporal efficient training (Deng et al. 2022), there with 5 pixels.

    Args:
        pixels: the largest shift in each direction.
    """
    down, right = jax.random.randint(key, (2, len(frames)), -pixels, pixels + 1, dtype=jnp.int32)
    return jax.vmap(lambda sample, *by: jnp.roll(sample, by, axis=(1, 2)))(frames, down, right)


@set_bounds(degrees=whole(0, 360))
def rotate_frames(key: jax.Array, frames: Frames, *, degrees: int = 15) -> Frames:
    """Rotate each sample by whole degrees from -degrees to degrees - 1, to the nearest pixel.

    The augmentation of the released CIFAR10-DVS code, there with 15 degrees. Nearest pixels keep
    counts whole.

    Args:
        degrees: the largest angle, a whole number; 0 leaves the samples as they are.
    """
    if degrees == 0:
        return frames
    height, width = frames.shape[2:4]
    turns = np.stack([rotation(angle, height, width) for angle in range(-degrees, degrees)])
    turn = jax.random.randint(key, (len(frames),), 0, len(turns), dtype=jnp.int32)
    return _split_steps(nearest(_merge_steps(frames), jnp.asarray(turns)[turn]), frames)


def _merge_steps(frames: Frames) -> Num[Array, "B H W TC"]:
    batch, steps, height, width, channels = frames.shape
    return jnp.moveaxis(frames, 1, 3).reshape(batch, height, width, steps * channels)


def _split_steps(images: Num[Array, "B H W TC"], frames: Frames) -> Frames:
    batch, steps, height, width, channels = frames.shape
    return jnp.moveaxis(images.reshape(batch, height, width, steps, channels), 3, 1)
