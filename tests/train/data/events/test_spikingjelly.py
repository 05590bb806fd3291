"""Folders that SpikingJelly leaves: downloads, extracted files, and its `.npz` of events."""

import io

import numpy as np
import pytest

from tests.train.event_files import (
    count_in_frames,
    encode_atis,
    get_seed,
    make_cifar10_dvs,
    make_n_mnist,
    make_stream,
    make_zip,
    write,
    zip_classes,
)
from train.data import load
from train.errors import UserError


def encode_npz(events):
    """Return what SpikingJelly saves: times of the file's type, the rest as integers."""
    buffer = io.BytesIO()
    columns = {name: events[name].astype(int) for name in "xyp"}
    np.savez_compressed(buffer, t=events["t"].astype(">u4"), **columns)
    return buffer.getvalue()


def make_numbers(suffix, encode):
    return make_cifar10_dvs((0, 950), suffix, encode)


@pytest.mark.parametrize("home", ["CIFAR10DVS", "CIFAR10-DVS", ""])
def test_cifar10_dvs_is_found_in_the_events_np_of_spikingjelly(tmp_path, home):
    write(tmp_path / home / "events_np", make_numbers(".npz", encode_npz))
    data = load("cifar10_dvs", tmp_path, num_frames=2, size=128)
    for split, number in ((data.train, 0), (data.test, 950)):
        want = count_in_frames(make_stream(get_seed(3, number)), 2)
        assert np.array_equal(split.images[3], want)


def test_the_authors_files_are_read_before_those_of_spikingjelly(tmp_path):
    unread = make_numbers(".npz", lambda events: b"not read")
    write(tmp_path / "CIFAR10DVS" / "events_np", unread)
    write(tmp_path / "CIFAR10DVS" / "download", zip_classes(make_cifar10_dvs((5, 990))))
    assert len(load("cifar10_dvs", tmp_path, num_frames=1, size=8).train) == 10


def test_n_mnist_is_found_in_the_events_np_of_spikingjelly(tmp_path):
    files = {}
    for split in ("train", "test"):
        for label in (3, 7):
            events = make_stream(label, side=34)
            files[f"{split}/{label}/0000{label}.npz"] = encode_npz(events)
    write(tmp_path / "NMNIST" / "events_np", files)
    data = load("n_mnist", tmp_path, num_frames=4)
    assert data.train.labels.tolist() == data.test.labels.tolist() == [3, 7]
    want = count_in_frames(make_stream(7, side=34), 4, side=34)
    assert np.array_equal(data.test.images[1], want)


def test_n_mnist_is_found_in_the_downloads_of_spikingjelly(tmp_path):
    archives = {f"{split}.zip": make_zip(files) for split, files in make_n_mnist().items()}
    write(tmp_path / "NMNIST" / "download", archives)
    assert len(load("n_mnist", tmp_path, num_frames=1).test) == 2


GESTURES = {
    "train/4/user02_lab_0.npz": 0,
    "train/4/user02_lab_1.npz": 1,
    "train/0/user10_fluorescent_led_0.npz": 2,
    "test/10/user24_led_0.npz": 3,
}


@pytest.mark.parametrize("home", ["DVS128Gesture", "DVSGesture", ""])
def test_gestures_are_found_in_the_events_np_of_spikingjelly(tmp_path, home):
    files = {name: encode_npz(make_stream(seed)) for name, seed in GESTURES.items()}
    write(tmp_path / home / "events_np", files)
    data = load("dvs_gesture", tmp_path, num_frames=2)
    assert data.train.labels.tolist() == [4, 4, 0] and data.test.labels.tolist() == [10]
    for seed in range(3):
        assert np.array_equal(data.train.images[seed], count_in_frames(make_stream(seed), 2))
    assert np.array_equal(data.test.images[0], count_in_frames(make_stream(3), 2))


@pytest.mark.parametrize(
    "name, message",
    [
        ("train/11/user02_lab_0.npz", "expected a name like 0/user01_led_0.npz"),
        ("train/1/mine.npz", "expected a name like 0/user01_led_0.npz"),
        ("train/1/user25_lab_0.npz", "is in the train split, which has users 1 to 23"),
    ],
)
def test_other_names_of_gestures_are_refused(tmp_path, name, message):
    files = {name: encode_npz(make_stream(0)) for name in [*GESTURES, name]}
    write(tmp_path / "events_np", files)
    with pytest.raises(UserError, match=message):
        load("dvs_gesture", tmp_path)


def test_a_missing_split_of_gestures_is_reported_with_the_way_to_get_it(tmp_path):
    files = {name: encode_npz(make_stream(0)) for name in GESTURES if name.startswith("train")}
    write(tmp_path / "events_np", files)
    with pytest.raises(
        UserError, match="events_np/test has no LABEL/user.*; get DvsGesture.tar.gz"
    ):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "user02_lab_0.npz is not an .npz file"),
        (encode_npz(make_stream(0))[:-9], "user02_lab_0.npz is not an .npz file"),
        (encode_npz(make_stream(0, count=0)), "user02_lab_0.npz: it has no events"),
        (encode_npz(make_stream(0, side=200)), "outside of a sensor of height=128"),
        (encode_atis(make_stream(0, side=34)), "user02_lab_0.npz is not an .npz file"),
    ],
)
def test_damaged_files_of_spikingjelly_are_refused_by_name(tmp_path, content, message):
    files = {name: encode_npz(make_stream(0)) for name in GESTURES}
    write(tmp_path / "events_np", files | {"train/4/user02_lab_0.npz": content})
    with pytest.raises(UserError, match=message) as error:
        load("dvs_gesture", tmp_path, num_frames=1)
    assert "user02_lab_0.npz" in str(error.value) and str(error.value).count("\n") < 3


@pytest.mark.parametrize(
    "other",
    [
        "0/user10_fluorescent_led_00.npz",
        "00/user10_fluorescent_led_0.npz",
        "0/user10_Fluorescent_led_0.npz",
    ],
)
def test_one_gesture_under_two_names_is_refused_with_both(tmp_path, other):
    files = {name: encode_npz(make_stream(0)) for name in [*GESTURES, f"train/{other}"]}
    write(tmp_path / "DVSGesture" / "events_np", files)
    with pytest.raises(UserError, match="are the same sample by their names") as error:
        load("dvs_gesture", tmp_path, num_frames=1)
    assert other in str(error.value) and "0/user10_fluorescent_led_0.npz" in str(error.value)
