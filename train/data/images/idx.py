"""Reads IDX files, the format of MNIST and its successors."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ...errors import UserError

UBYTE = 0x08


def read_idx(path: Path, *, ndim: int) -> np.ndarray:
    """Return the uint8 array of `ndim` axes in an IDX file, gzipped or plain.

    Raises `UserError` for a wrong magic number, element type or number of axes, for missing or
    additional bytes, and for damaged compression.
    """
    # In the order of the bytes: the size is computed from a header that is known to be one, and a
    # compressed or foreign file is named as such, not by an absurd size.
    data = _read(path)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise _make_error(path, "two zero bytes, a type and a number of axes", f"{data[:4]!r}")
    if data[2] != UBYTE:
        raise _make_error(path, f"element type 0x{UBYTE:02x} (uint8)", f"0x{data[2]:02x}")
    if data[3] != ndim:
        raise _make_error(path, f"{ndim} axes", f"{data[3]}")
    start = 4 + 4 * ndim
    if len(data) < start:
        raise _make_error(path, f"a header of {start} bytes", f"{len(data)}")
    shape = struct.unpack(f">{ndim}I", data[4:start])
    size = start + math.prod(shape)
    if len(data) != size:
        raise _make_error(path, f"{size} bytes for shape {shape}", f"{len(data)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _make_error(path, "a complete gzip file", str(error)) from error


def _make_error(path: Path, expected: str, came: str) -> UserError:
    return UserError(
        f"{path.absolute()}: expected {expected}, got {came}. "
        "Replace the file with the official one."
    )
