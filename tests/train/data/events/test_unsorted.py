"""Events out of order are refused, sorted or skipped, as config.data.unsorted says, and counted."""

import struct

import numpy as np
import pytest

from tests.train.event_files import (
    count_in_frames,
    encode_aedat2,
    encode_aedat31,
    encode_atis,
    encode_npy,
    get_seed,
    make_cifar10_dvs,
    make_gestures,
    make_n_mnist,
    make_rows,
    make_stream,
    make_tonic_gestures,
    write,
)
from train.config.cli import parse
from train.data import load
from train.data.events.ordering import order_events
from train.errors import UserError

NAME = "bird/cifar10_bird_5.aedat"


def delay(events, at=10, by=4):
    """Return the events with one of them `by` places later, and its old time."""
    order = list(range(len(events)))
    order.insert(at + by, order.pop(at))
    return events[order]


def write_cifar10_dvs(root, content):
    write(root / "CIFAR10DVS", make_cifar10_dvs((5, 950)) | {NAME: content})


def load_bird(root, rule, num_frames=1):
    data = load("cifar10_dvs", root, num_frames=num_frames, size=128, unsorted=rule)
    return data.train.images[2]


def test_one_event_out_of_order_is_refused_with_the_key_that_accepts_it(tmp_path):
    write_cifar10_dvs(tmp_path, encode_aedat2(delay(make_stream(get_seed(2, 5)))))
    with pytest.raises(UserError, match="bird_5.aedat: events must be in order of time") as error:
        load("cifar10_dvs", tmp_path, num_frames=1)
    assert "--config.data.unsorted=sort, or skip" in str(error.value)
    assert str(error.value).count("\n") < 3


@pytest.mark.parametrize("rule, skipped", [("sort", 0), ("skip", 1)])
def test_one_event_out_of_order_is_sorted_or_skipped_and_counted(tmp_path, rule, skipped, capfd):
    events = make_stream(get_seed(2, 5))
    write_cifar10_dvs(tmp_path, encode_aedat2(delay(events)))
    want = count_in_frames(np.delete(events, 10) if skipped else events, 2)
    assert np.array_equal(load_bird(tmp_path, rule, num_frames=2), want)
    done = {"sort": "sorted", "skip": "skipped"}[rule]
    note = f"note: cifar10_dvs: events out of order were {done} (config.data.unsorted): 1 in 1 rec"
    assert note in " ".join(capfd.readouterr().err.split())
    # A run that finds its frames in the cache reports the count too.
    load_bird(tmp_path, rule, num_frames=2)
    err = " ".join(capfd.readouterr().err.split())
    assert note in err and "cifar10_bird_5.aedat" in err


@pytest.mark.parametrize("rule", ["sort", "skip"])
def test_frames_of_events_in_order_do_not_depend_on_the_rule(tmp_path, rule, capfd):
    write_cifar10_dvs(tmp_path, encode_aedat2(make_stream(get_seed(2, 5))))
    assert np.array_equal(load_bird(tmp_path, rule), load_bird(tmp_path, "refuse"))
    assert "out of order" not in capfd.readouterr().err


def test_gestures_and_n_mnist_and_tonics_gestures_have_the_same_key(tmp_path):
    gestures = make_gestures() | {"user01_led.aedat": encode_aedat31(delay(make_stream(0)))}
    write(tmp_path / "ibm" / "DvsGesture", gestures)
    digits = make_n_mnist()
    digits["Train"]["Train/3/00000.bin"] = encode_atis(delay(make_stream(3, side=34)))
    for files in digits.values():
        write(tmp_path / "digits", files)
    tonic = make_tonic_gestures()
    rows = make_rows(0)
    tonic["ibmGestureTest"]["ibmGestureTest/user24_led/3.npy"] = encode_npy(rows[::-1])
    for files in tonic.values():
        write(tmp_path / "tonic", files)
    for folder, name in (("ibm", "dvs_gesture"), ("digits", "n_mnist"), ("tonic", "dvs_gesture")):
        with pytest.raises(UserError, match="unsorted=sort"):
            load(name, tmp_path / folder, num_frames=1)
        for rule in ("sort", "skip"):
            assert len(load(name, tmp_path / folder, num_frames=1, unsorted=rule).train)


@pytest.mark.parametrize("rule", ["refuse", "sort", "skip"])
def test_a_wrapped_clock_is_reported_and_never_sorted(tmp_path, rule):
    events = make_stream(0, count=100)
    events["t"] = (2**32 - 5_000 + events["t"]) % 2**32
    write_cifar10_dvs(tmp_path, encode_aedat2(events))
    with pytest.raises(
        UserError, match="bird_5.aedat: the clock wrapped: event .*32 bits"
    ) as error:
        load_bird(tmp_path, rule)
    assert "unsorted" not in str(error.value)


@pytest.mark.parametrize("rule", ["refuse", "sort", "skip"])
def test_a_clock_that_wrapped_outside_of_a_gesture_is_reported(tmp_path, rule):
    events = make_stream(0, count=300)
    # The gesture, 0 to 4,000 µs, comes before and after the wrap, and in order by itself.
    events["t"] = np.r_[:4_000:40, 2**31 - 4_000 : 2**31 : 40, :4_000:40]
    labels = b"class,startTime_usec,endTime_usec\n1,0,4000\n"
    files = {"user01_led.aedat": encode_aedat31(events), "user01_led_labels.csv": labels}
    write(tmp_path / "DvsGesture", make_gestures() | files)
    with pytest.raises(UserError, match="user01_led.aedat: the clock wrapped: event 200") as error:
        load("dvs_gesture", tmp_path, num_frames=1, unsorted=rule)
    assert "unsorted" not in str(error.value)
    # Without the first part, the times of the gesture are those of one place only.
    files["user01_led.aedat"] = encode_aedat31(events[100:])
    write(tmp_path / "DvsGesture", files)
    data = load("dvs_gesture", tmp_path, num_frames=1, unsorted=rule)
    assert data.train.images.sum() == 100


@pytest.mark.parametrize("value", ["drop", "", None, True, 1])
def test_unknown_rules_are_refused_with_the_known_ones(tmp_path, value):
    write_cifar10_dvs(tmp_path, encode_aedat2(make_stream(0)))
    with pytest.raises(UserError, match="data.unsorted is .*; it can be refuse, sort, skip"):
        load("cifar10_dvs", tmp_path, unsorted=value)


@pytest.mark.parametrize(
    "times, kept",
    [
        ([1, 2, 9_000, 3, 4, 5], [1, 2, 3, 4, 5]),  # One clock error far ahead costs one event.
        ([5, 1, 2, 3], [1, 2, 3]),
        ([1, 2, 2, 1, 3, 3], [1, 2, 2, 3, 3]),
        ([3, 2, 1], [1]),
    ],
)
def test_as_few_events_as_possible_are_skipped(times, kept):
    events = make_stream(0, count=len(times))
    events["t"] = times
    ordered, count = order_events(events, "skip")
    assert ordered["t"].tolist() == kept and count == len(times) - len(kept)


def test_sorting_leaves_events_of_one_time_in_their_order():
    events = make_stream(0, count=4)
    events["t"], events["x"] = [5, 3, 5, 3], [9, 8, 1, 2]
    ordered, count = order_events(events, "sort")
    assert ordered["x"].tolist() == [8, 2, 9, 1] and count == 2


def test_special_words_of_recordings_are_counted_in_a_note(tmp_path, capfd):
    events = make_stream(get_seed(2, 5))
    content = encode_aedat2(events)
    write_cifar10_dvs(tmp_path, content[:-8] + struct.pack(">II", 1 << 15, 9_000) + content[-8:])
    for _ in range(2):
        assert np.array_equal(load_bird(tmp_path, "refuse"), count_in_frames(events, 1))
        err = " ".join(capfd.readouterr().err.split())
        assert "words that are not events of a pixel, such as triggers, were skipped: 1 in 1" in err


def test_counts_that_are_too_large_to_store_are_counted_in_a_note(tmp_path, capfd):
    events = np.repeat(make_stream(0, count=1), 70_000)
    write_cifar10_dvs(tmp_path, encode_aedat2(events))
    assert load_bird(tmp_path, "refuse").max() == 65_535
    err = " ".join(capfd.readouterr().err.split())
    assert "counts of events above 65,535 were set to it: 1 in 1 recording, such as" in err


def test_counts_of_several_gestures_of_a_recording_are_counted_in_a_note(tmp_path, capfd):
    events = np.repeat(make_stream(0, count=2), 70_000)
    events["t"] = np.repeat([10, 5_000], 70_000)
    labels = b"class,startTime_usec,endTime_usec\n1,0,4000\n2,4000,6000\n"
    files = {"user01_led.aedat": encode_aedat31(events, 2**16), "user01_led_labels.csv": labels}
    write(tmp_path / "DvsGesture", make_gestures() | files)
    load("dvs_gesture", tmp_path, num_frames=1)
    err = " ".join(capfd.readouterr().err.split())
    assert "above 65,535 were set to it: 2 in 2 recordings, such as" in err


def test_the_configs_of_event_data_sets_are_loaded_with_their_defaults(tmp_path):
    write_cifar10_dvs(tmp_path, encode_aedat2(make_stream(get_seed(2, 5))))
    options = parse(["main", "--config", "cifar10_dvs", "--config.data.unsorted=sort"])[0].data
    assert options["unsorted"] == "sort"
    given = dict(options) | {"data_dir": tmp_path}
    assert len(load(given.pop("name"), given.pop("data_dir"), **given).train) == 10


@pytest.mark.parametrize("name", ["cifar10_dvs", "dvs_gesture", "n_mnist"])
@pytest.mark.parametrize(
    "option, value",
    [("num_frames", 0), ("split_by", "x"), ("unsorted", None), ("validation", 1.5)],
)
def test_options_are_checked_before_recordings_are_looked_for(tmp_path, name, option, value):
    with pytest.raises(UserError, match=f"^config.data.{option} "):
        load(name, tmp_path, **{option: value})


def test_the_rule_of_the_split_is_checked_before_recordings_are_looked_for(tmp_path):
    with pytest.raises(UserError, match="^config.data.split is 'x'; it can be "):
        load("cifar10_dvs", tmp_path, split="x")
