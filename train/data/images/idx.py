"""Reads IDX files, the format of MNIST and its successors."""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pit_jax.reading import reading

from ...errors import UserError

UBYTE = 0x08
LARGEST = 1 << 28  # Bytes of an array; the images of MNIST have 47 MB.
MOST_EXPANSION = 1032  # Most bytes that deflate, and so a gzip file, can store in one byte.


def read_idx(path: Path, *, ndim: int, content: bytes | None = None) -> np.ndarray:
    """Return the uint8 array of `ndim` axes in an IDX file, gzipped or plain.

    With `content`, these are its bytes, and `path` only names it. Raises `UserError` for a wrong
    magic number, element type or number of axes, for missing or additional bytes, and for damaged
    compression.
    """
    with (
        reading(path.absolute(), "an IDX file", error=UserError),
        path.open("rb") if content is None else io.BytesIO(content) as file,
    ):
        there = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(2)
        file.seek(0)
        if start != b"\x1f\x8b":
            return _parse(path, file, ndim, there, there)
        try:
            with gzip.open(file) as unpacked:
                return _parse(path, unpacked, ndim, MOST_EXPANSION * there)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _make_error(path, "a complete gzip file", str(error)) from error


def _parse(path: Path, file: Any, ndim: int, most: int, there: int | None = None) -> np.ndarray:
    """Return the array in a file of `there` bytes, or of at most `most` bytes if compressed."""
    # In the order of the bytes: the size is computed from a header that is known to be one, and a
    # compressed or foreign file is named as such, not by an absurd size.
    start = 4 + 4 * ndim
    header = file.read(start)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise _make_error(path, "two zero bytes, a type and a number of axes", f"{header[:4]!r}")
    if header[2] != UBYTE:
        raise _make_error(path, f"element type 0x{UBYTE:02x} (uint8)", f"0x{header[2]:02x}")
    if header[3] != ndim:
        raise _make_error(path, f"{ndim} axes", f"{header[3]}")
    if len(header) < start:
        raise _make_error(path, f"a header of {start} bytes", f"{len(header)}")
    shape = struct.unpack(f">{ndim}I", header[4:])
    size = math.prod(shape)
    # Nothing is allocated for a size that the file cannot have. One byte more than it should have
    # is read, which also makes gzip compare its checksum.
    data = file.read(size + 1) if start + size <= min(most, LARGEST) else b""
    if len(data) != size:
        came = "more" if len(data) > size else f"{start + len(data)}" if data else f"at most {most}"
        came = f"{there}" if there is not None else came
        raise _make_error(path, f"{start + size} bytes for shape {shape}", came)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _make_error(path: Path, expected: str, came: str) -> UserError:
    return UserError(
        f"{path.absolute()}: expected {expected}, got {came}. "
        "Replace the file with the official one."
    )
