"""The columns of events, checked before any cast: times, coordinates and polarities."""

import numpy as np
from numpy.typing import ArrayLike

from pit_jax.reading import quote_error


def read_times(values: ArrayLike) -> np.ndarray:
    """Return times as whole microseconds of 64 bits; raise ValueError for anything else."""
    times = _read_column("t", values)
    least, most = -(2**63), 2**63 - 1
    _check_range("t", times, least, most, "whole microseconds of 64 bits")
    return times


def read_coordinates(name: str, values: ArrayLike) -> np.ndarray:
    """Return the coordinates `name`, x or y, as whole numbers from 0 to 65,535."""
    coordinates = _read_column(name, values)
    _check_range(name, coordinates, 0, 2**16 - 1, "from 0 to 65,535")
    return coordinates


def read_polarities(values: ArrayLike) -> np.ndarray:
    """Return polarities as 0 (OFF) and 1 (ON), from 0 and 1, booleans, or -1 and +1."""
    p = _read_column("p", values, "biuf")
    if p.dtype.kind == "b" or not p.size:
        return p
    if p.dtype.kind in "iu" and 0 <= np.bitwise_or.reduce(p) <= 1:
        return p
    low, high = p.min(), p.max()
    known = low >= -1 and high <= 1 and (p.dtype.kind != "f" or np.isin(p, (-1, 0, 1)).all())
    if not known:
        i = int(np.flatnonzero(~np.isin(p, (-1, 0, 1)))[0])
        raise ValueError(
            f"p must be 0 or 1, or -1 or +1 (OFF or ON), got {p[i]} at event {i}. If {p[i]} means "
            f"ON, pass p == {p[i]}."
        )
    if low < 0 and (p == 0).any():
        i, j = int(np.argmax(p == 0)), int(np.argmax(p < 0))
        raise ValueError(
            f"p must be 0 or 1, or -1 or +1 (OFF or ON), got both: {p[i]} at event {i} and {p[j]} "
            f"at event {j}. If only 1 means ON, pass p == 1."
        )
    return p > 0


def _read_column(name: str, values: ArrayLike, kinds: str = "iuf") -> np.ndarray:
    """Return `values` as an array `[N]` of numbers, in the type that they have."""
    # The attribute of a masked array, whose module is slow to import.
    if np.any(getattr(values, "_mask", False)):
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
    if kind in "iu":
        info = np.iinfo(column.dtype)
        if least <= info.min and info.max <= most:
            return  # The usual types of events cannot have other values.
        # One pass instead of two: a value below 0 or from 2**16 on sets a bit of the result.
        if least == 0 and column.size and 0 <= np.bitwise_or.reduce(column) <= most:
            return
    if not column.size:
        return
    # Half precision cannot hold the bounds.
    wide = column.astype(np.float64) if kind == "f" else column
    # Every comparison with NaN is false.
    if not (wide.min() >= least and wide.max() <= most):
        i = int(np.argmin((wide >= least) & (wide <= most)))
        raise ValueError(f"{name} must be {allowed}, got {column[i]} at event {i}.")
    if kind == "f":
        _check_whole(name, column)


def _check_whole(name: str, column: np.ndarray) -> None:
    fractions = np.flatnonzero(column != np.floor(column))
    if fractions.size:
        i = int(fractions[0])
        question = " Are these seconds? Then pass np.rint(t * 1e6)." if name == "t" else ""
        unit = "microseconds" if name == "t" else "numbers"
        raise ValueError(f"{name} must be whole {unit}, got {column[i]} at event {i}.{question}")
    # Larger floats are always whole, because their fractions were rounded away.
    exact = 2 ** (np.finfo(column.dtype).nmant + 1)
    large = np.flatnonzero(np.abs(column) >= exact)
    if large.size:
        i = int(large[0])
        raise ValueError(
            f"{name} is {column[i]} at event {i}, but {column.dtype} has exact whole numbers only "
            f"below {exact:,}. Pass int64, converted before they were rounded."
        )
