"""The simulated camera: events when the log of the light crosses a pixel's threshold."""

import numpy as np
import pytest
from PIL import Image

from pit_jax.events import Camera, integrate_by_time, read_aedat2, write_aedat2

QUIET = {"noise": 0.0, "spread": 0.0}


def picture(seed=0, side=12):
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def test_recordings_depend_on_the_seed_only():
    camera = Camera(16, 16)
    first, again, other = (camera.record(picture(), seed=seed) for seed in (1, 1, 2**40))
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_events_are_in_order_on_the_sensor_and_within_the_recording():
    camera = Camera(16, 18, noise=50.0)
    events = camera.record(picture(), seed=0)
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"].min() >= 0 and events["t"].max() < camera.duration == 300_000
    assert events["x"].max() < 18 and events["y"].max() < 16 and set(events["p"]) == {0, 1}


def test_a_scene_without_contrast_and_noise_is_silent():
    black = np.zeros((4, 4), np.uint8)
    assert len(Camera(8, 8, **QUIET).record(black, seed=0)) == 0
    filled = np.full((8, 8), 200, np.uint8)  # Its border is repeated: nothing moves into view.
    assert len(Camera(8, 8, **QUIET).record(filled, seed=0)) == 0


def test_noise_alone_fires_at_its_rate():
    camera = Camera(20, 20, spread=0.0, noise=100.0)
    count = len(camera.record(np.zeros((2, 2), np.uint8), seed=0))
    expected = 100 * 20 * 20 * 0.3
    assert abs(count - expected) < 5 * expected**0.5


@pytest.mark.parametrize("sample", [1_000, 5_000])
def test_events_sum_to_the_log_of_the_light_within_one_threshold(sample):
    # ON minus OFF events, times the threshold, are the change of the log light since the start.
    camera = Camera(10, 10, sample=sample, **QUIET)
    image = picture(side=10)
    events = camera.record(image, seed=0)
    scene = 0.1 + image / 255
    for t in (100_000, 150_000, 200_000, 300_000):
        change = np.zeros((10, 10))
        before = events[events["t"] < t]
        np.add.at(change, (before["y"], before["x"]), np.where(before["p"] == 1, 0.25, -0.25))
        want = np.log(shift(scene, t)) - np.log(shift(scene, 0))
        assert np.abs(change - want).max() < 0.25 + 1e-9
    assert len(events) > 500


def shift(scene, t):
    """Return the scene shifted along the three saccades of 4 pixels, at times of whole pixels."""
    y, x = {
        0: (-2.0, -2.0),
        100_000: (2.0, 0.0),
        150_000: (0.0, 1.0),
        200_000: (-2.0, 2.0),
        300_000: (-2.0, -2.0),
    }[t]
    assert y == int(y) and x == int(x)
    rows = np.clip(np.arange(10) - int(y), 0, 9)
    columns = np.clip(np.arange(10) - int(x), 0, 9)
    return scene[np.ix_(rows, columns)]


def test_a_moving_bright_image_fires_on_ahead_of_off():
    image = np.zeros((6, 6), np.uint8)
    image[:, 2:4] = 255
    camera = Camera(16, 16, **QUIET)
    # The last saccade moves the image straight to the left.
    last = integrate_by_time(camera.record(image, seed=0), 3, height=16, width=16)[2]
    off, on = last[8, :, 0], last[8, :, 1]
    assert on.sum() > 0 and off.sum() > 0
    columns = np.arange(16)
    assert (columns * on).sum() / on.sum() < (columns * off).sum() / off.sum()


def test_a_recording_written_to_a_file_is_read_unchanged(tmp_path):
    events = Camera(16, 16).record(picture(), seed=3)
    write_aedat2(tmp_path / "digit.aedat", events)
    assert np.array_equal(read_aedat2(tmp_path / "digit.aedat"), events)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"height": 0}, "height must be at least 1, got 0"),
        ({"noise": -1.0}, "noise must be at least 0"),
        ({"noise": np.nan}, "noise must be a finite number"),
        ({"noise": 1e12}, "noise must be at most 1000000"),
        ({"reach": np.inf}, "reach must be a finite number"),
        ({"threshold": np.inf}, "threshold must be a finite number"),
        ({"width": True}, "width must be a whole number"),
        ({"width": 2**16 + 1}, "width must be at most 65536"),  # Coordinates would wrap.
        ({"saccade": 0}, "saccade must be at least 1"),
        ({"threshold": 0.1}, "more than four times the spread, 0.03, .* got 0.1"),
        ({"sample": 3_000}, "multiple of sample=3000 µs, got 100000 µs"),
    ],
)
def test_invalid_fields_of_a_camera_are_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        Camera(**{"height": 8, "width": 8} | fields)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 4), np.uint8),
        np.zeros((4, 4)),
        np.zeros((4, 4, 1), np.uint8),
        [[0, 1], [2, 3]],
        "digit.png",
        None,
    ],
)
def test_an_image_of_another_dtype_rank_or_size_is_an_error(image):
    with pytest.raises(ValueError, match="8 x 8 pixels takes uint8 images .h, w. up to that size"):
        Camera(8, 8).record(image, seed=0)


def test_images_of_pillow_are_recorded_like_their_arrays():
    camera, image = Camera(16, 16), picture()
    assert np.array_equal(
        camera.record(Image.fromarray(image), seed=1), camera.record(image, seed=1)
    )


@pytest.mark.parametrize("seed", [-1, 1.5, None, "1", np.nan])
def test_a_seed_that_is_no_whole_number_is_an_error(seed):
    with pytest.raises((ValueError, TypeError), match="seed"):
        Camera(8, 8).record(np.zeros((4, 4), np.uint8), seed=seed)
