"""Frames of events by SpikingJelly's rule, by hand and against a plain loop."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pit_jax.events import integrate_by_number, integrate_by_time, make_events

RULES = {"number": integrate_by_number, "time": integrate_by_time}


def make_on_events(times):
    """Return ON events at one pixel, so that a frame is the number of its events."""
    return make_events(times, np.zeros_like(times), np.zeros_like(times), np.ones_like(times))


def count_per_frame(integrate, times, num_frames):
    frames = integrate(make_on_events(times), num_frames, height=1, width=1)
    assert frames.shape == (num_frames, 1, 1, 2) and (frames[..., 0] == 0).all()
    return frames[:, 0, 0, 1].tolist()


@pytest.mark.parametrize(
    "num_events, num_frames, want",
    [(6, 3, [2, 2, 2]), (8, 3, [2, 2, 4]), (2, 3, [0, 0, 2]), (0, 2, [0, 0]), (3, 1, [3])],
)
def test_frames_by_number_are_equal_and_the_last_takes_the_remainder(num_events, num_frames, want):
    assert count_per_frame(integrate_by_number, list(range(num_events)), num_frames) == want


@pytest.mark.parametrize(
    "times, num_frames, want",
    [
        ([0, 1, 2, 3, 4, 5, 6], 3, [2, 2, 3]),  # Windows of 2 µs; the last one takes 4, 5 and 6.
        ([10, 11, 19, 20], 2, [2, 2]),
        ([0, 5, 5, 5, 10], 2, [1, 4]),  # Half open: an event on a bound goes to the later frame.
        ([0, 1, 30], 3, [2, 0, 1]),  # Nothing happened in the second.
        ([7, 7, 7], 3, [0, 0, 3]),
        ([], 2, [0, 0]),
    ],
)
def test_frames_by_time_are_equally_long_and_the_last_takes_the_rest(times, num_frames, want):
    assert count_per_frame(integrate_by_time, times, num_frames) == want


@pytest.mark.parametrize("rule", RULES)
def test_pixels_and_polarities_are_counted_separately(rule):
    events = make_events([0, 1, 2, 3], [2, 2, 0, 2], [1, 1, 0, 1], [1, 1, 0, 0])
    frames = RULES[rule](events, 1, height=2, width=3)
    want = np.zeros((1, 2, 3, 2), int)
    want[0, 1, 2] = 1, 2
    want[0, 0, 0] = 1, 0
    assert np.array_equal(frames, want)


@st.composite
def streams(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(0, 60))
    times = np.sort(random.integers(0, draw(st.integers(1, 100)), count))
    return make_events(
        times,
        random.integers(0, 5, count),
        random.integers(0, 4, count),
        random.integers(0, 2, count),
    )


@given(streams(), st.integers(1, 9))
def test_frames_equal_a_loop_over_the_events(events, num_frames):
    by_number = np.zeros((num_frames, 4, 5, 2), int)
    by_time = np.zeros((num_frames, 4, 5, 2), int)
    share = len(events) // num_frames
    span = int(events["t"][-1] - events["t"][0]) // num_frames if len(events) else 0
    for i, (t, x, y, p) in enumerate(events.tolist()):
        j = min(i // share, num_frames - 1) if share else num_frames - 1
        by_number[j, y, x, p] += 1
        j = min((t - int(events["t"][0])) // span, num_frames - 1) if span else num_frames - 1
        by_time[j, y, x, p] += 1
    for rule, want in (("number", by_number), ("time", by_time)):
        frames = RULES[rule](events, num_frames, height=4, width=5)
        assert frames.dtype == np.int32 and np.array_equal(frames, want)


@pytest.mark.parametrize("rule", RULES)
def test_events_that_cannot_be_integrated_are_an_error_with_the_position(rule):
    integrate = RULES[rule]
    with pytest.raises(ValueError, match="event 2 .1 µs. comes after 5 µs; sort them first"):
        integrate(make_on_events([0, 5, 1]), 2, height=1, width=1)
    with pytest.raises(ValueError, match="num_frames must be at least 1, got 0"):
        integrate(make_on_events([0, 5]), 0, height=1, width=1)
    with pytest.raises(ValueError, match="event 1 is at x=3, y=0, outside .* height=4, width=3"):
        integrate(make_events([0, 1], [0, 3], [0, 0], [0, 0]), 1, height=4, width=3)
