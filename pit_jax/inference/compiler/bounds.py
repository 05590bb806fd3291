"""How far the sums of an accumulator can go, whatever fires."""

from typing import Any

import numpy as np


class Sides:
    """How far sums can go up and down, a number or `[C]` each.

    In whatever order a sum is added up, what it passes through lies between the two.
    """

    def __init__(self, up: Any, down: Any = None) -> None:
        self.up, self.down = up, up if down is None else down

    @classmethod
    def of(cls, weight: np.ndarray, bound: int | float, both_signs: bool) -> "Sides":
        """Of `weight` `[T, ..., C_in, C]` times inputs of at most `bound`, or down to 0 only."""
        axes = tuple(range(1, weight.ndim - 1))
        weight = weight.astype(np.float64)
        if both_signs:
            return cls(abs(weight).sum(axes).max(0) * bound)
        return cls(*(np.maximum(sign * weight, 0).sum(axes).max(0) * bound for sign in (1, -1)))

    def __add__(self, other: "Sides") -> "Sides":
        return Sides(self.up + other.up, self.down + other.down)

    @property
    def each(self) -> np.ndarray:
        """The further side of every channel, `[1 or C]`."""
        return np.atleast_1d(np.maximum(self.up, self.down))

    @property
    def largest(self) -> float:
        """The furthest of any channel."""
        return float(self.each.max())


def one_each(gain: np.ndarray) -> np.ndarray:
    """A gain `[T, ..., C]` as weights `[T ..., 1, C]`: a sum has one synapse of it."""
    return gain.reshape(-1, 1, gain.shape[-1])
