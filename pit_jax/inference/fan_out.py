"""Fan-out: how many accumulators a spike at each position of a layer adds to.

Borders, strides and groups are counted exactly, so that spikes times fan-out is the number of
additions that a layer performs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pit_jax.inference.runtime.reductions import Pool, Shape, Structure, apply_structure
from pit_jax.old_names import accept_old_keywords, serve_old_names


@dataclass(frozen=True)
class Window:
    """A convolution with a kernel of the shape `[..., C_in / groups, C_out]`."""

    kernel: Shape
    strides: Shape
    padding: Sequence[tuple[int, int]]
    groups: int


@dataclass(frozen=True)
class FanOut:
    """The numbers of accumulators `reached` from each place of a source after `before`."""

    before: Sequence[Structure]
    reached: np.ndarray

    @property
    def connections(self) -> int:
        """The number of synapses, which is the additions of one spike at every position."""
        return int(self.reached.sum())

    def count_additions(self, arrivals: np.ndarray) -> int:
        """Return the number of additions, given the number of `arrivals` at each position."""
        return int((arrivals.astype(np.int64) * self.reached).sum())


def count_fan_out(
    structure: Sequence[Structure], shape: Shape, weight: Window | int | None, *, spiking: bool
) -> FanOut:
    """Return the fan-out of a source of `shape` through its structure and weights.

    `weight` is the window of a convolution, the number of outputs of a linear layer, or None for
    one synapse at each position. `spiking` is true for a source of spikes; see `split_structure`.
    """
    before, after = split_structure(structure, spiking)
    inputs = find_last_shape(structure, shape)
    match weight:
        case Window():
            fan = count_outputs(
                inputs, weight.kernel, weight.strides, weight.padding, weight.groups
            )
        case int():
            fan = np.full(inputs, weight)
        case None:
            fan = np.ones(inputs, np.int64)
    return FanOut(before, count_reached(before, after, shape, fan))


def count_attention(shape: Shape, heads: int, width: int) -> int:
    """Return the number of products in one step of linear attention.

    `shape` is the shape of the result, `width` the number of channels of queries and keys.
    """
    # Per head with c = width / heads, f = shape[-1] / heads and n tokens: n c f for keyᵀ value,
    # c f to scale it, n c f for the queries. Over all heads heads c f = width f.
    return width * (shape[-1] // heads) * (2 * math.prod(shape[:-1]) + 1)


def split_structure(
    structure: Sequence[Structure], spiking: bool
) -> tuple[Sequence[Structure], Sequence[Structure]]:
    """Split a structure at the place where additions begin.

    A maximum of spikes is a spike, so spikes stay binary up to the last maximum. Each of these is
    then added on its own, also by the sums of a pool. Pixels and currents are reduced by the whole
    structure before weights read them.
    """
    if not spiking:
        return structure, ()
    largest = [i for i, s in enumerate(structure) if isinstance(s, Pool) and s.largest]
    at = largest[-1] + 1 if largest else 0
    return structure[:at], structure[at:]


def count_arrivals(before: Sequence[Structure], spikes: Array) -> Array:
    """Return the number of spikes `[B, ...]`, of either sign, where additions begin, int32."""
    # The maximum is taken with signs: max(-1, 0) = 0 is no spike. abs comes after it.
    return abs(apply_structure(before, spikes.astype(jnp.float32))).astype(jnp.int32)


def count_outputs(
    shape: Shape, kernel: Shape, strides: Shape, padding: Sequence[tuple[int, int]], groups: int
) -> np.ndarray:
    """Return how many outputs of a convolution read each input, an array of `shape` `[..., C]`.

    `kernel` is `[..., C_in / groups, C_out]`.
    """
    # A window is a product of intervals, so the windows that contain a place are a product of
    # counts per axis: those with start <= place < start + size.
    axes = []
    for n, size, stride, (low, high) in zip(shape[:-1], kernel[:-2], strides, padding, strict=True):
        starts = np.arange((n + low + high - size) // stride + 1)[:, None] * stride - low
        places = np.arange(n)
        axes.append(np.sum((starts <= places) & (places < starts + size), axis=0))
    windows = reduce(np.multiply.outer, axes)
    return np.broadcast_to(windows[..., None] * (kernel[-1] // groups), shape)


@accept_old_keywords
def count_reached(
    before: Sequence[Structure], after: Sequence[Structure], shape: Shape, fan: np.ndarray
) -> np.ndarray:
    """Return how many accumulators a spike adds to at each position of a source after `before`.

    `shape` is the shape of the source. `fan` has the same numbers for the places after the whole
    structure, and `after` is the part in between. The result is int64.
    """
    if not after:
        return fan.astype(np.int64)
    place = jax.eval_shape(partial(apply_structure, before), jnp.zeros((1, *shape)))
    # `after` is linear, y = S x with S of zeros and ones. Place i enters the outputs j with
    # S_ji = 1, so it reaches sum_j S_ji fan_j = (Sᵀ fan)_i accumulators. The vjp computes Sᵀ.
    _, transposed = jax.vjp(partial(apply_structure, after), jnp.zeros(place.shape))
    (pulled,) = transposed(jnp.asarray(fan[None], jnp.float32))
    return np.rint(np.asarray(pulled[0], np.float64)).astype(np.int64)


def find_last_shape(structure: Sequence[Structure], shape: Shape) -> Shape:
    """Return the shape of a source of `shape` after the whole structure."""
    whole = jax.eval_shape(partial(apply_structure, structure), jnp.zeros((1, *shape)))
    left: Shape = whole.shape[1:]
    return left


serve_old_names(__name__)
