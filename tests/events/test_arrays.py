"""NumPy's files of events: SpikingJelly's archives, and headers that promise what is not there."""

import io
import struct
import tracemalloc
import warnings
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
    refuse(tmp_path / "bomb.npz", content, "bytes that expand to 134,218,.*Is it damaged")


def test_objects_are_refused_without_being_called(tmp_path):
    class Attack:
        def __reduce__(self):
            return print, ("called",)

    columns = COLUMNS | {"p": np.array([Attack()] * 5, object)}
    refuse(tmp_path / "objects.npz", encode(**columns), r"objects.npz \(p\) holds Python objects")


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"frames": np.zeros((2, 2, 8, 8))}, r"must have .* got ndarray of shape \(2, 2, 8, 8\)"),
        ({"events": np.zeros((9, 4))}, r"Name the columns: make_events\(a\[:, 0\]"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "has no arrays t, x, y and p, but a, b"),
        ({}, "has no arrays t, x, y and p, but no array at all"),
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


def test_an_archive_of_one_structured_array_is_read(tmp_path):
    want = make_events(*COLUMNS.values())
    np.savez_compressed(tmp_path / "one.npz", want)
    tonic = np.zeros(5, [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
    for name in tonic.dtype.names:
        tonic[name] = want[name]
    np.savez(tmp_path / "two.npz", events=tonic)
    assert np.array_equal(read_npz(tmp_path / "one.npz"), want)
    assert np.array_equal(read_npz(tmp_path / "two.npz"), want)


@pytest.mark.parametrize("names", ["{}.npy", "train/{}.npy", "./{}.npy", "t/../{}.npy"])
def test_archives_with_several_arrays_of_a_name_are_refused(tmp_path, names):
    members = [(f"{name}.npy", encode_npy(column)) for name, column in COLUMNS.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns, too, and writes both.
            archive.writestr(names.format("t"), encode_npy(COLUMNS["t"] + 7))
    refuse(tmp_path / "two.npz", buffer.getvalue(), "two.npz has two arrays t: t.npy and")


def test_notes_and_files_of_macos_in_an_archive_are_skipped(tmp_path):
    members = {f"{name}.npy": encode_npy(column) for name, column in COLUMNS.items()}
    extra = {"t.txt": b"recorded in July", "__MACOSX/._t.npy": b"\0\5\x16\7", "x/": b""}
    (tmp_path / "one.npz").write_bytes(zip_members(members | extra))
    assert np.array_equal(read_npz(tmp_path / "one.npz"), make_events(*COLUMNS.values()))


def test_large_archives_that_grow_as_events_do_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pit_jax.events.arrays._LARGEST", 100)
    monkeypatch.setattr("pit_jax.events.arrays._ALWAYS_FITS", 100)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "large.npz", **{name: np.arange(5000) % 2 for name in "txyp"})
        if save is np.savez:
            assert len(read_npz(tmp_path / "large.npz")) == 5000
    with pytest.raises(ValueError, match="Is it damaged"):
        read_npz(tmp_path / "large.npz")


@pytest.mark.parametrize("version", [(0, 0), (1, 1), (4, 0), (255, 255)])
def test_unknown_versions_of_npy_are_refused(tmp_path, version):
    members = {f"{name}.npy": encode_npy(column) for name, column in COLUMNS.items()}
    members["y.npy"] = b"\x93NUMPY" + bytes(version) + members["y.npy"][8:]
    refuse(tmp_path / "new.npz", zip_members(members), r"new.npz \(y\) is a .npy file of the unkn")


@pytest.mark.parametrize(
    "content, name",
    [
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"<!doctype html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of git-lfs"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"t,x,y,p", "no zip archive"),
    ],
)
def test_files_that_are_not_npz_are_refused_by_the_name_of_their_format(tmp_path, content, name):
    refuse(tmp_path / "other.npz", content, f"other.npz is not an .npz file: it is {name}")


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
