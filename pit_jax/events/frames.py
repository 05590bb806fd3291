"""Integration of events to frames of counts, by the rule of SpikingJelly (Fang et al. 2023)."""

import numpy as np
from jaxtyping import Int32

from pit_jax.events.stream import check_order, check_sensor, convert_events

_MOST_CELLS = 2**33  # Counts of 64 bits in 64 GiB.


def integrate_by_number(
    events: object, num_frames: int, *, height: int, width: int
) -> Int32[np.ndarray, "T H W 2"]:
    """Count events per frame, pixel and polarity (OFF, ON); every frame takes N // T of N events.

    The last frame also takes the remainder. Raises ValueError for unsorted events, for events
    outside of the sensor and for less than one frame.
    """
    checked = _check(events, num_frames, height, width)
    share = len(checked) // num_frames
    bounds = np.append(share * np.arange(num_frames), len(checked))
    return _count(checked, bounds, height, width)


def integrate_by_time(
    events: object, num_frames: int, *, height: int, width: int
) -> Int32[np.ndarray, "T H W 2"]:
    """Count events per frame, pixel and polarity (OFF, ON); frames take (t_last - t_first) // T µs.

    Frames are half open, [start, end), and the last one takes all remaining events. A frame without
    events is zero (SpikingJelly fails there). Raises ValueError as `integrate_by_number` does.
    """
    checked = _check(events, num_frames, height, width)
    t = checked["t"]
    if not len(t):
        return _count(checked, np.zeros(num_frames + 1, int), height, width)
    # Python's integers: the difference of two times of 64 bits may need more.
    first, last = int(t[0]), int(t[-1])
    window = (last - first) // num_frames
    starts = np.array([first + window * i for i in range(num_frames)], np.int64)
    # side="left": an event exactly at a bound belongs to the later frame.
    bounds = np.searchsorted(t, starts)
    return _count(checked, np.append(bounds, len(t)), height, width)


def _check(events: object, num_frames: int, height: int, width: int) -> np.ndarray:
    """Return the events as a checked array, in order of time and inside of the sensor."""
    for name, value in {"num_frames": num_frames, "height": height, "width": width}.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be at least 1 and a whole number, got {value}.")
    cells = int(num_frames) * int(height) * int(width) * 2
    if cells > _MOST_CELLS:
        raise ValueError(
            f"num_frames={num_frames}, height={height} and width={width} need {8 * cells:,} bytes; "
            "choose smaller ones."
        )
    checked = convert_events(events)
    check_order(checked["t"])
    check_sensor(checked, height, width)
    return checked


def _count(
    events: np.ndarray, bounds: np.ndarray, height: int, width: int
) -> Int32[np.ndarray, "T H W 2"]:
    """Count the events bounds[i] .. bounds[i + 1] - 1 in frame i."""
    num_frames = len(bounds) - 1
    frame = np.repeat(np.arange(num_frames), np.diff(bounds))
    # One index for frame, row, column and polarity, so that a single bincount counts everything.
    cell = ((frame * height + events["y"]) * width + events["x"]) * 2 + events["p"]
    counts = np.bincount(cell, minlength=num_frames * height * width * 2)
    return counts.reshape(num_frames, height, width, 2).astype(np.int32)
