"""A recording as one structured array of events, in the order in which they were recorded."""

import numpy as np
from jaxtyping import Integer
from numpy.typing import ArrayLike

# t in microseconds; p is 1 where the light rose (ON) and 0 where it fell (OFF).
EVENT = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.uint8)])


def make_events(t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> np.ndarray:
    """Return events `[N]` with the fields `t` (µs), `x`, `y` and `p`, from four sequences of N."""
    events = np.empty(np.shape(t), EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def check_order(t: Integer[np.ndarray, " N"]) -> None:
    """Raise ValueError at the first event that is older than the previous one."""
    backwards = np.flatnonzero(t[1:] < t[:-1])
    if backwards.size:
        i = int(backwards[0]) + 1
        raise ValueError(
            f"events must be in order of time, but event {i} ({t[i]} µs) comes after "
            f"{t[i - 1]} µs; sort them first: np.sort(events, order='t', kind='stable')."
        )


def check_sensor(events: np.ndarray, height: int, width: int) -> None:
    """Raise ValueError at the first event outside of `height` x `width` pixels."""
    outside = np.flatnonzero((events["x"] >= width) | (events["y"] >= height))
    if outside.size:
        i = int(outside[0])
        raise ValueError(
            f"event {i} is at x={events['x'][i]}, y={events['y'][i]}, outside of a sensor of "
            f"height={height}, width={width}."
        )
