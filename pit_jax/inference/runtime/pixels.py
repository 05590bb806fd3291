"""Read the input of a program: uint8 pixels, or floats as the network takes them.

A byte has 256 values, so its normalization is a table, computed once in NumPy. A compiler may
contract or reorder the floating-point operations of `(x / 255 - mean) / std`. A value halfway
between two integers of the grid would then round to the other one.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from pit_jax.checks.arrays import read_array
from pit_jax.display import show_value
from pit_jax.inference.runtime import nodes

# The share of its values that a call may clip without a warning: a few usually exceed the sample's.
MOST_CLIPPED = 0.01


@dataclass(frozen=True)
class Normalization:
    """The normalization `(x / 255 - mean) / std` of uint8 pixels, with numbers for each channel.

    Without numbers, the values enter the network unchanged, as counts of events do.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def compute_values(self, channels: int) -> Float[np.ndarray, "256 C"]:
        """Return the normalized value of every byte in each channel, float32."""
        values = np.arange(256, dtype=np.float32)[:, None]
        if not self.mean:
            return np.repeat(values, channels, axis=1)
        mean, std = (np.asarray(numbers, np.float32) for numbers in (self.mean, self.std))
        return (values / np.float32(255) - mean) / std

    def normalize(self, x: Any) -> Any:
        """Return uint8 pixels `[..., C]` as float32, in NumPy or JAX as they are given."""
        return _look_up(self.compute_values(x.shape[-1]), x)


def _look_up(values: Float[np.ndarray, "256 C"], x: Any) -> Any:
    """Return the value of each byte of x `[..., C]`."""
    channels = np.arange(values.shape[1])
    if not isinstance(x, np.ndarray):
        return jnp.asarray(values)[x.astype(jnp.int32), channels]
    # In one channel, `take` is eight times as fast.
    return values[:, 0].take(x) if len(channels) == 1 else values[x, channels]


def read_normalization(mean: Any, std: Any, channels: int) -> Normalization | None:
    """Return the normalization of pixels with some `channels`; None without `mean` and `std`.

    Raises ValueError unless both are given, with a number for each channel or with none, and
    normalized values are finite.
    """
    if mean is None and std is None:
        return None
    try:
        found = [tuple(np.ravel(np.asarray(each, np.float64)).tolist()) for each in (mean, std)]
        sizes = {len(each) for each in found}
        fits = sizes in ({0}, {channels}) and all(each > 0 for each in found[1])
        normalization = Normalization(*found)
        with np.errstate(all="ignore"):
            if fits and np.isfinite(normalization.compute_values(channels)).all():
                return normalization
    except (OverflowError, TypeError, ValueError):
        pass
    raise ValueError(
        f"mean and std must each have one finite number for each of {channels} channels, and std "
        f"must be positive; got {show_value(mean)} and {show_value(std)}. Give () for both if "
        "uint8 values enter the network unchanged."
    )


def read_pixels(name: str, x: Any, normalization: Normalization | None) -> Any:
    """Return uint8 pixels unchanged, and floats as float32, in NumPy or JAX as they are given.

    Raises ValueError for other types, and for uint8 if its normalization is not known.
    """
    x = read_array(name, x)
    if x.dtype == np.uint8 and normalization is None:
        raise ValueError(
            f"{name} is uint8, and the program does not know how to normalize it: it was compiled "
            "without mean and std. Give floats, normalized as in training, or compile (or export) "
            "the network again, with mean and std."
        )
    if x.dtype in (np.uint8, np.float32):
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{name} must be uint8 pixels or floats as the network takes them, got {x.dtype}. "
            'Convert pixels with astype("uint8") and other values with astype("float32").'
        )
    return x.astype(np.float32)


@dataclass(frozen=True)
class InputReader:
    """A reader of the inputs of a program, which checks, normalizes and watches them."""

    pixels: nodes.Pixels
    normalization: Normalization | None = None

    @property
    def largest(self) -> float:
        """The largest absolute value that is not clipped."""
        return self.pixels.bound * self.pixels.unit

    @cached_property
    def values(self) -> Float[np.ndarray, "256 C"]:
        """The normalized value of every byte in each channel."""
        assert self.normalization is not None
        return self.normalization.compute_values(self.pixels.shape[-1])

    @cached_property
    def is_clipped(self) -> Bool[np.ndarray, "256 C"]:
        """True for every byte and channel whose normalized value is clipped."""
        return abs(self.values) > self.largest

    def compute_integers(self) -> Float[np.ndarray, "256 C"]:
        """Return the integer of the grid for every byte, as `step.quantize_pixels` computes it."""
        # The unit is a power of two, so the division is exact.
        integers = np.rint(self.values / np.float32(self.pixels.unit))
        return np.clip(integers, -self.pixels.bound, self.pixels.bound)

    def read(self, x: Any, name: str = "the input") -> Any:
        """Return the input as `read_pixels` does."""
        return read_pixels(name, x, self.normalization)

    def normalize(self, x: Any) -> Any:
        """Return what `read` returned as float32 values that the network takes."""
        if x.dtype != np.uint8:
            return x
        return _look_up(self.values, x)

    def count_clipped(self, x: Any) -> int:
        """Count the clipped values and NaNs in what `read` returned."""
        if x.dtype != np.uint8:
            return count_beyond(x, self.largest)
        if not self.is_clipped.any():
            return 0
        return int(self.is_clipped[np.asarray(x), np.arange(x.shape[-1])].sum())

    def warn_if_clipped(self, x: Any, stacklevel: int) -> None:
        """Warn if a call clips more than `MOST_CLIPPED` of what `read` returned."""
        if is_known(x):
            warn_of_clipped(self.count_clipped(x), x.size, self.largest, stacklevel + 1)


def is_known(x: Any) -> bool:
    """Return whether this process has all values: not under `jit`, nor if other hosts have some."""
    return not isinstance(x, jax.core.Tracer) and getattr(x, "is_fully_addressable", True)


def count_beyond(x: Any, largest: float) -> int:
    """Count the floats beyond +-`largest`, and NaNs."""
    x = np.asarray(x)
    # Usually two reductions decide, which allocate nothing. Comparisons with NaN are false.
    if x.size and -largest <= x.min() and x.max() <= largest:
        return 0
    return int(np.sum(~(abs(x) <= largest)))


def warn_of_clipped(clipped: int, size: int, largest: float, stacklevel: int) -> None:
    """Warn if more than `MOST_CLIPPED` of `size` values are `clipped`."""
    if clipped > MOST_CLIPPED * size:
        warnings.warn(
            f"{clipped / size:.1%} of the input values are beyond {largest:.4g}, the largest input "
            "of the program, or NaN, and were clipped. Floats must be normalized as in training; "
            "raw pixels must be uint8.",
            stacklevel=stacklevel + 1,
        )
