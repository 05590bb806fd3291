"""The copies of event data sets that tonic downloads: cut gestures as arrays, and AEDAT 4."""

import io
import struct
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from pit_jax.events import integrate_by_number, make_events, write_aedat2
from train.data import DataNotFound, load
from train.data.cifar10_dvs import CLASSES
from train.data.tonic_copies import read_aedat4, read_array
from train.errors import UserError


def rows(seed, count=30):
    """x, y, p and milliseconds, as one file of tonic's DVS-Gesture holds them."""
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 128, (2, count))
    times = np.sort(random.integers(0, 50, count))
    return np.stack([x, y, random.integers(0, 2, count), times], axis=1).astype(np.float64)


def frames(array, num_frames):
    x, y, p, t = array.astype(int).T
    return integrate_by_number(make_events(1000 * t, x, y, p), num_frames, height=128, width=128)


def saved(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


# In the order in which they are read: by the number of the user.
TRAIN = ("user02_lab/4", "user10_fluorescent/0", "user10_fluorescent/10", "user10_led/0")
TEST = ("user24_led/3",)


def gestures():
    named = {"ibmGestureTrain": TRAIN, "ibmGestureTest": TEST}
    return {
        split: {f"{split}/{name}.npy": saved(rows(seed)) for seed, name in enumerate(names)}
        for split, names in named.items()
    }


def write_gestures(root, archived):
    for split, files in gestures().items():
        if archived:
            with tarfile.open(root / f"{split}.tar.gz", "w:gz") as archive:
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        for name, content in ({} if archived else files).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)


@pytest.mark.parametrize("archived", [False, True])
def test_cut_gestures_are_read_from_folders_and_archives(tmp_path, archived):
    (tmp_path / "DVSGesture").mkdir()
    write_gestures(tmp_path / "DVSGesture", archived)
    data = load("dvs_gesture", tmp_path, num_frames=3)
    assert data.num_classes == 11
    assert data.train.labels.tolist() == [4, 0, 10, 0] and data.test.labels.tolist() == [3]
    for seed in range(len(TRAIN)):
        assert np.array_equal(data.train.images[seed], frames(rows(seed), 3))
    assert np.array_equal(data.test.images[0], frames(rows(0), 3))


def test_milliseconds_become_microseconds(tmp_path):
    events = read_array(io.BytesIO(saved(np.array([[3, 5, 1, 7.0], [127, 0, 0, 9.0]]))))
    assert events.tolist() == [(7000, 3, 5, 1), (9000, 127, 0, 0)]


def test_half_of_the_copy_is_refused_by_name(tmp_path):
    write_gestures(tmp_path, archived=True)
    (tmp_path / "ibmGestureTest.tar.gz").unlink()
    with pytest.raises(UserError, match="only one of ibmGestureTrain and ibmGestureTest; get both"):
        load("dvs_gesture", tmp_path)


def test_an_archive_of_something_else_is_refused(tmp_path):
    write_gestures(tmp_path, archived=True)
    (tmp_path / "ibmGestureTest.tar.gz").rename(tmp_path / "ibmGestureTrain.tar.gz")
    with pytest.raises(UserError, match="not a whole archive .no folder ibmGestureTrain in it"):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize("name", ["user01_lab/11.npy", "user01_lab/x.npy", "someone/1.npy"])
def test_a_file_whose_name_gives_no_label_is_refused(tmp_path, name):
    write_gestures(tmp_path, archived=False)
    file = tmp_path / "ibmGestureTrain" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=f"{name}: expected a name like user01_fluorescent/0.npy"):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (saved(rows(0))[:-8], "user02_lab/4.npy"),
        (b"", "user02_lab/4.npy"),
        (saved(rows(0)[:, :3]), r"expected rows of x, y, p and t, got float64 \(30, 3\)"),
        (saved(np.array([[1, 2, np.nan, 3]])), "expected finite x, y, p and t"),
        (saved(np.array([[1, -2, 0, 3]])), "expected finite x, y, p and t of at least 0"),
        (saved(np.array([[1, 128, 0, 3]])), "y=128, outside of a sensor"),
        (saved(np.array([{}])), "user02_lab/4.npy: .*allow_pickle"),
    ],
)
def test_a_damaged_array_is_refused_by_name(tmp_path, content, message):
    write_gestures(tmp_path, archived=False)
    (tmp_path / "ibmGestureTrain/user02_lab/4.npy").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load("dvs_gesture", tmp_path, num_frames=1)
    assert "ibmGestureTrain/user02_lab/4.npy" in str(error.value)


def flatbuffer(identifier, vtable, table, rest):
    """A buffer with its size in front: where its table is, a name, the table's fields, the rest."""
    at = 8 + len(vtable)
    content = struct.pack("<I4s", at, identifier) + vtable + struct.pack("<i", len(vtable))
    content += table + rest
    return struct.pack("<I", len(content)) + content


def packet(events):
    """Uncompressed: a vector of structs of 16 bytes, t x y p."""
    vtable = struct.pack("<HHHxx", 6, 8, 4)
    structs = b"".join(struct.pack("<qhh?xxx", *event) for event in events.tolist())
    buffer = flatbuffer(
        b"EVTS", vtable, struct.pack("<I", 4), struct.pack("<I", len(events)) + structs
    )
    return struct.pack("<II", 0, len(buffer)) + buffer


def aedat4(events, size=16):
    """A recording without compression: version, header with its streams, packets of `size`."""
    streams = (
        b'<dv version="2.0"><node name="outInfo"><node name="0">'
        b'<attr key="typeIdentifier" type="string">EVTS</attr><node name="info">'
        b'<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>'
        b"</node></node></node></dv>"
    )
    packets = b"".join(packet(events[i : i + size]) for i in range(0, len(events), size))

    def header(end_of_packets):
        vtable = struct.pack("<HHHHHxx", 10, 16, 0, 8, 4)
        table = struct.pack("<Iq", 12, end_of_packets)
        text = struct.pack("<I", len(streams)) + streams + b"\0"
        return b"#!AER-DAT4.0\r\n" + flatbuffer(b"IOHE", vtable, table, text)

    return header(len(header(0)) + len(packets)) + packets


def stream(seed, count=40):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 128, (2, count))
    times = np.sort(random.integers(0, 10_000, count))
    return make_events(times, x, y, random.integers(0, 2, count))


def write_cifar10_dvs(root, content, numbers=(0, 900)):
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in numbers:
            file = root / name / f"cifar10_{name}_{number}.aedat4"
            file.write_bytes(content(10 * label + (number > 0)))


def test_aedat4_is_read_exactly_from_files_and_archives(tmp_path):
    pytest.importorskip("aedat")
    events = stream(0)
    (tmp_path / "one.aedat4").write_bytes(aedat4(events))
    for source in (tmp_path / "one.aedat4", io.BytesIO(aedat4(events))):
        assert np.array_equal(read_aedat4(source), events)


@pytest.mark.parametrize("zipped", [False, True])
def test_tonics_cifar10_dvs_is_read_from_folders_and_archives(tmp_path, zipped):
    pytest.importorskip("aedat")
    folder = tmp_path / "CIFAR10DVS"
    write_cifar10_dvs(folder, lambda seed: aedat4(stream(seed)))
    if zipped:
        for name in CLASSES:
            with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
                for file in (folder / name).iterdir():
                    archive.write(file, f"{name}/{file.name}")
        folder.rename(tmp_path / "elsewhere")
    data = load("cifar10_dvs", tmp_path, num_frames=2, size=128)
    assert data.train.labels.tolist() == data.test.labels.tolist() == list(range(10))
    for split, extra in ((data.train, 0), (data.test, 1)):
        want = integrate_by_number(stream(30 + extra), 2, height=128, width=128)
        assert np.array_equal(split.images[3], want)


@pytest.mark.parametrize("kept", [0, 10, 60, 0.5, -1])
def test_an_aedat4_file_cut_short_is_an_error(tmp_path, kept):
    pytest.importorskip("aedat")
    content = aedat4(stream(0))
    kept = int(kept * len(content)) if 0 < kept < 1 else kept
    (tmp_path / "cut.aedat4").write_bytes(content[:kept])
    with pytest.raises(ValueError, match="no whole AEDAT 4 file"):
        read_aedat4(tmp_path / "cut.aedat4")


def test_without_aedat_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(UserError, match="package aedat, which is not here: pip install aedat"):
        read_aedat4(io.BytesIO(aedat4(stream(0))))


def test_what_the_authors_ship_comes_before_tonics_copy(tmp_path):
    write_cifar10_dvs(tmp_path / "CIFAR10DVS", lambda seed: b"not read")
    for label, name in enumerate(CLASSES):
        for number in (5, 950):
            file = tmp_path / "CIFAR10DVS" / name / f"cifar10_{name}_{number}.aedat"
            write_aedat2(file, stream(label))
    data = load("cifar10_dvs", tmp_path, num_frames=2, size=128)
    want = integrate_by_number(stream(7), 2, height=128, width=128)
    assert np.array_equal(data.train.images[7], want)


def test_files_of_both_kinds_do_not_make_one_data_set(tmp_path):
    write_cifar10_dvs(tmp_path, lambda seed: b"")
    (tmp_path / "cat" / "cifar10_cat_0.aedat4").rename(tmp_path / "cat" / "cifar10_cat_0.aedat")
    (tmp_path / "cat" / "cifar10_cat_900.aedat4").unlink()
    with pytest.raises(DataNotFound, match="no single kind of file for all classes"):
        load("cifar10_dvs", tmp_path)
