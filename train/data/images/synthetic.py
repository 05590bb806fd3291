"""Generated images of any shape that a network can learn, for tests and first experiments."""

import math
import os

import numpy as np

from ...errors import UserError
from ..dataset import ArraySplit, Dataset, check_memory

# Waves per side; contrast of the templates and of the noise, as shares of the pixel range.
WAVES, CONTRAST, NOISE = 4, 0.16, 0.12


def synthetic(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    shape: tuple[int, int, int] = (8, 8, 1),
    num_classes: int = 10,
    num_train: int = 512,
    num_test: int = 128,
    seed: int = 0,
) -> Dataset:
    """Return images `N *shape`: a smooth random template for each class, plus noise for each image.

    The same arguments give the same pixels; `num_train` changes no test image, and `num_test` no
    training image. Nothing is read from `data_dir`. Raises `UserError` for a size below 1 or a
    seed below 0.

    Args:
        shape: height, width and channels of an image.
        num_classes: the number of classes.
        num_train: the number of training images.
        num_test: the number of test images.
        seed: the seed of the templates and the noise.
    """
    axes = tuple(shape) if isinstance(shape, tuple | list) else ()
    sizes = (*axes, num_classes, num_train, num_test)
    whole = all(type(n) is int for n in (*sizes, seed))  # True is not a size.
    if len(axes) != 3 or not whole or min(sizes) < 1 or seed < 0:
        raise UserError(
            "synthetic needs a shape (H, W, C), sizes of at least 1 and a seed of at least 0, "
            f"got {shape=}, {num_classes=}, {num_train=}, {num_test=}, {seed=}."
        )
    pixels = math.prod(axes) * (num_train + num_test + num_classes)
    check_memory(4 * pixels, "synthetic images of this shape and number")
    # A generator for each part, so that the size of one changes no pixel of another.
    templates = _make_templates(np.random.default_rng([seed, 0]), num_classes, axes)
    channels = axes[2]
    return Dataset(
        name="synthetic",
        train=_make_split(np.random.default_rng([seed, 1]), templates, num_train),
        test=_make_split(np.random.default_rng([seed, 2]), templates, num_test),
        num_classes=num_classes,
        mean=(0.5,) * channels,
        std=(float(np.hypot(CONTRAST, NOISE)),) * channels,
    )


def _make_templates(
    rng: np.random.Generator, num_classes: int, shape: tuple[int, ...]
) -> np.ndarray:
    height, width, channels = shape
    weights = rng.normal(scale=1 / WAVES, size=(num_classes, WAVES, WAVES, channels))
    return np.einsum("kijc,ih,jw->khwc", weights, _make_cosines(height), _make_cosines(width))


def _make_cosines(size: int) -> np.ndarray:
    """Return the WAVES lowest cosines, each with mean square near 1, `[WAVES, size]`."""
    x = (np.arange(size) + 0.5) / size
    return np.stack([np.ones(size)] + [2**0.5 * np.cos(np.pi * i * x) for i in range(1, WAVES)])


def _make_split(rng: np.random.Generator, templates: np.ndarray, count: int) -> ArraySplit:
    labels = rng.permutation(np.arange(count, dtype=np.int32) % len(templates))
    noise = rng.standard_normal((count, *templates.shape[1:]), dtype=np.float32)
    pixels = 0.5 + CONTRAST * templates[labels] + NOISE * noise
    return ArraySplit(np.clip(np.rint(255 * pixels), 0, 255).astype(np.uint8), labels)
