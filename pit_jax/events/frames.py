"""Integration of events to frames of counts, by the rule of SpikingJelly (Fang et al. 2023)."""

import numpy as np
from jaxtyping import Int32

from pit_jax.checks.bounds import whole
from pit_jax.events.stream import check_order, check_pixels, convert_events

Count = int | np.integer
_MOST_CELLS = 2**33  # Counts of 64 bits in 64 GiB.
_COUNT = whole()


def integrate_by_number(
    events: object, num_frames: Count, *, height: Count, width: Count
) -> Int32[np.ndarray, "T H W 2"]:
    """Count events per frame, pixel and polarity (OFF, ON); every frame takes N // T of N events.

    The last frame also takes the remainder. Raises ValueError for unsorted events, for events
    outside of the sensor and for less than one frame.
    """
    checked, num_frames, height, width = _check(events, num_frames, height, width)
    share = len(checked) // num_frames
    bounds = np.append(share * np.arange(num_frames), len(checked))
    return _count(checked, bounds, height, width)


def integrate_by_time(
    events: object, num_frames: Count, *, height: Count, width: Count
) -> Int32[np.ndarray, "T H W 2"]:
    """Count events per frame, pixel and polarity (OFF, ON); frames take (t_last - t_first) // T µs.

    Frames are half open, [start, end), and the last one takes all remaining events. A frame without
    events is zero (SpikingJelly fails there). Raises ValueError as `integrate_by_number` does.
    """
    checked, num_frames, height, width = _check(events, num_frames, height, width)
    t = checked["t"]
    if not len(t):
        return _count(checked, np.zeros(num_frames + 1, int), height, width)
    # Python's integers, because the difference of two times of 64 bits may need more bits.
    first, last = int(t[0]), int(t[-1])
    window = (last - first) // num_frames
    starts = np.array([first + window * i for i in range(num_frames)], np.int64)
    # side="left": an event exactly at a bound belongs to the later frame.
    bounds = np.searchsorted(t, starts)
    return _count(checked, np.append(bounds, len(t)), height, width)


def _check(
    events: object, num_frames: Count, height: Count, width: Count
) -> tuple[np.ndarray, int, int, int]:
    """Return events in order of time and inside of the sensor, and the sizes as Python's integers.

    Sizes in a small integer type, such as events["x"].max() + 1, would overflow in products.
    """
    num_frames = _read_count("num_frames", num_frames)
    height, width = _read_count("height", height), _read_count("width", width)
    cells = num_frames * height * width * 2
    if cells > _MOST_CELLS:
        raise ValueError(
            f"num_frames={num_frames}, height={height} and width={width} need {8 * cells:,} bytes; "
            "choose smaller ones."
        )
    checked = convert_events(events)
    check_order(checked["t"])
    check_pixels(checked["x"], checked["y"], height, width)
    return checked, num_frames, height, width


def _read_count(name: str, value: Count) -> int:
    if type(value) is int and value >= 1:  # The usual case, and the fastest.
        return value
    if np.ndim(value):
        raise ValueError(f"{name} must be a whole number, got the shape {np.shape(value)}.")
    _COUNT(name, value)
    return int(value)


def _count(
    events: np.ndarray, bounds: np.ndarray, height: int, width: int
) -> Int32[np.ndarray, "T H W 2"]:
    """Count the events bounds[i] .. bounds[i + 1] - 1 in frame i."""
    num_frames = len(bounds) - 1
    # One index for frame, row, column and polarity, so that a single bincount counts everything.
    cell = np.repeat(height * np.arange(num_frames), np.diff(bounds))
    cell += events["y"]
    cell *= width
    cell += events["x"]
    cell *= 2
    cell += events["p"]
    try:
        counts = np.bincount(cell, minlength=num_frames * height * width * 2).astype(np.int32)
    except MemoryError as error:
        raise ValueError(
            f"num_frames={num_frames}, height={height} and width={width} need more memory than "
            "there is; choose smaller ones."
        ) from error
    return counts.reshape(num_frames, height, width, 2)
