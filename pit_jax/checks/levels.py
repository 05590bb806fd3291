"""How well the levels of a neuron fit its membranes, by the squared error of rounding.

A neuron with scale a sends s = a clip(round(u/a), 0, D). Its error |s - u|² over the positive
membranes is compared with the error of the best single step: the step a, the same for all channels
of a layer, whose error is least. The ratio of the two errors is 1 for the best step. NumPy only, in
float64: at the start of a run nothing is compiled for it.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pit_jax.checks.bounds import LEVELS, set_bounds

# Neighboring steps of the search differ by about 3 %. Around the best step the error is a parabola:
# at half of this distance from it, the error is larger by less than 0.1 %.
CANDIDATES, SMALLEST = 280, 1e-3


@set_bounds(levels=LEVELS)
def error_ratio(u: ArrayLike, s: ArrayLike, *, levels: int) -> float:
    """Return |s - u|² over the positive membranes `u`, relative to the best single step.

    `s` are the spikes, with their scale, that a neuron of D = `levels` sends for `u`. The ratio is
    NaN if no membrane is positive.
    """
    u, s = select_positive(u, s)
    if not u.size:
        return float("nan")
    a = find_best_step(u, levels=levels)
    least = np.sum((a * np.clip(np.floor(u / a + 0.5), 0, levels) - u) ** 2)
    return divide_errors(np.sum((s - u) ** 2), least)


@set_bounds(levels=LEVELS)
def find_best_step(u: ArrayLike, *, levels: int) -> float:
    """Return the step a of least |a clip(round(u/a), 0, levels) - u|²; NaN if no u is positive.

    For given counts k the best step is Σ k u / Σ k², with the error Σ u² - (Σ k u)² / Σ k². Of the
    counts of `CANDIDATES` steps the best are chosen and refined by Lloyd's iteration.
    """
    u, _ = select_positive(u, u)
    if not u.size:
        return float("nan")
    product, square = _sum_counts(u, list_steps(u, levels=levels), levels)
    best = np.argmax(product**2 / square)
    a = float(product[best] / square[best])
    # No iteration increases the error. From the best candidate a few of them are enough.
    for _ in range(20):
        k = np.clip(np.floor(u / a + 0.5), 0, levels)
        # Sums, not `@`: on a busy machine the threads of BLAS take longer than these few numbers.
        before, a = a, float(np.sum(k * u) / np.sum(k * k))
        if abs(a - before) <= 1e-9 * a:
            break
    return a


def select_positive(u: ArrayLike, s: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive membranes `u` and their spikes `s`, flat and in float64."""
    u, s = (np.ravel(np.asarray(each, np.float64)) for each in (u, s))
    return u[u > 0], s[u > 0]


def list_steps(u: Float[np.ndarray, " N"], *, levels: int) -> Float[np.ndarray, " M"]:
    """Return the steps among which the best one for positive membranes `u` is searched."""
    # A single membrane of count k has the best step u / k: u / D and u are inside. With twice the
    # largest membrane it is on the boundary between the counts 0 and 1, so no count is all 0.
    return np.asarray(np.geomspace(SMALLEST / levels, 2, CANDIDATES) * np.max(u))


def step_errors(
    u: Float[np.ndarray, " N"], steps: Float[np.ndarray, " M"], *, levels: int
) -> Float[np.ndarray, " M"]:
    """Return |a k - u|², k = clip(round(u/a), 0, levels), of each step a for positive `u`."""
    product, square = _sum_counts(u, steps, levels)
    # The difference of large numbers can be a rounding error below 0.
    return np.asarray(np.maximum(np.sum(u**2) - 2 * steps * product + steps**2 * square, 0))


def _sum_counts(
    u: Float[np.ndarray, " N"], steps: Float[np.ndarray, " M"], levels: int
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """Return Σ k u and Σ k² for the counts k of each step."""
    u = np.sort(u)
    sums = np.concatenate([[0.0], np.cumsum(u)])
    # k is the number of boundaries a (d - 1/2) that u reaches, so both are sums over the membranes
    # above each boundary; the d-th one raises k² by 2 d - 1.
    d = np.arange(1, levels + 1)
    below = np.searchsorted(u, steps[:, None] * (d - 0.5))
    return (sums[-1] - sums[below]).sum(-1), ((2.0 * d - 1) * (u.size - below)).sum(-1)


def divide_errors(error: float, least: float) -> float:
    """Return `error / least`; 1 if both are 0, infinite if only `least` is."""
    if least == 0:
        return float("inf") if error > 0 else 1.0
    return float(error / least)
