"""A recording as one structured array of events, in the order in which they were recorded."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Integer
from numpy.typing import ArrayLike

from pit_jax.events.values import read_coordinates, read_polarities, read_times
from pit_jax.reading import reading

EVENT = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.uint8)])
"""An event: `t` in microseconds; `p` is 1 where the light rose (ON) and 0 where it fell (OFF)."""
# Names of the fields in tonic, SpikingJelly, Metavision, dv-processing, aedat and HDF5 files.
NAMES = {
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
CLOCKS = (16, 23, 24, 31, 32, 34)  # Bits of clocks of event cameras and of their files.


class OrderError(ValueError):
    """Events that are not in order of time; `where` names the first that is too late."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"events must be in order of time, but {where}; sort them first: "
            "events[np.argsort(events['t'], kind='stable')]."
        )
        self.where = where


class SensorError(ValueError):
    """An event outside of the sensor."""


class ClockError(ValueError):
    """Times that start again because the clock of the camera wrapped."""


def make_events(t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> np.ndarray:
    """Return events `[N]` with the fields `t` (µs), `x`, `y` and `p`, from four sequences of N.

    Times are whole microseconds, coordinates are from 0 to 65,535, and polarities are 0 and 1,
    booleans, or -1 (OFF) and +1 (ON). Raises ValueError with the value and its index for others.
    """
    t, p = read_times(t), read_polarities(p)
    x, y = read_coordinates("x", x), read_coordinates("y", y)
    if not len(t) == len(x) == len(y) == len(p):
        raise ValueError(
            "t, x, y and p must have one value for each event, got "
            f"{len(t)}, {len(x)}, {len(y)} and {len(p)} values."
        )
    return pack_events(t, x, y, p)


def convert_events(events: object) -> np.ndarray:
    """Convert events in any supported form to the checked array `[N]` of `EVENT`.

    Every function that takes events calls it first. Accepts structured arrays and mappings
    (dicts, the `.npz` files of SpikingJelly, tables of pandas) with the names in `NAMES`. An array
    of `EVENT` is returned as it is. Raises ValueError for anything else, such as an array `[N, 4]`,
    whose columns have no names.
    """
    if type(events) is np.ndarray and events.dtype == EVENT and events.ndim == 1:
        # Only p has a type with values that are not allowed.
        if events.size and events["p"].max() > 1:
            read_polarities(events["p"])
        return events
    names = _list_names(events)
    if isinstance(events, np.ndarray) and events.ndim != 1 and names:
        raise ValueError(f"events must be [N], got the shape {events.shape}; pass events.ravel().")
    columns = []
    for column, known in NAMES.items():
        found = [name for name in names if isinstance(name, str) and name.lower() in known]
        if len(found) != 1:
            raise _refuse(events, names, column, found)
        # A mapping may read its file only when a value is requested.
        name = getattr(getattr(events, "zip", None), "filename", None) or "the mapping of events"
        with reading(name, "a mapping of arrays", error=ValueError):
            columns.append(np.asanyarray(events[found[0]]))  # type: ignore[index]
    return make_events(*columns)


def pack_events(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return events from columns whose values are known to be in range."""
    events = np.empty(len(t), EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def check_order(t: Integer[np.ndarray, " N"]) -> None:
    """Raise OrderError at the first event that is older than the previous one.

    Raises ClockError if the clock of the camera wrapped.
    """
    t = t if getattr(t, "dtype", None) == np.int64 else read_times(t)
    if (t[1:] >= t[:-1]).all():
        return
    backwards = np.flatnonzero(t[1:] < t[:-1])
    i = int(backwards[0]) + 1
    # A wrap is the largest step back. Floats, because the difference may need more than 64 bits.
    steps = t[backwards].astype(float) - t[backwards + 1]
    wrapped = int(backwards[np.argmax(steps)]) + 1
    bits = _measure_clock(t, wrapped)
    if bits:
        raise ClockError(
            f"the clock wrapped: event {wrapped} ({t[wrapped]} µs) comes after {t[wrapped - 1]} "
            f"µs, near the end of a clock of {bits} bits. Add 2**{bits} µs to all times from event "
            f"{wrapped} on."
        )
    raise OrderError(f"event {i} ({t[i]} µs) comes after {t[i - 1]} µs")


def check_sensor(events: object, height: int, width: int) -> None:
    """Raise SensorError at the first event outside of `height` x `width` pixels."""
    checked = convert_events(events)
    check_pixels(checked["x"], checked["y"], height, width)


def check_pixels(
    x: Integer[np.ndarray, " N"], y: Integer[np.ndarray, " N"], height: int, width: int
) -> None:
    """Raise SensorError at the first pixel outside of a sensor of `height` x `width` pixels."""
    if not len(x) or (x.max() < width and y.max() < height):
        return
    i = int(np.argmax((x >= width) | (y >= height)))
    raise SensorError(
        f"event {i} is at x={x[i]}, y={y[i]}, outside of a sensor of height={height}, "
        f"width={width}."
    )


def _measure_clock(t: np.ndarray, i: int) -> int:
    """Return the bits of the clock that wrapped before event i, 0 if none did."""
    before, after = int(t[i - 1]), int(t[i])
    # After a single late event, time continues where it was; after a wrap it does not.
    if int(t[i : i + 16].max()) >= before:
        return 0
    for bits in CLOCKS:
        # Signed times wrap from 2**(bits - 1) to its negative.
        in_range = before < 2**bits and after >= -(2 ** (bits - 1))
        if in_range and 0 <= after + 2**bits - before < 2**bits // 64:
            return bits
    return 0


def _list_names(events: object) -> Sequence[object]:
    """Return the names of the fields of a structured array or of the keys of a mapping."""
    if isinstance(events, np.ndarray | np.void):
        return list(events.dtype.names or ())
    keys = getattr(events, "keys", None)
    found = keys() if callable(keys) else ()
    return list(found) if isinstance(found, Iterable) else []


def _refuse(
    events: object, names: Sequence[object], column: str, found: Sequence[object]
) -> ValueError:
    if found:
        return ValueError(
            f"events have several fields for {column}: {', '.join(map(str, found))}. Choose one: "
            "make_events(t, x, y, p)."
        )
    if names:
        return ValueError(
            f"events must have the fields t, x, y and p, got {', '.join(map(str, names[:8]))}. "
            "Name them: make_events(t, x, y, p)."
        )
    shape = f" of shape {np.shape(events)}" if isinstance(events, np.ndarray) else ""
    if isinstance(events, str | bytes | os.PathLike):
        advice = "Read the file first, for example by read_aedat2."
    elif isinstance(events, np.ndarray) and events.ndim == 2 and 4 <= events.shape[1] < 10:
        advice = (
            "Name the columns: make_events(a[:, 0], a[:, 1], a[:, 2], a[:, 3]) if they are t (in "
            "µs), x, y and p in this order."
        )
    else:
        advice = "Name the columns: make_events(t, x, y, p), with t in µs."
    return ValueError(
        f"events must have the named fields t, x, y and p, got {type(events).__name__}{shape}. "
        f"{advice}"
    )
