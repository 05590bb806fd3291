import gzip
import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from train.data.images.idx import read_idx
from train.errors import UserError

ARRAYS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


def encode_idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@given(array=ARRAYS, gzipped=st.booleans())
def test_arrays_of_any_shape_are_read_exactly(tmp_path, array, gzipped):
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(encode_idx(array)) if gzipped else encode_idx(array))
    read = read_idx(path, ndim=array.ndim)
    assert read.dtype == np.uint8 and read.shape == array.shape and (read == array).all()


@given(array=ARRAYS, data=st.data(), gzipped=st.booleans())
def test_a_file_truncated_at_any_byte_is_refused(tmp_path, array, data, gzipped):
    whole = gzip.compress(encode_idx(array)) if gzipped else encode_idx(array)
    path = tmp_path / "array"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_idx(path, ndim=array.ndim)


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"\0\1\x08\x01\0\0\0\1x", r"expected two zero bytes.*got b'\\x00\\x01"),
        (b"\0\0\x0d\x01\0\0\0\1xxxx", r"expected element type 0x08 \(uint8\), got 0x0d"),
        (b"\0\0\x08\x02\0\0\0\1\0\0\0\1x", "expected 1 axes, got 2"),
        (b"\0\0\x08\x01\0\0", "expected a header of 8 bytes, got 6"),
        (b"\0\0\x08\x01\0\0\0\2x", r"expected 10 bytes for shape \(2,\), got 9"),
        (b"\0\0\x08\x01\0\0\0\1xx", r"expected 9 bytes for shape \(1,\), got 10"),
        (b"\0\0\x08\x01\1\0\0\0x", r"expected 16777224 bytes .* got 9"),  # little-endian length
        (b"\x1f\x8bnonsense", "expected a complete gzip file"),
    ],
)
def test_errors_have_the_expected_and_the_found_bytes(tmp_path, content, problem):
    path = tmp_path / "array"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: {problem}"):
        read_idx(path, ndim=1)


def test_a_wrong_gzip_checksum_is_refused(tmp_path):
    content = bytearray(gzip.compress(encode_idx(np.arange(9, dtype=np.uint8))))
    content[-8] ^= 1
    path = tmp_path / "array.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="expected a complete gzip file, got CRC check failed"):
        read_idx(path, ndim=1)
