"""A user's own event recordings: every format, the size of the camera, layouts and the cache."""

import io

import numpy as np
import pytest

from pit_jax.events import make_events
from tests.train.event_files import (
    count_in_frames,
    encode_aedat2,
    encode_aedat4,
    encode_aedat31,
    encode_atis,
    encode_npy,
    make_stream,
)
from train.data import DataNotFound, load
from train.data.events.event_folder import shrink
from train.errors import UserError


def encode_npz(events, **others) -> bytes:
    content = io.BytesIO()
    np.savez(content, **{name: events[name] for name in "txyp"}, **others)
    return content.getvalue()


def encode_rows(events) -> bytes:
    """Encode x, y, p and milliseconds, as tonic does."""
    return encode_npy(np.stack([*(events[name] for name in "xyp"), events["t"] / 1000], axis=1))


FORMATS = {
    "aedat2": (".aedat", encode_aedat2),
    "aedat3": (".aedat", encode_aedat31),
    "aedat4": (".aedat4", encode_aedat4),
    "aedat4 in aedat": (".aedat", encode_aedat4),
    "atis": (".bin", encode_atis),
    "npz": (".npz", encode_npz),
    "structured": (".NPY", encode_npy),
    "rows": (".npy", encode_rows),
}


def write(place, ending=".npz", encode=encode_npz, *, side=30, count=2, first=0):
    """Write recordings of two classes; return the events by class and number."""
    found = {}
    for name, seed in (("left", 100), ("right", 200)):
        (place / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            events = make_stream(seed + number, side=side)
            events["x"][0], events["y"][0] = side - 1, side - 1  # So that the size is known.
            (place / name / f"{number}{ending}").write_bytes(encode(events))
            found[name, number] = events
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_exactly(tmp_path, kind):
    if "aedat4" in kind:
        pytest.importorskip("aedat")
    ending, encode = FORMATS[kind]
    streams = write(tmp_path / "train", ending, encode)
    write(tmp_path / "test", ending, encode, count=1)
    dataset = load("event_folder", tmp_path, num_frames=3)
    assert dataset.classes == ("left", "right") and dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.train.images.shape == (4, 3, 30, 30, 2)
    for frames, events in zip(dataset.train.images, streams.values(), strict=True):
        assert np.array_equal(frames, count_in_frames(events, 3, side=30))
    assert np.array_equal(
        dataset.read_file(tmp_path / "train" / "right" / f"1{ending}"), dataset.train.images[3]
    )


def test_formats_of_one_data_set_can_differ(tmp_path):
    streams = write(tmp_path / "train", count=1) | write(
        tmp_path / "train", ".bin", encode_atis, count=1, first=1
    )
    write(tmp_path / "val", count=1)
    (tmp_path / "train" / "left" / "notes.txt").write_text("mine")
    dataset = load("event_folder", tmp_path, num_frames=2)
    wanted = [streams[key] for key in sorted(streams)]
    for frames, events in zip(dataset.train.images, wanted, strict=True):
        assert np.array_equal(frames, count_in_frames(events, 2, side=30))
    assert any("skipped, because pit_jax cannot read them: 1 (.txt 1)" in n for n in dataset.notes)


def test_one_folder_is_split_and_its_cache_is_not_a_class(tmp_path, capsys):
    write(tmp_path, count=10)
    for times in (1, 0):
        dataset = load("event_folder", tmp_path, num_frames=2)
        assert [len(dataset.train), len(dataset.test)] == [16, 4]
        assert dataset.test.labels.tolist() == [0, 0, 1, 1]
        said = capsys.readouterr().err
        assert said.count("making event_folder-sensor once") == times
        assert "those of a camera of 30 x 30 pixels" in said and "4 of 20 samples" in said
    assert (tmp_path / "cache").is_dir()


def test_a_table_and_three_splits_are_read(tmp_path):
    write(tmp_path, count=3)
    rows = [
        f"{name}/{number}.npz,{name},{split}"
        for name in ("left", "right")
        for number, split in enumerate(("train", "val", "test"))
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["file,label,split", *rows]))
    dataset = load("event_folder", tmp_path / "mine.csv", num_frames=2)
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [2, 2, 2]
    assert (tmp_path / "cache").is_dir()
    load("event_folder", tmp_path / "mine.csv", num_frames=2, cache_dir=str(tmp_path / "other"))
    assert (tmp_path / "other").is_dir()


def test_large_cameras_are_resized_and_small_ones_are_not(tmp_path):
    assert shrink((260, 346), 64) == (48, 64) and shrink((34, 34), 64) == (34, 34)
    assert shrink((1, 700), 64) == (1, 64)
    write(tmp_path, side=30, count=2)
    dataset = load("event_folder", tmp_path, size=15, num_frames=2, test_share=0.5)
    assert dataset.train.shape == (2, 15, 15, 2) and dataset.train.dtype == np.float32


def test_the_size_of_the_camera_can_be_given(tmp_path):
    write(tmp_path, count=2)
    options = {"num_frames": 2, "test_share": 0.5, "size": 40}
    dataset = load("event_folder", tmp_path, height=40, width=35, **options)
    assert dataset.train.shape == (2, 40, 35, 2)
    assert not any("a camera of" in note for note in dataset.notes)
    said = "outside of a sensor of height=10(.|\n)*another camera than the others"
    with pytest.raises(UserError, match=said):
        load("event_folder", tmp_path, height=10, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"height": -1}, "config.data.height must be a whole number, 0 to measure it, got -1"),
        ({"size": 0}, "config.data.size must be a whole number and at least 1"),
        ({"num_frames": 0}, "config.data.num_frames must be a whole number and at least 1"),
        ({"split_by": "a"}, "config.data.split_by is 'a'; it can be number, time"),
        ({"test_share": 2.0}, "config.data.test_share must be more than 0"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        load("event_folder", tmp_path, **options)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.npz", b"", "left/a.npz is not an .npz file"),
        ("a.npz", encode_npz(make_stream(0, count=0)), "left/a.npz: it has no events"),
        ("a.npy", b"", "left/a.npy: the file is empty"),
        ("a.npy", encode_npy(np.zeros((3, 3))), "expected rows of x, y, p and t"),
        ("a.npy", encode_npy(np.zeros(3, [("a", int)])), "must have the fields t, x, y and p"),
        ("a.bin", b"123", "left/a.bin ends within an event of 5 bytes"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#!END-HEADER\r\nabc", "left/a.aedat ends within a packet"),
        ("a.npz", encode_npz(make_stream(0)[::-1]), "in order of time(.|\n)*unsorted=sort"),
    ],
)
def test_damaged_recordings_are_refused_by_name(tmp_path, name, content, message):
    write(tmp_path)
    (tmp_path / "left" / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load("event_folder", tmp_path, num_frames=2)


def test_the_error_without_recordings_names_the_formats(tmp_path):
    (tmp_path / "train" / "left").mkdir(parents=True)
    with pytest.raises(UserError, match="two or more classes"):
        load("event_folder", tmp_path)
    with pytest.raises(DataNotFound, match=r"recordings \(.aedat, .aedat4, .bin, .npz, .npy\)"):
        load("event_folder", tmp_path / "train")


def test_events_of_one_pixel_are_a_camera_of_one_pixel(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            events = make_events([1, 2], [0, 0], [0, 0], [0, 1])
            (tmp_path / name / f"{number}.npz").write_bytes(encode_npz(events))
    dataset = load("event_folder", tmp_path, num_frames=2, test_share=0.5)
    assert dataset.train.shape == (2, 1, 1, 2)
