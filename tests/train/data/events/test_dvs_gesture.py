"""DVS128-Gesture from IBM's files: recordings with several gestures, labels, lists of splits."""

import numpy as np
import pytest

from tests.train.event_files import (
    GESTURES,
    count_in_frames,
    encode_aedat31,
    encode_npy,
    make_gestures,
    make_rows,
    make_stream,
    make_tonic_gestures,
    write,
    write_tar,
)
from train.data import load
from train.errors import UserError


def write_archive(root, files):
    write_tar(root / "DvsGesture.tar.gz", {f"DvsGesture/{name}": files[name] for name in files})


HEADER = b"class,startTime_usec,endTime_usec\n"


def test_gestures_are_cut_by_the_labels_and_split_by_the_lists(tmp_path):
    write_archive(tmp_path, make_gestures())
    data = load("dvs_gesture", tmp_path, num_frames=2)
    assert data.train.labels.tolist() == [0, 10] and data.test.labels.tolist() == [2]
    assert data.num_classes == 11
    for i, (_, start, end) in enumerate(GESTURES["user01_led"]):
        events = make_stream(0)
        events = events[(events["t"] >= start) & (events["t"] < end)]
        assert np.array_equal(data.train.images[i], count_in_frames(events, 2))
    # After extraction the archive is not needed, and no temporary folder is left.
    (tmp_path / "DvsGesture.tar.gz").unlink()
    again = load("dvs_gesture", tmp_path, num_frames=2)
    assert np.array_equal(again.test.images, data.test.images)
    assert not list(tmp_path.glob("*.part"))


def test_a_truncated_archive_is_refused_and_leaves_no_folder(tmp_path):
    write_archive(tmp_path, make_gestures())
    archive = tmp_path / "DvsGesture.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(UserError, match="DvsGesture.tar.gz is not a complete archive"):
        load("dvs_gesture", tmp_path)
    assert [file.name for file in tmp_path.rglob("*")] == ["DvsGesture.tar.gz", "cache"]


def test_archives_are_extracted_into_cache_dir(tmp_path):
    (tmp_path / "data").mkdir()
    write_archive(tmp_path / "data", make_gestures())
    load("dvs_gesture", tmp_path / "data", num_frames=1, cache_dir=str(tmp_path / "cache"))
    assert [file.name for file in (tmp_path / "data").rglob("*")] == ["DvsGesture.tar.gz"]
    assert (tmp_path / "cache" / "DvsGesture" / "user01_led.aedat").is_file()


@pytest.mark.parametrize(
    "lost", ["user01_led.aedat", "user29_lab_labels.csv", "trials_to_test.txt"]
)
def test_the_error_for_a_partly_extracted_folder_names_the_missing_file(tmp_path, lost):
    files = make_gestures()
    del files[lost]
    write(tmp_path / "DvsGesture", files)
    with pytest.raises(UserError, match=f"{lost} is missing: the archive was extracted in part"):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize(
    "row, message",
    [
        ("12,0,5", "row 2: expected a class of 1 to 11 .* got 12, 0 and 5"),
        ("1,5,5", "row 2: expected a class of 1 to 11 and a start before its end, got 1, 5 and 5"),
        ("1,5", "row 2: expected a class, start and end"),
    ],
)
def test_invalid_labels_are_refused_by_row(tmp_path, row, message):
    labels = f"class,startTime_usec,endTime_usec\n{row}\n".encode()
    write(tmp_path / "DvsGesture", make_gestures() | {"user01_led_labels.csv": labels})
    with pytest.raises(UserError, match=message):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("user01_led_labels.csv", b"", "user01_led_labels.csv has no gesture"),
        ("user01_led_labels.csv", b"\xff\xfe1,0,5", "user01_led_labels.csv is not UTF-8 text"),
        # What is listed twice would count twice, and of two columns one would win.
        ("user01_led_labels.csv", HEADER + b"1,0,5\n1,0,5\n", "labels.csv names 0 to 5 µs 2 times"),
        ("user01_led_labels.csv", HEADER + b"1,0,5\n" * 3, "labels.csv names 0 to 5 µs 3 times"),
        ("user01_led_labels.csv", HEADER + b"1,0,5\n2,0,5\n", "names 0 to 5 µs 2 times"),
        ("user01_led_labels.csv", b"class,Class ," + HEADER, "labels.csv has 3 columns 'class'"),
        ("trials_to_train.txt", b"user01_led.aedat\n" * 2, "names user01_led.aedat 2 times"),
        ("trials_to_train.txt", b"", "trials_to_train.txt names no recording"),
        ("trials_to_train.txt", b"\xffuser01_led.aedat", "trials_to_train.txt is not UTF-8 text"),
        ("trials_to_train.txt", b"README.txt", "trials_to_train.txt: expected names like user01"),
        ("trials_to_train.txt", b"user29_lab.aedat", "user29_lab.aedat is in the train split"),
        (
            "user01_led.aedat",
            encode_aedat31(make_stream(0, count=0)),
            "user01_led.aedat: it has no events",
        ),
        (
            "user01_led_labels.csv",
            b"class,startTime_usec,endTime_usec\n5,4,5\n",
            r"user01_led.aedat: its labels name 4 to 5 µs, but its events are all from",
        ),
    ],
)
def test_wrong_files_of_gestures_are_refused_by_name(tmp_path, name, content, message):
    write(tmp_path / "DvsGesture", make_gestures() | {name: content})
    with pytest.raises(UserError, match=message) as error:
        load("dvs_gesture", tmp_path, num_frames=1)
    assert " again" in str(error.value)


def test_errors_quote_only_the_start_of_long_rows_and_names(tmp_path):
    for name, content in {
        "user01_led_labels.csv": HEADER + b"1,0," + b"9" * 90_000,
        "trials_to_train.txt": b"a" * 90_000,
    }.items():
        write(tmp_path / "DvsGesture", make_gestures() | {name: content})
        with pytest.raises(UserError, match=f"{name}.*expected") as error:
            load("dvs_gesture", tmp_path, num_frames=1)
        assert len(str(error.value)) < 1000


def test_labels_after_the_last_event_print_a_warning(tmp_path, capfd):
    whole = make_stream(0)
    events = whole[: np.searchsorted(whole["t"], 6000)]
    write(tmp_path / "DvsGesture", make_gestures() | {"user01_led.aedat": encode_aedat31(events)})
    load("dvs_gesture", tmp_path, num_frames=1, size=8)
    end = events["t"][-1]
    warning = f"its labels name 3000 to 9999 µs, but its events end at {end} µs; is the file trunc"
    assert warning in " ".join(capfd.readouterr().err.split())


def test_missing_gestures_print_a_warning_with_counts(tmp_path, capsys):
    write(tmp_path / "DvsGesture", make_gestures())
    load("dvs_gesture", tmp_path, num_frames=1, size=8)
    assert "dvs_gesture has 2 of 1,077 train, 1 of 264 test" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["11", "-1", "\u00b2", "1.5", "left"])  # A digit, but no number.
def test_gestures_of_tonic_with_other_labels_are_refused_by_name(tmp_path, label):
    files = {name: raw for of in make_tonic_gestures().values() for name, raw in of.items()}
    extra = {f"ibmGestureTrain/user02_lab/{label}.npy": encode_npy(make_rows(0))}
    write(tmp_path / "DVSGesture", files | extra)
    with pytest.raises(UserError, match=f"{label}.npy: expected a name like .* label of 0 to 10"):
        load("dvs_gesture", tmp_path)
