"""The inputs of exported files: uint8 pixels, which the file normalizes, or normalized floats."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from pit_jax.checks.arrays import read_array
from pit_jax.display import show_value
from pit_jax.inference import SpikingProgram
from pit_jax.inference.runtime.pixels import count_beyond, is_known, warn_of_clipped

PIXELS, NORMALIZED = "pixels", "normalized"
DTYPES = {PIXELS: "uint8", NORMALIZED: "float32"}


def choose_input(program: SpikingProgram, name: str | None) -> str:
    """Return the input of a file: `name`, or by default pixels if the program can normalize them.

    Raises ValueError for another name, and for pixels that the program cannot normalize.
    """
    if name not in (None, *DTYPES):
        raise ValueError(
            "input must be 'pixels', for uint8, or 'normalized', for floats as the network takes "
            f"them, got {show_value(name)}."
        )
    if program.normalization is None and name == PIXELS:
        raise ValueError(
            "the program was compiled without mean and std, so it cannot normalize pixels. Compile "
            "it with them, or export it with input='normalized'."
        )
    return name or (NORMALIZED if program.normalization is None else PIXELS)


def read_input(x: Any, shape: Sequence[int], dtype: str, largest: float | None) -> Any:
    """Return the input of a loaded file, whose samples have this shape.

    A file of float32 accepts floats of any width, and warns if over 1 % of them are beyond
    +-`largest`. Raises ValueError for another shape or type, and without any sample.
    """
    x = read_array("the input", x)
    if dtype == "float32" and jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(np.float32)
    # No other type is converted: as uint8, normalized floats would silently become 0 or 1, and as
    # floats, pixels would be far beyond the largest input.
    if [*x.shape[1:]] != [*shape] or x.dtype != dtype or not len(x):
        advice = ""
        if dtype == "uint8" and jnp.issubdtype(x.dtype, jnp.integer) and x.dtype != dtype:
            advice = ' Convert pixels with astype("uint8").'
        elif x.dtype != dtype:
            other = NORMALIZED if dtype == "uint8" else PIXELS
            advice = f" A file exported with input='{other}' takes {DTYPES[other]}."
        raise ValueError(
            f"the input must be [batch, {', '.join(map(str, shape))}] {dtype} with at least one "
            f"sample, got {x.shape} {x.dtype}.{advice}"
        )
    if largest is not None and dtype == "float32" and is_known(x):
        # The warning points at the line that called the loaded file.
        warn_of_clipped(count_beyond(x, largest), x.size, largest, stacklevel=3)
    return x
