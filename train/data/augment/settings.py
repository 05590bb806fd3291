"""One operation on an image as a few numbers, which leave every other operation without effect.

So a policy is a table of settings. A batch in which each image has its own operation passes through
all operations once (operations.py), instead of through every branch of a switch.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .geometry import IDENTITY, affine, rotation


class Settings(NamedTuple):
    """The arguments of all stages of `operations.apply`; the defaults leave an image unchanged.

    In the order of the stages: `matrix` `[..., 6]` is a transform of geometry.py; `bits` is a mask
    of gray levels; levels of at least `threshold` are inverted; levels below 128 gain `gain`; the
    image is blended with `degenerate`, an index into `DEGENERATES`, by `factor` `[..., 2]`, the sum
    of two numbers; `table` is an index into `TABLES`, the lookup tables.
    """

    matrix: Any = IDENTITY
    bits: Any = np.int32(255)
    threshold: Any = np.int32(256)
    gain: Any = np.int32(0)
    degenerate: Any = np.int32(0)
    factor: Any = np.array([1, 0], np.float32)
    table: Any = np.int32(0)


DEGENERATES = ("black", "mean", "gray", "smooth")
TABLES = ("identity", "autocontrast", "equalize")


def make_setting(name: str, magnitude: float, height: int, width: int) -> Settings:
    """Return the settings of the operation `name` of `OPERATIONS` for images of this size."""
    return OPERATIONS[name](magnitude, height, width)


def _enhance(degenerate: str) -> Callable[[float, int, int], Settings]:
    """Return a factory of settings for Pillow's ImageEnhance with the factor 1 + magnitude."""

    def make(magnitude: float, height: int, width: int) -> Settings:
        del height, width
        factor = np.float32(1 + magnitude)
        # The upper 12 bits and the rest. A difference of gray levels has 8 bits, so its products
        # with both fit into the 24 bits of float32 and are exact. Their sum is rounded once, to the
        # product that Pillow computes, even if a compiler fuses multiplications and additions.
        coarse = np.round(factor * 2**11).astype(np.float32) / np.float32(2**11)
        return Settings(
            degenerate=np.int32(DEGENERATES.index(degenerate)),
            factor=np.array([coarse, factor - coarse], np.float32),
        )

    return make


# A transform maps output to input pixels, so a move to the right has a negative offset.
# Signs and units are torchvision's: a positive translation moves right or down, a positive rotation
# is counterclockwise, in degrees. Translations are truncated to whole pixels, slides are not.
OPERATIONS: dict[str, Callable[[float, int, int], Settings]] = {
    "identity": lambda m, h, w: Settings(),
    "shear_x": lambda m, h, w: Settings(matrix=affine(1, m, 0, 0, 1, 0)),
    "shear_y": lambda m, h, w: Settings(matrix=affine(1, 0, 0, m, 1, 0)),
    "translate_x": lambda m, h, w: Settings(matrix=affine(1, 0, -int(m), 0, 1, 0)),
    "translate_y": lambda m, h, w: Settings(matrix=affine(1, 0, 0, 0, 1, -int(m))),
    "slide_x": lambda m, h, w: Settings(matrix=affine(1, 0, -m, 0, 1, 0)),
    "slide_y": lambda m, h, w: Settings(matrix=affine(1, 0, 0, 0, 1, -m)),
    "rotate": lambda m, h, w: Settings(matrix=rotation(m, h, w)),
    "brightness": _enhance("black"),
    "contrast": _enhance("mean"),
    "color": _enhance("gray"),
    "sharpness": _enhance("smooth"),
    "posterize": lambda m, h, w: Settings(bits=np.int32(256 - 2 ** (8 - int(m)))),
    "solarize": lambda m, h, w: Settings(threshold=np.int32(math.ceil(m))),
    "solarize_add": lambda m, h, w: Settings(gain=np.int32(m)),
    "invert": lambda m, h, w: Settings(threshold=np.int32(0)),
    "autocontrast": lambda m, h, w: Settings(table=np.int32(TABLES.index("autocontrast"))),
    "equalize": lambda m, h, w: Settings(table=np.int32(TABLES.index("equalize"))),
}
SIGNED = frozenset(
    "shear_x shear_y translate_x translate_y slide_x slide_y rotate "
    "brightness color contrast sharpness".split()
)
