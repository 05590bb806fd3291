"""`config.data.unsorted`: what happens to events that are not in order of time."""

from bisect import bisect_right

import numpy as np

from pit_jax.events.stream import ClockError, OrderError, check_order

RULES = ("refuse", "sort", "skip")


def order_events(events: np.ndarray, rule: str) -> tuple[np.ndarray, int]:
    """Return events in order of time, and how many were out of order.

    `sort` sorts them, `skip` drops as few as possible. Raises ValueError if the camera's clock
    wrapped, because sorting would mix the start and the end of the recording.
    """
    try:
        check_order(events["t"])
        return events, 0
    except ClockError:
        raise
    except OrderError:
        if rule == "refuse":
            raise
    kept = _find_longest_order(events["t"])
    count = len(events) - len(kept)
    if rule == "skip":
        return events[kept], count
    return events[np.argsort(events["t"], kind="stable")], count


def _find_longest_order(t: np.ndarray) -> np.ndarray:
    """Return the indices of the longest part of `t` that never decreases."""
    ends: list[int] = []  # The smallest last time of a part of each length.
    at: list[int] = []  # The index of this last time.
    before = np.full(len(t), -1)
    for i, time in enumerate(t.tolist()):
        length = bisect_right(ends, time)
        before[i] = at[length - 1] if length else -1
        ends[length : length + 1] = [time]
        at[length : length + 1] = [i]
    kept = [at[-1]]
    while before[kept[-1]] >= 0:
        kept.append(int(before[kept[-1]]))
    return np.array(kept[::-1])
