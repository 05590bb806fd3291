"""The spread of PIT's learned scales over channels, by layer and step."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pit_jax.initializers import SCALE_FLOOR
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class Spread:
    """Statistics of some scales; `at_floor` is the share that is at most `SCALE_FLOOR`."""

    count: int
    least: float
    q1: float
    median: float
    q3: float
    largest: float
    mean: float
    sd: float
    at_floor: float


def measure_spread(a: Float[np.ndarray, "*N"]) -> Spread:
    """Return the spread of all scales in `a`, with the population's deviation (ddof 0)."""
    least, q1, median, q3, largest = (float(q) for q in np.quantile(a, (0, 0.25, 0.5, 0.75, 1)))
    at_floor = float(np.mean(a <= SCALE_FLOOR))
    mean, sd = float(a.mean()), float(a.std())
    return Spread(a.size, least, q1, median, q3, largest, mean, sd, at_floor)


def measure_spread_by_step(a: Float[np.ndarray, "*T C"]) -> list[Spread]:
    """Return the spread over channels at each step of `[T, C]`, or once for `[C]`."""
    return [measure_spread(each) for each in np.atleast_2d(a)]


serve_old_names(__name__)
