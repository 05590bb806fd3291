"""NumPy's files of events: SpikingJelly's archives, and headers that promise what is not there."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from pit_jax.events import make_events, read_npz
from pit_jax.events.arrays import load_array

COLUMNS = {
    "t": np.arange(5, dtype=">u4"),
    "x": np.arange(5, 10),
    "y": np.arange(3, 8),
    "p": np.array([0, 1, 1, 0, 1]),
}


def encode(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def encode_npy(array, **header):
    """Return a .npy file of `array` whose header has other values, such as `shape`."""
    buffer = io.BytesIO()
    about = np.lib.format.header_data_from_array_1_0(array) | header
    np.lib.format.write_array_header_1_0(buffer, about)
    return buffer.getvalue() + array.tobytes()


def zip_members(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_spikingjelly_are_read(tmp_path, save):
    save(tmp_path / "one.npz", **COLUMNS)
    want = make_events(*COLUMNS.values())
    assert np.array_equal(read_npz(tmp_path / "one.npz"), want)
    assert np.array_equal(read_npz(io.BytesIO((tmp_path / "one.npz").read_bytes())), want)


def refuse(path, content, message):
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as error:
        read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24  # Bytes; nothing declared was allocated.
    tracemalloc.stop()
    assert str(path) in str(error.value) and str(error.value).count("\n") < 3


@pytest.mark.parametrize(
    "shape",
    [(10**12,), (10**12, 10**12), (2**62,), (6,), (4,), (-5,), (5, -1), (0,), (2**70,)],
)
def test_headers_that_declare_other_sizes_are_refused_before_anything_is_allocated(tmp_path, shape):
    members = {f"{name}.npy": encode_npy(column) for name, column in COLUMNS.items()}
    members["x.npy"] = encode_npy(COLUMNS["x"], shape=shape)
    refuse(tmp_path / "many.npz", zip_members(members), r"many.npz \(x\) is damaged|not an .npz")


def test_archives_that_grow_without_bound_are_refused(tmp_path):
    bomb = np.zeros(2**22, np.int64)
    members = {f"{name}.npy": encode_npy(bomb) for name in "txyp"}
    content = zip_members(members, zipfile.ZIP_DEFLATED)
    refuse(tmp_path / "bomb.npz", content, "bytes that grow to 134,218,.*Is it damaged")


def test_objects_are_refused_without_being_called(tmp_path):
    class Attack:
        def __reduce__(self):
            return print, ("called",)

    columns = COLUMNS | {"p": np.array([Attack()] * 5, object)}
    refuse(tmp_path / "objects.npz", encode(**columns), r"objects.npz \(p\) holds Python objects")


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"frames": np.zeros((2, 2, 8, 8))}, "has no arrays t, x, y and p, but frames"),
        ({"t": COLUMNS["t"], "x": COLUMNS["x"]}, "must have the fields t, x, y and p, got t, x"),
        (COLUMNS | {"p": np.full(5, 3)}, "got 3 at event 0"),
        (COLUMNS | {"t": np.arange(5) / 10}, "Are these seconds"),
        (COLUMNS | {"x": np.arange(4)}, "got 5, 4, 5 and 5 values"),
        (COLUMNS | {"x": np.zeros((5, 1))}, r"got the shape \(5, 1\)"),
        (COLUMNS | {"x": np.array(["1"] * 5)}, "x must be numbers"),
    ],
)
def test_archives_of_other_arrays_are_refused_by_name(tmp_path, columns, message):
    refuse(tmp_path / "other.npz", encode(**columns), message)


def test_damaged_archives_are_refused_by_name(tmp_path):
    whole = encode(**COLUMNS)
    path = tmp_path / "cut.npz"
    refuse(path, whole[: len(whole) // 2], "is not an .npz file")
    refuse(path, b"", "is not an .npz file")
    flipped = bytearray(whole)
    flipped[whole.index(COLUMNS["x"].tobytes()) + 1] ^= 4
    refuse(path, bytes(flipped), "Bad CRC-32")


def test_arrays_by_column_are_read_in_order():
    rows = np.asfortranarray(np.arange(12).reshape(3, 4))
    buffer = io.BytesIO()
    np.save(buffer, rows)
    assert b"'fortran_order': True" in buffer.getvalue()
    raw = buffer.getvalue()
    assert np.array_equal(load_array(io.BytesIO(raw), "rows.npy", len(raw)), rows)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_npy_are_read(version):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, COLUMNS["x"], version)
    raw = buffer.getvalue()
    assert np.array_equal(load_array(io.BytesIO(raw), "x.npy", len(raw)), COLUMNS["x"])


def test_a_header_of_gigabytes_is_refused(tmp_path):
    raw = b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + b"{" * 100
    refuse(tmp_path / "header.npz", zip_members({"t.npy": raw}), "is not an .npz file of events")
