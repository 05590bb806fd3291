"""The densities of every layer's membranes at each time step (Fig. 4), summed over batches."""

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

# Bins within a bandwidth, and the largest number of bins.
FINE, MOST = 3, 4096


@dataclass(frozen=True)
class Density:
    """The densities `[T, K]` of one layer at the membranes `at` `[K]`, smoothed with a Gaussian.

    `bandwidth` is the Gaussian's, as a potential. `mean` and `sd` `[T]` are computed from the
    membranes before smoothing. `apart` `[T]` is the total variation distance between a step's
    density and the mean density of all steps; 0 means equal.
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
    """Return the densities of every layer's membranes before firing.

    `batches` is called twice: once to find the range, once to count. `bandwidth` is in standard
    deviations of the layer's membranes.
    """
    record = recorder(model)

    def membranes() -> Iterable[Mapping[str, Array]]:
        for x in batches():
            yield {name: layer.membrane for name, layer in record(variables, x).items()}

    return estimate_densities(membranes, bandwidth)


def estimate_densities(
    batches: Callable[[], Iterable[Mapping[str, Array]]], bandwidth: float = 0.1
) -> dict[str, Density]:
    """Return the densities of batches of membranes `[B, T, ..., C]` by layer.

    See `densities`. Raises ValueError unless the bandwidth is above 0 and all membranes are finite.
    """
    if bandwidth <= 0:
        raise ValueError(f"the bandwidth must be above 0, got {bandwidth}.")
    moments: dict[str, list[Any]] = {}
    for batch in batches():
        for name, u in batch.items():
            moments.setdefault(name, []).append(
                (u.shape, found := jax.device_get(_compute_moments(u)))
            )
            if not all(np.isfinite(each).all() for each in found):
                raise ValueError(
                    f"{name} has membranes that are not finite; check the weights and the input."
                )
    grids = {name: _choose_grid(each, bandwidth) for name, each in moments.items()}
    counts: dict[str, Any] = {}
    for batch in batches():
        for name, u in batch.items():
            low, width, bins, _ = grids[name]
            # An int32 holds the counts of one batch; their sum needs an int64.
            found = np.asarray(_count_bins(u, low, width, bins), np.int64)
            counts[name] = counts.get(name, 0) + found
    return {name: _make_density(moments[name], *grids[name], counts[name]) for name in moments}


@jax.jit
def _compute_moments(u: Float[Array, "B T *N C"]) -> tuple[Array, ...]:
    but_steps = (0, *range(2, u.ndim))
    return u.min(), u.max(), u.mean(but_steps), u.var(but_steps)


@partial(jax.jit, static_argnames="bins")
def _count_bins(u: Float[Array, "B T *N C"], low: ArrayLike, width: ArrayLike, bins: int) -> Array:
    flat = jnp.moveaxis(u, 1, 0).reshape(u.shape[1], -1)
    place = jnp.clip(jnp.floor((flat - low) / width), 0, bins - 1).astype(int)
    step = jnp.arange(len(flat))[:, None]
    return jnp.zeros((len(flat), bins), int).at[step, place].add(1)


def _combine_moments(batches: list[Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return mean and variance of each step over all batches, and the number of samples."""
    sizes = np.array([shape[0] for shape, _ in batches], float)
    means, variances = (np.array([found[i] for _, found in batches], float) for i in (2, 3))
    mean = np.average(means, axis=0, weights=sizes)
    # The law of total variance: within batches and between their means.
    variance = np.average(variances + (means - mean) ** 2, axis=0, weights=sizes)
    return mean, variance, int(sizes.sum())


def _choose_grid(batches: list[Any], bandwidth: float) -> tuple[float, float, int, float]:
    """Return the grid's lower end, bin width, number of bins, and the bandwidth as a potential."""
    mean, variance, _ = _combine_moments(batches)
    # The deviation over all steps; constant membranes have none, and any bandwidth will do.
    smooth = bandwidth * (float(np.sqrt(variance.mean() + mean.var())) or 1.0)
    # The kernel is cut off at four bandwidths, so with five no mass is lost at the ends.
    low = min(float(found[0]) for _, found in batches) - 5 * smooth
    high = max(float(found[1]) for _, found in batches) + 5 * smooth
    # Heavy tails would need very many bins; then they are wider than a third of the bandwidth.
    bins = min(int(np.ceil(FINE * (high - low) / smooth)), MOST)
    return low, (high - low) / bins, bins, smooth


def _make_density(
    batches: list[Any], low: float, width: float, bins: int, smooth: float, counts: np.ndarray
) -> Density:
    mean, variance, samples = _combine_moments(batches)
    shares = counts / counts.sum(axis=1, keepdims=True)
    smoothed = gaussian_filter1d(shares, smooth / width, axis=1, mode="constant", truncate=4)
    # Total variation is half of the L1 distance.
    apart = np.abs(smoothed - smoothed.mean(axis=0)).sum(axis=1) / 2
    at = low + width * (np.arange(bins) + 0.5)
    return Density(at, smoothed / width, smooth, mean, np.sqrt(variance), apart, samples)


serve_old_names(__name__)
