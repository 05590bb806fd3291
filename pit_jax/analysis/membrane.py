"""How the membranes of every layer are spread at each time step (Fig. 4), summed over batches."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from scipy.ndimage import gaussian_filter1d

from pit_jax.analysis.recorder import recorder
from pit_jax.old_names import serve_old_names

# Places of the grid within a bandwidth, and at most in all.
FINE, MOST = 3, 4096


@dataclass(frozen=True)
class Density:
    """Of one layer: densities `[T, K]` at the membranes `at` `[K]`, of a Gaussian's `bandwidth`.

    `mean` and `sd` `[T]` are those of the membranes themselves, `[samples, T, ...]`. `apart` `[T]`
    is the total variation distance of a step's density from the mean of all steps': 0 is equal.
    """

    at: Float[np.ndarray, " K"]
    density: Float[np.ndarray, "T K"]
    bandwidth: float
    mean: Float[np.ndarray, " T"]
    sd: Float[np.ndarray, " T"]
    apart: Float[np.ndarray, " T"]
    samples: int


def densities(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Callable[[], Iterable[Array]],
    bandwidth: float = 0.1,
) -> dict[str, Density]:
    """The densities of every layer's membranes before firing; `batches` is called twice.

    The first time finds the range. `bandwidth` is in standard deviations of all the layer's
    membranes.
    """
    record = recorder(model)

    def membranes() -> Iterable[Mapping[str, Array]]:
        for x in batches():
            yield {name: layer.membrane for name, layer in record(variables, x).items()}

    return estimate_densities(membranes, bandwidth)


def estimate_densities(
    batches: Callable[[], Iterable[Mapping[str, Array]]], bandwidth: float = 0.1
) -> dict[str, Density]:
    """The same from batches of membranes `[B, T, ..., C]` by layer.

    Raises ValueError unless the bandwidth is above 0 and all membranes are finite.
    """
    if bandwidth <= 0:
        raise ValueError(f"the bandwidth must be above 0, got {bandwidth}.")
    moments: dict[str, list[Any]] = {}
    for batch in batches():
        for name, u in batch.items():
            moments.setdefault(name, []).append((u.shape, found := jax.device_get(_moments(u))))
            if not all(np.isfinite(each).all() for each in found):
                raise ValueError(
                    f"{name} has membranes that are not finite; look at the weights and the input."
                )
    grids = {name: _grid(each, bandwidth) for name, each in moments.items()}
    counts: dict[str, Any] = {}
    for batch in batches():
        for name, u in batch.items():
            low, width, bins, _ = grids[name]
            found = np.asarray(_histogram(u, low, width, bins), np.int64)
            counts[name] = counts.get(name, 0) + found
    return {name: _density(moments[name], *grids[name], counts[name]) for name in moments}


@jax.jit
def _moments(u: Float[Array, "B T *N C"]) -> tuple[Array, ...]:
    but_steps = (0, *range(2, u.ndim))
    return u.min(), u.max(), u.mean(but_steps), u.var(but_steps)


@partial(jax.jit, static_argnames="bins")
def _histogram(u: Float[Array, "B T *N C"], low: ArrayLike, width: ArrayLike, bins: int) -> Array:
    flat = jnp.moveaxis(u, 1, 0).reshape(u.shape[1], -1)
    place = jnp.clip(jnp.floor((flat - low) / width), 0, bins - 1).astype(int)
    step = jnp.arange(len(flat))[:, None]
    return jnp.zeros((len(flat), bins), int).at[step, place].add(1)


def _total(batches: list[Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """Means and variances of each step over all batches, and how many samples these have."""
    sizes = np.array([shape[0] for shape, _ in batches], float)
    means, variances = (np.array([found[i] for _, found in batches], float) for i in (2, 3))
    mean = np.average(means, axis=0, weights=sizes)
    variance = np.average(variances + (means - mean) ** 2, axis=0, weights=sizes)
    return mean, variance, int(sizes.sum())


def _grid(batches: list[Any], bandwidth: float) -> tuple[float, float, int, float]:
    """Its lower end, the width of a bin, their number, and the bandwidth as a membrane."""
    mean, variance, _ = _total(batches)
    smooth = bandwidth * (float(np.sqrt(variance.mean() + mean.var())) or 1.0)
    # The kernel is cut off at four bandwidths, so that nothing falls over an end.
    low = min(float(found[0]) for _, found in batches) - 5 * smooth
    high = max(float(found[1]) for _, found in batches) + 5 * smooth
    bins = min(int(np.ceil(FINE * (high - low) / smooth)), MOST)
    return low, (high - low) / bins, bins, smooth


def _density(
    batches: list[Any], low: float, width: float, bins: int, smooth: float, counts: np.ndarray
) -> Density:
    mean, variance, samples = _total(batches)
    shares = counts / counts.sum(axis=1, keepdims=True)
    smoothed = gaussian_filter1d(shares, smooth / width, axis=1, mode="constant", truncate=4)
    apart = np.abs(smoothed - smoothed.mean(axis=0)).sum(axis=1) / 2
    at = low + width * (np.arange(bins) + 0.5)
    return Density(at, smoothed / width, smooth, mean, np.sqrt(variance), apart, samples)


serve_old_names(__name__)
