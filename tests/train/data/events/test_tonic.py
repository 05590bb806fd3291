"""The copies of event data sets that tonic downloads: gestures as arrays, and AEDAT 4 files."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pit_jax.events import integrate_by_number, make_events
from tests.train.event_files import (
    TONIC_TRAIN,
    encode_aedat4,
    encode_npy,
    get_seed,
    make_cifar10_dvs,
    make_rows,
    make_stream,
    make_tonic_gestures,
    make_zip,
    write,
    write_tar,
    zip_classes,
)
from train.data import DataNotFound, load
from train.data.events.aedat4 import read_aedat4
from train.data.events.tonic import read_array
from train.errors import UserError


def count_frames(array, num_frames):
    x, y, p, t = array.astype(int).T
    return integrate_by_number(make_events(1000 * t, x, y, p), num_frames, height=128, width=128)


def write_gestures(root, archived):
    for split, files in make_tonic_gestures().items():
        if archived:
            write_tar(root / f"{split}.tar.gz", files)
        else:
            write(root, files)


@pytest.mark.parametrize("archived", [False, True])
def test_gestures_are_read_from_folders_and_archives(tmp_path, archived):
    (tmp_path / "DVSGesture").mkdir()
    write_gestures(tmp_path / "DVSGesture", archived)
    data = load("dvs_gesture", tmp_path, num_frames=3)
    assert data.num_classes == 11
    assert data.train.labels.tolist() == [4, 0, 10, 0] and data.test.labels.tolist() == [3]
    for seed in range(len(TONIC_TRAIN)):
        assert np.array_equal(data.train.images[seed], count_frames(make_rows(seed), 3))
    assert np.array_equal(data.test.images[0], count_frames(make_rows(0), 3))


def test_milliseconds_are_converted_to_microseconds(tmp_path):
    events = read_array(io.BytesIO(encode_npy(np.array([[3, 5, 1, 7.0], [127, 0, 0, 9.0]]))))
    assert events.tolist() == [(7000, 3, 5, 1), (9000, 127, 0, 0)]


def test_one_split_without_the_other_is_refused(tmp_path):
    write_gestures(tmp_path, archived=True)
    (tmp_path / "ibmGestureTest.tar.gz").unlink()
    with pytest.raises(UserError, match="only one of ibmGestureTrain and ibmGestureTest; get both"):
        load("dvs_gesture", tmp_path)


def test_an_archive_without_the_expected_folder_is_refused(tmp_path):
    write_gestures(tmp_path, archived=True)
    (tmp_path / "ibmGestureTest.tar.gz").rename(tmp_path / "ibmGestureTrain.tar.gz")
    with pytest.raises(UserError, match="not a complete archive .no folder ibmGestureTrain in it"):
        load("dvs_gesture", tmp_path)


def test_users_of_the_other_split_are_refused(tmp_path):
    write_gestures(tmp_path, archived=False)
    folder = tmp_path / "ibmGestureTest"
    (folder / "user24_led").rename(folder / "user23_led")
    with pytest.raises(UserError, match="user23_led/3.npy is in the test split, .* 24 to 29"):
        load("dvs_gesture", tmp_path)


def test_files_of_macos_are_skipped(tmp_path):
    write_gestures(tmp_path, archived=False)
    (tmp_path / "ibmGestureTrain/user02_lab/._4.npy").write_bytes(b"\0")
    assert len(load("dvs_gesture", tmp_path, num_frames=1, size=8).train) == len(TONIC_TRAIN)


@pytest.mark.parametrize("name", ["user01_lab/11.npy", "user01_lab/x.npy", "someone/1.npy"])
def test_file_names_without_a_label_are_refused(tmp_path, name):
    write_gestures(tmp_path, archived=False)
    file = tmp_path / "ibmGestureTrain" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=f"{name}: expected a name like user01_fluorescent/0.npy"):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (encode_npy(make_rows(0))[:-8], "user02_lab/4.npy"),
        (b"", "user02_lab/4.npy: the file is empty"),
        (encode_npy(make_rows(0)[:0]), "user02_lab/4.npy: it has no events"),
        (encode_npy(make_rows(0)[:, :3]), r"expected rows of x, y, p and t, got float64 \(30, 3\)"),
        (encode_npy(np.array([[1, 2, np.nan, 3]])), "expected finite x, y, p and t"),
        (encode_npy(np.array([[1, -2, 0, 3]])), "expected finite x, y, p and t of at least 0"),
        (encode_npy(np.array([[1, 128, 0, 3]])), "y=128, outside of a sensor"),
        (encode_npy(np.array([{}])), "user02_lab/4.npy holds Python objects"),
    ],
)
def test_damaged_arrays_are_refused_by_name(tmp_path, content, message):
    write_gestures(tmp_path, archived=False)
    (tmp_path / "ibmGestureTrain/user02_lab/4.npy").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load("dvs_gesture", tmp_path, num_frames=1)
    assert "ibmGestureTrain/user02_lab/4.npy" in str(error.value)


def test_aedat4_is_read_exactly_from_files_and_archives(tmp_path):
    pytest.importorskip("aedat")
    events = make_stream(0)
    (tmp_path / "one.aedat4").write_bytes(encode_aedat4(events))
    for source in (tmp_path / "one.aedat4", io.BytesIO(encode_aedat4(events))):
        assert np.array_equal(read_aedat4(source), events)


def make_two_of_each_class():
    """Return a recording for training and one for testing of each class."""
    return make_cifar10_dvs((0, 900), ".aedat4", encode_aedat4)


@pytest.mark.parametrize("layout", ["folders", "archives", "an archive of archives"])
def test_tonics_cifar10_dvs_is_read_from_folders_and_archives(tmp_path, layout):
    pytest.importorskip("aedat")
    files = make_two_of_each_class()
    if layout != "folders":
        files = zip_classes(files)
    if layout == "an archive of archives":
        files = {"CIFAR10DVS.zip": make_zip(files)}
    write(tmp_path / "CIFAR10DVS", files)
    data = load("cifar10_dvs", tmp_path, num_frames=2, size=128)
    assert data.train.labels.tolist() == data.test.labels.tolist() == list(range(10))
    for split, number in ((data.train, 0), (data.test, 900)):
        want = integrate_by_number(make_stream(get_seed(3, number)), 2, height=128, width=128)
        assert np.array_equal(split.images[3], want)
    assert {file.name for file in (tmp_path / "CIFAR10DVS").glob("*.*")} == {
        name for name in files if "/" not in name
    }


def test_inner_archives_are_extracted_once_into_the_cache(tmp_path, capsys):
    pytest.importorskip("aedat")
    write(tmp_path / "data", {"CIFAR10DVS.zip": make_zip(zip_classes(make_two_of_each_class()))})
    for lines in (1, 0):
        load("cifar10_dvs", tmp_path / "data", size=8, cache_dir=str(tmp_path / "cache"))
        assert capsys.readouterr().err.count("CIFAR10DVS.zip once, to") == lines
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["CIFAR10DVS.zip"]
    assert len(list((tmp_path / "cache").glob("CIFAR10DVS-*/*.zip"))) == 10
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("at", [0.5, -22])
def test_a_damaged_archive_of_archives_is_refused_and_leaves_no_folder(tmp_path, at):
    archive = bytearray(make_zip(zip_classes(make_cifar10_dvs((0, 900), ".aedat4"))))
    at = int(at * len(archive)) if at == 0.5 else at
    archive[at : at + 8] = b"damaged!"
    (tmp_path / "CIFAR10DVS.zip").write_bytes(archive)
    with pytest.raises(UserError, match="CIFAR10DVS.zip: (.|\n)*fetch it again"):
        load("cifar10_dvs", tmp_path)
    assert not list(tmp_path.glob("cache/*"))
    assert (tmp_path / "CIFAR10DVS.zip").read_bytes() == archive


@pytest.mark.parametrize("kept", [0, 10, 60, 0.5, -1])
def test_truncated_aedat4_files_are_refused(tmp_path, kept):
    pytest.importorskip("aedat")
    content = encode_aedat4(make_stream(0))
    kept = int(kept * len(content)) if 0 < kept < 1 else kept
    (tmp_path / "cut.aedat4").write_bytes(content[:kept])
    with pytest.raises(ValueError, match="not a complete AEDAT 4 file"):
        read_aedat4(tmp_path / "cut.aedat4")


def test_the_error_without_aedat_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(UserError, match="package aedat, which is not installed: pip install aedat"):
        read_aedat4(io.BytesIO(encode_aedat4(make_stream(0))))


def test_the_authors_files_are_read_before_tonics_copy(tmp_path):
    unread = make_cifar10_dvs((0, 900), ".aedat4", lambda events: b"not read")
    write(tmp_path / "CIFAR10DVS", unread | make_cifar10_dvs((5, 950)))
    data = load("cifar10_dvs", tmp_path, num_frames=2, size=128)
    want = integrate_by_number(make_stream(get_seed(7, 5)), 2, height=128, width=128)
    assert np.array_equal(data.train.images[7], want)


def test_files_of_both_kinds_do_not_make_one_data_set(tmp_path):
    files = make_two_of_each_class()
    del files["cat/cifar10_cat_900.aedat4"]
    files["cat/cifar10_cat_0.aedat"] = files.pop("cat/cifar10_cat_0.aedat4")
    write(tmp_path, files)
    with pytest.raises(DataNotFound, match="no single kind of file for all classes"):
        load("cifar10_dvs", tmp_path)


def fake_tonic(**classes) -> SimpleNamespace:
    return SimpleNamespace(datasets=SimpleNamespace(**classes))


def test_missing_data_is_downloaded_by_tonic_if_installed(tmp_path, monkeypatch, capsys):
    asked = []

    def nmnist(save_to, train):
        asked.append((save_to, train))
        for digit in range(2):
            file = Path(save_to) / "NMNIST" / ("Train" if train else "Test") / f"{digit}/00001.bin"
            file.parent.mkdir(parents=True)
            file.write_bytes(bytes([3, 4, 0, 0, 5, 6, 7, 128, 0, 9]))

    monkeypatch.setitem(sys.modules, "tonic", fake_tonic(NMNIST=nmnist))
    assert load("n_mnist", tmp_path, num_frames=1).train.labels.tolist() == [0, 1]
    assert asked == [(str(tmp_path), True), (str(tmp_path), False)]
    assert f"tonic downloads it to {tmp_path}" in capsys.readouterr().err
    load("n_mnist", tmp_path, num_frames=1)
    assert len(asked) == 2


def test_a_failed_download_by_tonic_raises_an_error(tmp_path, monkeypatch):
    def fails(save_to):
        raise RuntimeError("no network here")

    monkeypatch.setitem(sys.modules, "tonic", fake_tonic(CIFAR10DVS=fails))
    with pytest.raises(UserError, match="tonic could not download cifar10_dvs .*no network here"):
        load("cifar10_dvs", tmp_path)


def test_nothing_is_downloaded_for_other_data_sets_or_without_tonic(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tonic", None)  # An import of it fails.
    with pytest.raises(DataNotFound):
        load("n_mnist", tmp_path)
    monkeypatch.setitem(sys.modules, "tonic", fake_tonic())
    with pytest.raises(DataNotFound):
        load("imagenet", tmp_path)
