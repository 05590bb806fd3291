"""The columns of events, checked before any cast: times, coordinates and polarities."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from pit_jax.reading import quote_error


def read_times(values: ArrayLike) -> np.ndarray:
    """Return times as whole microseconds of 64 bits; raise ValueError for anything else."""
    times = _read_column("t", values)
    _check_range("t", times, -(2**63), 2**63 - 1, "whole microseconds of 64 bits")
    return times


def read_coordinates(name: str, values: ArrayLike) -> np.ndarray:
    """Return the coordinates `name`, x or y, as whole numbers from 0 to 65,535."""
    coordinates = _read_column(name, values)
    _check_range(name, coordinates, 0, 2**16 - 1, "from 0 to 65,535")
    return coordinates


def read_polarities(values: ArrayLike) -> np.ndarray:
    """Return polarities as 0 (OFF) and 1 (ON), from 0 and 1, booleans, or -1 and +1."""
    p = _read_column("p", values, "biuf")
    if p.dtype.kind == "b" or not p.size or (p.dtype.kind in "iu" and _has_only_bits(p, 1)):
        return p
    low, high = p.min(), p.max()
    if not (low >= -1 and high <= 1 and (p.dtype.kind != "f" or (p == np.floor(p)).all())):
        i = int(np.argmin(np.isin(p, (-1, 0, 1))))
        # NaN is not equal to itself.
        advice = f" If {p[i]} means ON, pass p == {p[i]}." if p[i] == p[i] else ""
        raise ValueError(
            f"p must be 0 or 1, or -1 or +1 (OFF or ON), got {p[i]} at event {i}.{advice}"
        )
    if low < 0 and (p == 0).any():
        i, j = int(np.argmax(p == 0)), int(np.argmax(p < 0))
        raise ValueError(
            f"p must be 0 or 1, or -1 or +1 (OFF or ON), got both: {p[i]} at event {i} and {p[j]} "
            f"at event {j}. If only 1 means ON, pass p == 1."
        )
    return (p > 0).view(np.uint8)  # Integers are copied faster than booleans.


def _read_column(name: str, values: ArrayLike, kinds: str = "iuf") -> np.ndarray:
    """Return `values` as an array `[N]` of numbers, in the type that they have."""
    # The attribute of a masked array, whose module is slow to import.
    mask = getattr(values, "_mask", None)
    if mask is not None and np.any(mask):
        raise ValueError(f"{name} has masked values; remove these events first.")
    try:
        column = np.asarray(values)
    except Exception as error:  # Lists of unequal lengths, tensors of a device, and so on.
        raise ValueError(f"{name} must be numbers [N], got {quote_error(error)}.") from error
    if column.ndim != 1:
        raise ValueError(
            f"{name} must be numbers [N], one for each event, got the shape {column.shape}."
        )
    kind = column.dtype.kind
    # Whole numbers of more than 64 bits are objects; the check of the range names them.
    if kind not in kinds and not (kind == "O" and all(isinstance(v, int) for v in column)):
        raise ValueError(f"{name} must be numbers [N], one for each event, got {column.dtype}.")
    return column


def _check_range(name: str, column: np.ndarray, least: int, most: int, allowed: str) -> None:
    """Raise ValueError at the first value that is not a whole number from `least` to `most`."""
    kind = column.dtype.kind
    if not column.size or (
        kind in "iu" and (_always_fits(column.dtype, least, most) or _has_only_bits(column, most))
    ):
        return
    # Half precision cannot hold the bounds.
    wide = column.astype(np.float64) if kind == "f" and column.itemsize < 4 else column
    low, high = wide.min(), wide.max()
    # Every comparison with NaN is false.
    if not (low >= least and high <= most):
        i = int(np.argmin((wide >= least) & (wide <= most)))
        raise ValueError(f"{name} must be {allowed}, got {column[i]} at event {i}.")
    if kind == "f":
        _check_whole(name, column, float(max(high, -low)))


@cache
def _always_fits(dtype: np.dtype, least: int, most: int) -> bool:
    """Return whether all values of an integer type are in the range, so no value needs a check."""
    return least <= np.iinfo(dtype).min and np.iinfo(dtype).max <= most


def _has_only_bits(column: np.ndarray, bits: int) -> bool:
    """Return whether all integers of a column are from 0 to `bits`, a power of two less 1."""
    # One pass instead of two: a value below 0 or above `bits` sets a bit of the result.
    return 0 <= int(np.bitwise_or.reduce(column)) <= bits


def _check_whole(name: str, column: np.ndarray, largest: float) -> None:
    """Raise ValueError at the first fraction, and at floats that may have been rounded to whole."""
    is_whole = column == np.floor(column)
    if not is_whole.all():
        i = int(np.argmin(is_whole))
        question = " Are these seconds? Then pass np.rint(t * 1e6)." if name == "t" else ""
        unit = "microseconds" if name == "t" else "numbers"
        raise ValueError(f"{name} must be whole {unit}, got {column[i]} at event {i}.{question}")
    # Larger floats are always whole, because their fractions were rounded away.
    exact = 2 ** (np.finfo(column.dtype).nmant + 1)
    if largest >= exact:
        i = int(np.argmax(np.abs(column) >= exact))
        raise ValueError(
            f"{name} is {column[i]} at event {i}, but {column.dtype} has exact whole numbers only "
            f"below {exact:,}. Pass int64, converted before they were rounded."
        )
