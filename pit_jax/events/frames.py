"""Integration of events to frames of counts, by the rule of SpikingJelly (Fang et al. 2023)."""

import numpy as np
from jaxtyping import Int32

from pit_jax.events.stream import check_order, check_sensor


def integrate_by_number(
    events: np.ndarray, num_frames: int, *, height: int, width: int
) -> Int32[np.ndarray, "T H W 2"]:
    """Count events per frame, pixel and polarity (OFF, ON); every frame takes N // T of N events.

    The last frame also takes the remainder. Raises ValueError for unsorted events, for events
    outside of the sensor and for less than one frame.
    """
    _check(events, num_frames, height, width)
    share = len(events) // num_frames
    bounds = np.append(share * np.arange(num_frames), len(events))
    return _count(events, bounds, height, width)


def integrate_by_time(
    events: np.ndarray, num_frames: int, *, height: int, width: int
) -> Int32[np.ndarray, "T H W 2"]:
    """Count events per frame, pixel and polarity (OFF, ON); frames take (t_last - t_first) // T µs.

    Frames are half open, [start, end), and the last one takes all remaining events. A frame without
    events is zero (SpikingJelly fails there). Raises ValueError as `integrate_by_number` does.
    """
    _check(events, num_frames, height, width)
    t = events["t"]
    if not len(t):
        return _count(events, np.zeros(num_frames + 1, int), height, width)
    window = (t[-1] - t[0]) // num_frames
    # side="left": an event exactly at a bound belongs to the later frame.
    bounds = np.searchsorted(t, t[0] + window * np.arange(num_frames))
    return _count(events, np.append(bounds, len(t)), height, width)


def _check(events: np.ndarray, num_frames: int, height: int, width: int) -> None:
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}.")
    check_order(events["t"])
    check_sensor(events, height, width)


def _count(
    events: np.ndarray, bounds: np.ndarray, height: int, width: int
) -> Int32[np.ndarray, "T H W 2"]:
    """Count the events bounds[i] .. bounds[i + 1] - 1 in frame i."""
    num_frames = len(bounds) - 1
    frame = np.repeat(np.arange(num_frames), np.diff(bounds))
    # One index for frame, row, column and polarity, so that a single bincount counts everything.
    cell = ((frame * height + events["y"]) * width + events["x"]) * 2 + (events["p"] != 0)
    counts = np.bincount(cell, minlength=num_frames * height * width * 2)
    return counts.reshape(num_frames, height, width, 2).astype(np.int32)
