"""The smallest program of color images."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from pit_jax import inference
from pit_jax.neurons import PIT


class Colors(nn.Module):
    """A network of three classes with one layer of four neurons."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = PIT(levels=2)(nn.Dense(4)(x.reshape(len(x), 1, -1)))
        return nn.Dense(3)(x)


def compile_colors(images: np.ndarray) -> inference.SpikingProgram:
    """Return a program with random weights for uint8 `images` `[B, H, W, 3]`."""
    half = (0.5, 0.5, 0.5)
    floats = (images / 255 - 0.5).astype(np.float32) / 0.5
    variables = Colors().init(jax.random.key(0), floats)
    return inference.compile(Colors(), variables, images, mean=half, std=half)
