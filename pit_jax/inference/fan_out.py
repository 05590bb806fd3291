"""How many accumulators a spike at each place adds to: borders, strides and groups included."""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pit_jax.inference.runtime.reductions import Pool, Shape, Structure
from pit_jax.inference.runtime.step import structured


def split_structure(
    structure: Sequence[Structure], spiking: bool
) -> tuple[Sequence[Structure], Sequence[Structure]]:
    """The structure before and behind the place where additions begin.

    Spikes stay spikes up to the last maximum, and each adds to what is behind; of pixels and
    currents the weights read what the structure has left.
    """
    if not spiking:
        return structure, ()
    largest = [i for i, s in enumerate(structure) if isinstance(s, Pool) and s.largest]
    at = largest[-1] + 1 if largest else 0
    return structure[:at], structure[at:]


def count_arrivals(before: Sequence[Structure], spikes: Array) -> Array:
    """Spikes `[B, ...]`, of either sign, as how many there are where additions begin, int32.

    A maximum is that of the spikes with their signs: of -1 and 0 it is 0.
    """
    return abs(structured(before, spikes.astype(jnp.float32))).astype(jnp.int32)


def count_outputs(
    shape: Shape, kernel: Shape, strides: Shape, padding: Sequence[tuple[int, int]], groups: int
) -> np.ndarray:
    """The outputs of a convolution that each of its inputs `shape` `[..., C]` enters.

    `kernel` is `[..., C_in / groups, C_out]`.
    """
    axes = []
    for n, size, stride, (low, high) in zip(shape[:-1], kernel[:-2], strides, padding, strict=True):
        starts = np.arange((n + low + high - size) // stride + 1)[:, None] * stride - low
        places = np.arange(n)
        axes.append(np.sum((starts <= places) & (places < starts + size), axis=0))
    windows = reduce(np.multiply.outer, axes)
    return np.broadcast_to(windows[..., None] * (kernel[-1] // groups), shape)


def reach(
    before: Sequence[Structure], behind: Sequence[Structure], shape: Shape, fan: np.ndarray
) -> np.ndarray:
    """The accumulators that a spike of a source of `shape` adds to, at each place behind `before`.

    `fan` says as much of each place behind all of the structure. Integers, int64.
    """
    if not behind:
        return fan.astype(np.int64)
    place = jax.eval_shape(partial(structured, before), jnp.zeros((1, *shape)))
    # The transpose of sums counts, for each input, the outputs that it enters.
    _, transposed = jax.vjp(partial(structured, behind), jnp.zeros(place.shape))
    (pulled,) = transposed(jnp.asarray(fan[None], jnp.float32))
    return np.rint(np.asarray(pulled[0], np.float64)).astype(np.int64)


def find_last_shape(structure: Sequence[Structure], shape: Shape) -> Shape:
    """The shape of a source of `shape` behind all of the structure."""
    whole = jax.eval_shape(partial(structured, structure), jnp.zeros((1, *shape)))
    left: Shape = whole.shape[1:]
    return left
