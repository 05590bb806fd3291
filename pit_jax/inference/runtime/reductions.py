"""Operations without weights between spikes and weights: pools, sums over space, reshapes.

Each acts on `[B, *shape]`, one step of a layer, and maps integers to integers: an average is a sum
here, and its divisor is part of the weights after it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pool:
    """The sum over windows of `[H, W, C]`, or the maximum if `largest`."""

    window: Shape
    strides: Shape
    padding: tuple[tuple[int, int], ...]
    largest: bool = False

    def __call__(self, x: Array) -> Array:
        start, reduce = -jnp.inf if self.largest else 0, jax.lax.add
        if self.largest:
            reduce = jax.lax.max
            start = jnp.iinfo(x.dtype).min if jnp.issubdtype(x.dtype, jnp.integer) else start
        return jax.lax.reduce_window(
            x,
            jnp.asarray(start, x.dtype),
            reduce,
            (1, *self.window),
            (1, *self.strides),
            ((0, 0), *self.padding),
        )

    def growth(self) -> int:
        """Return the largest possible ratio of an output to the largest input."""
        return 1 if self.largest else math.prod(self.window)


@dataclass(frozen=True)
class Sum:
    """The sum over some axes of the shape, which are removed."""

    axes: Shape
    terms: int

    def __call__(self, x: Array) -> Array:
        return jnp.sum(x, tuple(axis + 1 for axis in self.axes))

    def growth(self) -> int:
        """Return the same as `Pool.growth`."""
        return self.terms


@dataclass(frozen=True)
class Reshape:
    """A reshape of one sample."""

    shape: Shape

    def __call__(self, x: Array) -> Array:
        return x.reshape(x.shape[0], *self.shape)

    def growth(self) -> int:
        """Return the same as `Pool.growth`."""
        return 1


@dataclass(frozen=True)
class Cells:
    """The sums over the cells of `adaptive_avg_pool`."""

    size: int
    height: int
    width: int

    def __call__(self, x: Array) -> Array:
        for axis, n in ((1, self.height), (2, self.width)):
            cells = [
                jnp.sum(jax.lax.slice_in_dim(x, *edge, axis=axis), axis, keepdims=True)
                for edge in self._find_edges(n)
            ]
            x = jnp.concatenate(cells, axis)
        return x

    def sizes(self) -> list[list[int]]:
        """Return the number of values in each cell, `[size, size]`."""
        rows, columns = (
            [end - start for start, end in self._find_edges(n)] for n in (self.height, self.width)
        )
        return [[row * column for column in columns] for row in rows]

    def growth(self) -> int:
        """Return the same as `Pool.growth`."""
        return max(map(max, self.sizes()))

    def _find_edges(self, n: int) -> list[tuple[int, int]]:
        return [(i * n // self.size, -(-(i + 1) * n // self.size)) for i in range(self.size)]


Structure = Pool | Sum | Reshape | Cells


def apply_structure(structure: Sequence[Structure], x: Array) -> Array:
    """Apply pools, sums and reshapes to a source `[B, ...]`, in this order."""
    for each in structure:
        x = each(x)
    return x
