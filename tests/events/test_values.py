"""Events in any form become one checked array, or are refused with the value and index."""

import io
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from pit_jax.events import (
    EVENT,
    convert_events,
    integrate_by_number,
    integrate_by_time,
    make_events,
    write_aedat2,
)
from pit_jax.events.stream import check_order, check_sensor

ZEROS = np.zeros(4, int)
TIMES = np.arange(4)
WANT = [(0, 3, 5, 0), (1, 4, 6, 1), (2, 5, 7, 1), (3, 6, 8, 0)]
X, Y, P = np.arange(3, 7), np.arange(5, 9), np.array([0, 1, 1, 0])


def make_structured(**types):
    """Return WANT as a structured array with these fields, in this order, x y t p by name."""
    values = dict(zip("txyp", (TIMES, X, Y, P), strict=True))
    events = np.empty(4, [(name, dtype) for name, (dtype, _) in types.items()])
    for name, (_, column) in types.items():
        events[name] = values[column]
    return events


# Every function that takes events, called with the events only.
TAKERS = {
    "convert_events": convert_events,
    "integrate_by_number": lambda events: integrate_by_number(events, 2, height=9, width=9),
    "integrate_by_time": lambda events: integrate_by_time(events, 2, height=9, width=9),
    "check_sensor": lambda events: check_sensor(events, 9, 9),
    "write_aedat2": lambda events: write_aedat2("/nonexistent/events.aedat", events),
}


@pytest.fixture(params=TAKERS)
def take(request):
    return TAKERS[request.param]


@pytest.mark.parametrize(
    "p, want",
    [
        ([0, 1, 1, 0], [0, 1, 1, 0]),
        ([-1, 1, -1, 1], [0, 1, 0, 1]),
        ([-1, -1, -1, -1], [0, 0, 0, 0]),
        ([1.0, -1.0, 1.0, 1.0], [1, 0, 1, 1]),
        (np.array([False, True, True, False]), [0, 1, 1, 0]),
        (np.array([1, 0, 1, 0], ">u4"), [1, 0, 1, 0]),
        (np.array([-1, 1, 1, -1], np.int8), [0, 1, 1, 0]),
    ],
)
def test_polarity_is_0_and_1_or_minus_1_and_1_or_boolean(p, want):
    assert make_events(TIMES, ZEROS, ZEROS, p)["p"].tolist() == want


@pytest.mark.parametrize(
    "p, message",
    [
        ([0, 1, 2, 1], "got 2 at event 2. If 2 means ON, pass p == 2"),
        ([1, 2, 1, 2], "got 2 at event 1"),
        ([0, 255, 0, 255], "got 255 at event 1"),
        (np.array([-1, 1, 0, 1], np.int8).view(np.uint8), "got 255 at event 0"),
        ([0, 0.5, 1, 1], "got 0.5 at event 1"),
        ([0, 1, np.nan, 1], "got nan at event 2.$"),  # NaN is not equal to itself.
        ([-2, 1, -2, 1], "got -2 at event 0"),
        ([0, 1, -1, 1], "got both: 0 at event 0 and -1 at event 2. If only 1 means ON"),
        (["on", "off", "on", "on"], "p must be numbers"),
        (np.array([0, 1, 1, 256]), "got 256 at event 3"),
    ],
)
def test_polarity_of_other_codes_is_refused(p, message):
    with pytest.raises(ValueError, match=message):
        make_events(TIMES, ZEROS, ZEROS, p)


def test_polarity_of_other_codes_in_a_structured_array_is_refused_by_every_function(take):
    for code, dtype in ((2, np.uint8), (255, np.uint8), (-3, np.int16), (7, np.int64)):
        events = np.zeros(4, [("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", dtype)])
        events["p"][2] = code
        with pytest.raises(ValueError, match=f"got {code} at event 2"):
            take(events)


@pytest.mark.parametrize(
    "t, message",
    [
        ([0.0, 0.5, 1, 2], "got 0.5 at event 1. Are these seconds. Then pass np.rint.t . 1e6"),
        ([0.001, 0.002, 0.003, 0.004], "got 0.001 at event 0. Are these seconds"),
        ([0, 1, np.nan, 3], "got nan at event 2"),
        ([0, 1, np.inf, 3], "got inf at event 2"),
        ([0, 1, 2, -np.inf], "got -inf at event 3"),
        ([0, 1, 2, 1e30], "got 1e.30 at event 3"),
        (np.array([0, 1, 2**63, 3], np.uint64), "got 9223372036854775808 at event 2"),
        ([0, 1, 2**64, 2**70], "got 18446744073709551616 at event 2"),
        (np.array([0, 1, 2, 2**24 + 8], np.float32), "float32 has exact whole numbers only below"),
        ([0, 1, 2, 2.0**53], "float64 has exact whole numbers only below 9,007,199,254,740,992"),
        (np.array(TIMES, "m8[us]"), "t must be numbers"),
        (["0", "1", "2", "3"], "t must be numbers"),
        (TIMES.astype(bool), "t must be numbers"),
        (TIMES.astype(complex), "t must be numbers"),
        (TIMES[:, None], r"got the shape \(4, 1\)"),
        ([[0], [1, 2], [3], [4]], "t must be numbers"),
        (np.zeros((), int), r"got the shape \(\)"),
        (np.ma.masked_array(TIMES, TIMES == 2), "t has masked values"),
        (TIMES[:3], "one value for each event, got 3, 4, 4 and 4 values"),
    ],
)
def test_times_that_are_not_whole_microseconds_are_refused(t, message):
    with pytest.raises(ValueError, match=message):
        make_events(t, ZEROS, ZEROS, ZEROS)


@pytest.mark.parametrize(
    "t", [[0.0, 1.0, 2.0, 3.0], np.arange(4, dtype=np.float32), np.arange(4, dtype=np.uint64)]
)
def test_times_of_whole_floats_and_unsigned_types_are_accepted(t):
    assert make_events(t, ZEROS, ZEROS, ZEROS)["t"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize(
    "values, message",
    [
        ([0, -1, 2, 3], "must be from 0 to 65,535, got -1 at event 1"),
        (np.array([0, 1, -5, 3], np.int16), "got -5 at event 2"),
        ([0, 65536, 2, 3], "got 65536 at event 1"),
        ([0, 1, 2, 2**40], "got 1099511627776 at event 3"),
        ([0, 1.5, 2, 3], "must be whole numbers, got 1.5 at event 1"),
        ([0, 1, np.nan, 3], "got nan at event 2"),
        ([0, 1, 2, np.inf], "got inf at event 3"),
    ],
)
def test_coordinates_below_zero_or_too_large_are_refused_before_any_cast(name, values, message):
    columns = {"x": ZEROS, "y": ZEROS} | {name: values}
    with pytest.raises(ValueError, match=f"{name} .*{message}"):
        make_events(TIMES, columns["x"], columns["y"], ZEROS)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.float32])
def test_negative_coordinates_of_structured_arrays_are_refused_by_every_function(take, dtype):
    events = make_structured(x=(dtype, "x"), y=(dtype, "y"), t=("i8", "t"), p=("?", "p"))
    events["y"][1] = -2
    with pytest.raises(ValueError, match="y must be from 0 to 65,535, got -2"):
        take(events)


def test_coordinates_outside_of_the_sensor_are_refused_by_their_index():
    events = make_events(TIMES, X, Y, P)
    for size, message in (((9, 6), "event 3 is at x=6, y=8"), ((7, 9), "event 2 is at x=5, y=7")):
        with pytest.raises(ValueError, match=message):
            integrate_by_number(events, 1, height=size[0], width=size[1])


@pytest.mark.parametrize(
    "events",
    [
        # pit_jax, tonic, Metavision, aedat, dv-processing, files of RPG.
        make_structured(t=("i8", "t"), x=("u2", "x"), y=("u2", "y"), p=("u1", "p")),
        make_structured(x=("i2", "x"), y=("i2", "y"), t=("i8", "t"), p=("?", "p")),
        make_structured(x=("u2", "x"), y=("u2", "y"), p=("i2", "p"), t=("i8", "t")),
        make_structured(t=("u8", "t"), x=("u2", "x"), y=("u2", "y"), on=("?", "p")),
        make_structured(timestamp=("i8", "t"), x=("i2", "x"), y=("i2", "y"), polarity=("i1", "p")),
        make_structured(ts=(">u4", "t"), xs=("f4", "x"), ys=("f4", "y"), ps=("f8", "p")),
        {"t": TIMES, "x": X, "y": Y, "p": P},
        {"t": TIMES.tolist(), "x": X.tolist(), "y": Y.tolist(), "p": [-1, 1, 1, -1]},
        {"T": TIMES, "X": X, "Y": Y, "P": P, "label": 3},
    ],
)
def test_structured_arrays_and_mappings_of_other_libraries_are_converted(events):
    assert convert_events(events).tolist() == WANT
    want = integrate_by_time(make_events(TIMES, X, Y, P), 2, height=9, width=9)
    assert np.array_equal(integrate_by_time(events, 2, height=9, width=9), want)


def test_an_npz_file_of_spikingjelly_is_converted():
    buffer = io.BytesIO()
    np.savez(buffer, t=TIMES, x=X, y=Y, p=P)
    buffer.seek(0)
    assert convert_events(np.load(buffer)).tolist() == WANT


def test_canonical_arrays_are_not_copied():
    events = make_events(TIMES, X, Y, P)
    assert convert_events(events) is events


@pytest.mark.parametrize(
    "events, message",
    [
        (np.zeros((5, 4)), r"got ndarray of shape \(5, 4\). Name the columns: make_events\(a"),
        (np.zeros((4, 4), int), "Name the columns"),
        (np.zeros((4, 5), int), "Name the columns"),
        ([[0, 1, 2, 1]], "got list. Name the columns"),
        ((TIMES, X, Y, P), "got tuple. Name the columns"),
        (None, "got NoneType"),
        ("recording.aedat", "got str"),
        (5, "got int"),
        ({"t": TIMES, "x": X, "y": Y}, "must have the fields t, x, y and p, got t, x, y"),
        ({}, "got dict"),
        ({"t": TIMES, "ts": TIMES, "x": X, "y": Y, "p": P}, "several fields for t: t, ts"),
        (np.zeros((2, 3), EVENT), r"must be \[N\], got the shape \(2, 3\)"),
        (np.zeros((), EVENT), r"must be \[N\], got the shape \(\)"),
        (np.zeros(3, [("a", int), ("b", int)]), "got a, b. Name them"),
        ({"t": TIMES, "x": X[:2], "y": Y, "p": P}, "got 4, 2, 4 and 4 values"),
    ],
)
def test_arrays_without_named_columns_are_refused_by_every_function(take, events, message):
    with pytest.raises(ValueError, match=message) as error:
        take(events)
    assert str(error.value).count("\n") < 3


@pytest.mark.parametrize(
    "events, advice",
    [
        (np.zeros((9, 4)), r"make_events\(a\[:, 0\], a\[:, 1\]"),
        (np.zeros((4, 9999)), r"make_events\(t, x, y, p\)"),
        ([(0, 1, 2, 1), (1, 1, 2, 1)], r"make_events\(t, x, y, p\)"),
        ((TIMES, X, Y, P), r"make_events\(t, x, y, p\)"),
        (None, r"make_events\(t, x, y, p\)"),
        ("recording.aedat", "Read the file first, for example by read_aedat2"),
        (Path("recording.aedat"), "Read the file first"),
    ],
)
def test_the_advice_for_events_without_names_fits_their_type(take, events, advice):
    with pytest.raises(ValueError, match=f"named fields t, x, y and p, got .*{advice}"):
        take(events)


@pytest.mark.parametrize("bits", [16, 24, 31, 32])
def test_a_wrapped_clock_is_reported(bits):
    t = np.arange(2**bits - 50, 2**bits + 50) % 2**bits
    with pytest.raises(ValueError, match=f"the clock wrapped: event 50 .0 µs.*of {bits} bits"):
        check_order(t)
    if bits == 32:  # As signed times.
        with pytest.raises(ValueError, match="the clock wrapped: event 50 .*32 bits"):
            check_order(np.arange(2**31 - 50, 2**31 + 50).astype(np.uint32).view(np.int32))


def test_a_late_event_or_a_second_recording_is_not_called_a_wrapped_clock():
    t = np.arange(2**16 - 50, 2**16 + 50)
    damaged = np.r_[t[:50], t[49] + 300 - 2**32]  # The sign of a signed clock does not fit.
    for late in (
        *(np.r_[t[:50], 3, t[50:]], np.r_[t[:50], t[:50]], np.r_[1_000_000 + t, t], damaged),
    ):
        with pytest.raises(ValueError, match="must be in order of time"):
            check_order(late)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64, np.uint64])
@pytest.mark.parametrize("integrate", [integrate_by_number, integrate_by_time])
def test_frames_of_sizes_of_any_integer_type_are_those_of_python_integers(integrate, dtype):
    events = make_events(np.arange(1000), X.repeat(250) + 100, Y.repeat(250), P.repeat(250))
    sizes = {"num_frames": 20, "height": 9, "width": 107}
    frames = integrate(events, **{name: dtype(value) for name, value in sizes.items()})
    assert np.array_equal(frames, integrate(events, **sizes))


@pytest.mark.parametrize("value", [2.5, 0, -1, "3", None, True, np.nan, np.array([2]), [2]])
@pytest.mark.parametrize("name", ["num_frames", "height", "width"])
def test_frames_of_sizes_that_are_not_whole_are_refused(name, value):
    sizes = {"num_frames": 2, "height": 9, "width": 9} | {name: value}
    with pytest.raises((ValueError, TypeError), match=name):
        integrate_by_number(make_events(TIMES, X, Y, P), **sizes)


@pytest.mark.parametrize("name", ["num_frames", "height", "width"])
def test_frames_that_need_more_memory_than_machines_have_are_refused(name):
    sizes = {"num_frames": 2, "height": 9, "width": 9} | {name: 10**12}
    with pytest.raises(ValueError, match=f"{name}=1000000000000.* bytes; choose smaller"):
        integrate_by_time(make_events(TIMES, X, Y, P), **sizes)


def test_frames_that_need_more_memory_than_there_is_are_refused(monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(np, "bincount", fail)
    with pytest.raises(ValueError, match="height=9 and width=9 need more memory than there is"):
        integrate_by_number(make_events(TIMES, X, Y, P), 2, height=9, width=9)


def test_times_at_both_ends_of_64_bits_are_divided_correctly():
    events = make_events([-(2**63), -2, 0, 2**63 - 1], X, Y, P)
    frames = integrate_by_time(events, 2, height=9, width=9)
    assert frames.sum(axis=(1, 2, 3)).tolist() == [2, 2]


DTYPES = [np.int8, np.uint8, np.int16, np.int64, np.uint64, np.float16, np.float32, np.float64]
ANY_NUMBERS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        2,
        elements=st.sampled_from([0, 1, 2, 100]) | arrays.from_dtype(np.dtype(dtype)),
    )
)


@given(ANY_NUMBERS, ANY_NUMBERS, ANY_NUMBERS, ANY_NUMBERS)
def test_accepted_events_have_the_values_that_were_passed(t, x, y, p):
    try:
        events = make_events(t, x, y, p)
    except ValueError:
        return
    for name, column in {"t": t, "x": x, "y": y}.items():
        assert events[name].tolist() == [int(value) for value in column.tolist()]
        assert all(int(value) == value for value in column.tolist())
    assert events["p"].tolist() == [int(value > 0) for value in p.tolist()]
    assert set(p.tolist()) <= {0, 1} or set(p.tolist()) <= {-1, 1}
