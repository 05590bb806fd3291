"""How many accumulators a spike at each place adds to: borders, strides and groups included."""

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
    """The accumulators `reached` from each place of a source, after its structure `before`."""

    before: Sequence[Structure]
    reached: np.ndarray

    @property
    def connections(self) -> int:
        """The number of synapses: what one spike at every place adds."""
        return int(self.reached.sum())

    def count_additions(self, arrivals: np.ndarray) -> int:
        """Return the additions of these `arrivals` at each place, an integer of any size."""
        return int((arrivals.astype(np.int64) * self.reached).sum())


def count_fan_out(
    structure: Sequence[Structure], shape: Shape, weight: Window | int | None, *, spiking: bool
) -> FanOut:
    """Return the fan-out of a source of `shape` through its structure and weights.

    `weight` is the window of a convolution, the number of outputs of a linear layer, or None for
    one synapse at each place. `spiking` is true of spikes, which add; see `split_structure`.
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
    """Return the products of one step of linear attention: keys by values, scaled, and queries.

    `shape` is that of the result, `width` the number of channels of queries and keys.
    """
    return width * (shape[-1] // heads) * (2 * math.prod(shape[:-1]) + 1)


def split_structure(
    structure: Sequence[Structure], spiking: bool
) -> tuple[Sequence[Structure], Sequence[Structure]]:
    """Return the structure before and after the place where additions begin.

    Spikes stay spikes up to the last maximum, and each adds to what comes after; of pixels and
    currents the weights read what the structure has left.
    """
    if not spiking:
        return structure, ()
    largest = [i for i, s in enumerate(structure) if isinstance(s, Pool) and s.largest]
    at = largest[-1] + 1 if largest else 0
    return structure[:at], structure[at:]


def count_arrivals(before: Sequence[Structure], spikes: Array) -> Array:
    """Return the number of spikes `[B, ...]`, of either sign, where additions begin, int32.

    A maximum is that of the spikes with their signs: of -1 and 0 it is 0.
    """
    return abs(apply_structure(before, spikes.astype(jnp.float32))).astype(jnp.int32)


def count_outputs(
    shape: Shape, kernel: Shape, strides: Shape, padding: Sequence[tuple[int, int]], groups: int
) -> np.ndarray:
    """Return how many outputs of a convolution each of its inputs `shape` `[..., C]` enters.

    `kernel` is `[..., C_in / groups, C_out]`.
    """
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
    """Return how many accumulators a spike adds to at each place of a source after `before`.

    `shape` is that of the source, `fan` the same number after all of the structure. int64.
    """
    if not after:
        return fan.astype(np.int64)
    place = jax.eval_shape(partial(apply_structure, before), jnp.zeros((1, *shape)))
    # The transpose of sums counts, for each input, the outputs that it enters.
    _, transposed = jax.vjp(partial(apply_structure, after), jnp.zeros(place.shape))
    (pulled,) = transposed(jnp.asarray(fan[None], jnp.float32))
    return np.rint(np.asarray(pulled[0], np.float64)).astype(np.int64)


def find_last_shape(structure: Sequence[Structure], shape: Shape) -> Shape:
    """Return the shape of a source of `shape` after all of the structure."""
    whole = jax.eval_shape(partial(apply_structure, structure), jnp.zeros((1, *shape)))
    left: Shape = whole.shape[1:]
    return left


serve_old_names(__name__)
