"""CIFAR10-DVS from folders and archives of its published formats, and errors of all events."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pit_jax.events import read_aedat2
from tests.train.event_files import (
    count_in_frames,
    encode_aedat2,
    encode_aedat31,
    get_seed,
    make_cifar10_dvs,
    make_gestures,
    make_stream,
    write,
    zip_classes,
)
from train.check.samples import check_counts
from train.data import DataNotFound, load
from train.data.events.cifar10_dvs import CLASSES
from train.data.events.recordings import Recording, resize, warn_of_missing
from train.data.events.splits import FOLDER, select_test
from train.errors import UserError

NUMBERS = (0, 5, 899, 900, 999)


@pytest.fixture
def cifar10_dvs(tmp_path):
    """Write five recordings of each class, in folders."""
    write(tmp_path / "CIFAR10DVS", make_cifar10_dvs(NUMBERS))
    return tmp_path


@pytest.fixture
def zips(tmp_path):
    """Write the same recordings as ten archives."""
    write(tmp_path, zip_classes(make_cifar10_dvs(NUMBERS)))
    return tmp_path


@pytest.mark.parametrize("layout", ["cifar10_dvs", "zips"])
def test_cifar10_dvs_trains_on_numbers_below_900(request, layout):
    data = load("cifar10_dvs", request.getfixturevalue(layout), num_frames=3, size=128)
    assert data.num_classes == 10 and data.mean == ()
    for split, numbers in ((data.train, (0, 5, 899)), (data.test, (900, 999))):
        assert split.images.shape == (10 * len(numbers), 3, 128, 128, 2)
        assert split.labels.tolist() == sorted(list(range(10)) * len(numbers))
        for i, number in enumerate(numbers):
            want = count_in_frames(make_stream(get_seed(0, number)), 3)
            assert np.array_equal(split.images[i], want)
        want = count_in_frames(make_stream(get_seed(9, numbers[-1])), 3)
        assert np.array_equal(split.images[-1], want)


def test_cifar10_dvs_has_other_splits(cifar10_dvs):
    data = load("cifar10_dvs", cifar10_dvs, num_frames=2, size=16, split="tebn")
    assert len(data.train.labels) == 30 and len(data.test.labels) == 20  # Numbers 0 and 5 test.
    with pytest.raises(UserError, match="'mine'; it can be first900, tebn, spikingjelly, random"):
        load("cifar10_dvs", cifar10_dvs, split="mine")
    with pytest.raises(UserError, match="tests on rank 900 to 999, which is 0 of the 50"):
        load("cifar10_dvs", cifar10_dvs, split="spikingjelly")


def test_the_random_split_tests_on_the_listed_tenth():
    rule = json.loads((FOLDER / "cifar10_dvs.json").read_text())["random"]
    assert len(rule["test"]) == len(CLASSES)
    for numbers in rule["test"]:
        assert len(set(numbers)) == 100 and set(numbers) <= set(range(1000))
    assert len({tuple(numbers) for numbers in rule["test"]}) == len(CLASSES)
    recordings = [
        Recording(label, number, Path(f"cifar10_{name}_{number}.aedat"))
        for label, name in enumerate(CLASSES)
        for number in range(1000)
    ]
    tested = select_test("cifar10_dvs", "random", recordings).reshape(10, 1000)
    for label, numbers in enumerate(rule["test"]):
        assert np.flatnonzero(tested[label]).tolist() == numbers


def make_weights(length, size):
    """Return weights `[size, length]`: triangles, two new pixels wide, centered on new pixels."""
    scale = length / size
    middles = (np.arange(size)[:, None] + 0.5) * scale
    distances = np.abs(np.arange(length) + 0.5 - middles) / scale
    weights = np.maximum(1 - distances, 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("length, size", [(128, 48), (128, 8), (34, 20)])
def test_frames_are_resized_by_an_antialiased_bilinear_filter(length, size):
    frames = np.random.default_rng(size).integers(0, 30, (2, length, length, 2))
    weights = make_weights(length, size)
    want = np.einsum("iy,tyxc,jx->tijc", weights, frames, weights)
    np.testing.assert_allclose(resize(frames, (size, size)), want, atol=1e-4)
    picked = ((np.arange(size) + 0.5) * length / size).astype(int)
    assert np.abs(frames[:, picked][:, :, picked] - want).max() > 1  # Nearest pixels differ.


def test_resizing_preserves_means_and_does_not_mix_polarities(cifar10_dvs):
    data = load("cifar10_dvs", cifar10_dvs, num_frames=2, size=32)
    assert data.train.images.dtype == np.float32
    want = count_in_frames(make_stream(get_seed(0, 0)), 2)
    np.testing.assert_allclose(
        data.train.images[0].mean(axis=(1, 2)), want.mean(axis=(1, 2)), rtol=0.15
    )
    only_on = want * np.array([0, 1])
    assert (resize(only_on, (32, 32))[..., 0] == 0).all()
    constant = np.broadcast_to([3.0, 5.0], (1, 8, 8, 2))
    np.testing.assert_allclose(resize(constant, (3, 5)), np.broadcast_to([3, 5], (1, 3, 5, 2)))


def test_frames_are_made_once_and_again_if_damaged(cifar10_dvs, capsys):
    def images():
        return load("cifar10_dvs", cifar10_dvs, num_frames=2, size=16).train.images

    first = images()
    assert "making cifar10_dvs once" in capsys.readouterr().err
    assert np.array_equal(images(), first) and "making" not in capsys.readouterr().err
    for shard in (cifar10_dvs / "cache").glob("*/*.npz"):
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert np.array_equal(images(), first)
    assert "is damaged; making it again" in capsys.readouterr().err


def test_a_replaced_file_of_equal_size_has_new_frames(cifar10_dvs):
    def image():
        return load("cifar10_dvs", cifar10_dvs, num_frames=2, size=128).train.images[0]

    assert np.array_equal(image(), count_in_frames(make_stream(0), 2))
    file = cifar10_dvs / "CIFAR10DVS" / "airplane" / "cifar10_airplane_0.aedat"
    was = file.stat()
    file.write_bytes(encode_aedat2(make_stream(77)))
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))  # As cp -p does; the content differs.
    assert file.stat().st_size == was.st_size and np.array_equal(
        image(), count_in_frames(make_stream(77), 2)
    )
    changed = bytearray(encode_aedat2(make_stream(77, count=30_000)))
    file.write_bytes(changed)
    image()
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    changed[-8 * 15_000 + 3] ^= 2  # The column of an event in the middle.
    file.write_bytes(changed)  # Both ends are equal; the time differs.
    assert np.array_equal(image(), count_in_frames(read_aedat2(file), 2))


def test_a_replaced_member_of_equal_size_has_new_frames(zips):
    def image():
        return load("cifar10_dvs", zips, num_frames=2, size=128).train.images[0]

    assert np.array_equal(image(), count_in_frames(make_stream(0), 2))
    files = make_cifar10_dvs(NUMBERS)
    files["airplane/cifar10_airplane_0.aedat"] = encode_aedat2(make_stream(77))
    write(zips, zip_classes(files))
    assert np.array_equal(image(), count_in_frames(make_stream(77), 2))


def test_missing_recordings_print_a_warning_with_counts(cifar10_dvs, capsys):
    data = load("cifar10_dvs", cifar10_dvs, num_frames=1, size=8)
    assert "warning: cifar10_dvs has 5 of 1,000 airplane, 5 of" in capsys.readouterr().err
    (warning,) = check_counts(data)
    assert "has 30 training and 20 test samples, not 9,000 and 1,000: files are missing" in warning


def test_published_counts_print_no_warning(capsys):
    published = ({"train": 1176, "test": 288}, {"train": 1077, "test": 264})
    for found in published:
        warn_of_missing("gestures", found, *published)
    assert capsys.readouterr().err == ""
    warn_of_missing("gestures", {"train": 1077, "test": 260}, *published)
    assert "warning: gestures has 260 of 264 test recordings" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["cifar10_dvs", "zips"])
def test_files_of_macos_are_skipped(request, tmp_path, layout):
    request.getfixturevalue(layout)
    mac = {"cat/._cifar10_cat_0.aedat": b"\0", "__MACOSX/cat/._cifar10_cat_0.aedat": b"\0"}
    mac["__MACOSX/cat/cifar10_cat_1.aedat"] = b"\0"
    if layout == "zips":
        with zipfile.ZipFile(tmp_path / "cat.zip", "a") as archive:
            for name, content in mac.items():
                archive.writestr(name, content)
    else:
        write(tmp_path / "CIFAR10DVS", mac | {"cat/__MACOSX/cifar10_cat_1.aedat": b"\0"})
    data = load("cifar10_dvs", tmp_path, num_frames=1, size=8)
    assert len(data.train) == 30 and len(data.test) == 20


def test_the_error_for_a_missing_class_has_all_places(cifar10_dvs):
    for file in (cifar10_dvs / "CIFAR10DVS" / "cat").iterdir():
        file.unlink()
    with pytest.raises(DataNotFound, match=r"CIFAR10DVS: no cat \(a folder (.|\n)*figshare"):
        load("cifar10_dvs", cifar10_dvs)


def test_a_truncated_recording_is_refused_by_name(cifar10_dvs):
    file = cifar10_dvs / "CIFAR10DVS" / "bird" / "cifar10_bird_5.aedat"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(
        UserError, match="cifar10_bird_5.aedat ends within an event of 8 bytes"
    ) as error:
        load("cifar10_dvs", cifar10_dvs, num_frames=2)
    assert str(error.value).count("cifar10_bird_5.aedat") == 1
    assert "Fetch or extract this file again; docs/guide/data.md" in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (encode_aedat2(make_stream(0, count=0)), "it has no events"),
        (b"", "is not an AEDAT 2.0 file: it starts with b''"),
        (encode_aedat31(make_stream(0)), "is not an AEDAT 2.0 file"),
        (encode_aedat2(make_stream(0)[::-1]), "events must be in order of time"),
    ],
)
@pytest.mark.parametrize("layout", ["cifar10_dvs", "zips"])
def test_wrong_recordings_are_refused_with_one_name_and_the_remedy(
    request, tmp_path, layout, content, message
):
    request.getfixturevalue(layout)
    name = "cifar10_bird_5.aedat"
    if layout == "zips":
        files = make_cifar10_dvs(NUMBERS) | {f"bird/{name}": content}
        write(tmp_path, zip_classes(files))
    else:
        (tmp_path / "CIFAR10DVS" / "bird" / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load("cifar10_dvs", tmp_path, num_frames=2)
    assert str(error.value).count(name) == 1
    assert "Fetch or extract this file again; docs/guide/data.md" in str(error.value)


def damage_member(archive, name, at, value):
    """Return the zip with another 16-bit value, such as the flags, in the headers of `name`."""
    raw = bytearray(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        struct.pack_into("<H", raw, content.getinfo(name).header_offset + at, value)
    listed = raw.rindex(name.encode(), 0, raw.rindex(b"PK\5\6")) - 46
    assert raw[listed : listed + 4] == b"PK\1\2"
    struct.pack_into("<H", raw, listed + at + 2, value)
    return bytes(raw)


@pytest.mark.parametrize(
    "at, value, message", [(6, 1, "is encrypted"), (8, 77, "is packed by method 77")]
)
def test_members_of_a_zip_that_cannot_be_unpacked_are_refused_by_name(zips, at, value, message):
    name = "bird/cifar10_bird_5.aedat"
    whole = (zips / "bird.zip").read_bytes()
    (zips / "bird.zip").write_bytes(damage_member(whole, name, at, value))
    with pytest.raises(UserError) as error:
        load("cifar10_dvs", zips, num_frames=2)
    assert f"{zips / 'bird.zip'}: {name} {message}" in str(error.value)


@pytest.mark.parametrize("at, value, message", [(14, 7, "CRC-32")])
def test_damaged_members_of_a_zip_are_refused_by_name(zips, at, value, message):
    name = "bird/cifar10_bird_5.aedat"
    whole = (zips / "bird.zip").read_bytes()
    (zips / "bird.zip").write_bytes(damage_member(whole, name, at, value))
    with pytest.raises(UserError, match=message) as error:
        load("cifar10_dvs", zips, num_frames=2)
    assert f"{zips / 'bird.zip'} ({name}) is not a recording" in str(error.value)
    assert "Fetch or extract this file again; docs/guide/data.md" in str(error.value)


def test_a_file_name_without_a_number_is_refused(cifar10_dvs):
    folder = cifar10_dvs / "CIFAR10DVS" / "bird"
    (folder / "mine.aedat").write_bytes(b"")
    with pytest.raises(UserError, match="mine.aedat: expected a name like cifar10_airplane_0"):
        load("cifar10_dvs", cifar10_dvs)


def test_a_truncated_zip_is_refused_and_kept(zips):
    whole = (zips / "dog.zip").read_bytes()
    (zips / "dog.zip").write_bytes(whole[:-50])
    with pytest.raises(UserError, match="dog.zip: .*fetch it again"):
        load("cifar10_dvs", zips)
    assert (zips / "dog.zip").read_bytes() == whole[:-50]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"split_by": "count"}, "split_by is 'count'; it can be number, time"),
        ({"split_by": []}, r"split_by is \[\]; it can be number, time"),
        ({"split": 5}, "split is 5; it can be first900"),
        ({"num_frames": 0}, "num_frames must be a whole number and at least 1, got 0"),
        ({"num_frames": 1.5}, "num_frames must be a whole number and at least 1, got 1.5"),
        ({"num_frames": "a"}, "num_frames must be a whole number and at least 1, got 'a'"),
        ({"num_frames": True}, "num_frames must be a whole number and at least 1, got True"),
        ({"num_frames": 10**9}, "1,000,000,000 frames of 48 x 48 pixels need at least .* GiB"),
        ({"size": 10**6}, "10 frames of 1000000 x 1000000 pixels need at least .* GiB"),
        ({"size": 0}, "size must be a whole number and at least 1, got 0"),
    ],
)
def test_invalid_options_of_frames_are_refused(cifar10_dvs, options, message):
    with pytest.raises(UserError, match=message):
        load("cifar10_dvs", cifar10_dvs, **options)


def test_the_error_without_files_has_every_place(tmp_path):
    for name, place in {"cifar10_dvs": "CIFAR10DVS", "dvs_gesture": "DvsGesture.tar.gz"}.items():
        with pytest.raises(DataNotFound, match=f"was not found. Looked for(.|\n)*{place}"):
            load(name, tmp_path)
    with pytest.raises(DataNotFound, match="Train.zip and Test.zip from"):
        load("n_mnist", tmp_path)


def write_bird(root, content):
    name = "bird/cifar10_bird_5.aedat"
    write(root / "CIFAR10DVS", make_cifar10_dvs((5, 950)) | {name: content})


def test_a_recording_of_another_camera_is_refused_by_name(tmp_path):
    davis = b"".join(struct.pack(">II", i << 22 | i << 12, i) for i in range(40))
    write_bird(tmp_path, b"#!AER-DAT2.0\r\n# AEChip: DAVIS240C\r\n" + davis)
    with pytest.raises(
        UserError, match="bird_5.aedat is a recording of the camera 'DAVIS240C'"
    ) as error:
        load("cifar10_dvs", tmp_path)
    assert "again" not in str(error.value)  # Another copy does not help.
    write_bird(tmp_path, b"#!AER-DAT2.0\r\n" + davis)
    with pytest.raises(UserError, match="bird_5.aedat is not a recording of a DVS128: 39 of 40"):
        load("cifar10_dvs", tmp_path)
    gestures = make_gestures()
    name = "user01_led.aedat"
    header = b"#!AER-DAT3.1\r\n#Source 1: DAVIS240C\r\n"
    gestures[name] = gestures[name].replace(b"#!AER-DAT3.1\r\n", header)
    write(tmp_path / "DvsGesture", gestures)
    with pytest.raises(UserError, match="user01_led.aedat is a recording of the camera 'DAVIS240C"):
        load("dvs_gesture", tmp_path)
