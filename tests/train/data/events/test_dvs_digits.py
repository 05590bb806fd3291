"""Digits as events: deterministic recordings, frames in memory, whose order matters."""

import numpy as np
import pytest

from pit_jax.events import integrate_by_number
from train.data.events.dvs_digits import dvs_digits, record, record_frames
from train.data.images.digits import digits
from train.errors import UserError


def test_a_sample_has_the_events_of_its_digit_in_frames_of_equal_counts():
    image = digits().train.images[3, ..., 0]
    events = record(image, seed=3)
    frames = record_frames(image[None].repeat(4, axis=0), 0, 10, range(3, 4))
    assert frames.dtype == np.uint8 and frames.shape == (1, 10, 20, 20, 2)
    assert np.array_equal(frames[0], integrate_by_number(events, 10, height=20, width=20))
    per_frame = frames.sum(axis=(2, 3, 4))[0]
    assert (per_frame[:-1] == len(events) // 10).all() and per_frame.sum() == len(events)


def test_training_and_test_samples_have_different_noise():
    image = digits().train.images[0, ..., 0]
    assert not np.array_equal(record(image, seed=0), record(image, seed=1437))


def test_polarity_is_reversed_in_the_last_saccade():
    """Compare the first and last saccades: an edge that was ON is OFF on the way back."""
    images = digits().train.images[:20, ..., 0]
    frames = record_frames(images, 0, 10, range(20)).astype(float)
    sign = frames[..., 1] - frames[..., 0]  # ON minus OFF.
    early, late = sign[:, 1].mean(axis=0).ravel(), sign[:, 8].mean(axis=0).ravel()
    assert np.corrcoef(early, late)[0, 1] < -0.2


@pytest.mark.parametrize("num_frames", [0, 1.5, "a"])
def test_invalid_numbers_of_frames_are_refused(tmp_path, num_frames):
    with pytest.raises(UserError, match=f"num_frames must be a whole .*, got {num_frames!r}"):
        dvs_digits(tmp_path, num_frames=num_frames)


def test_frames_that_memory_cannot_hold_are_refused(tmp_path):
    with pytest.raises(UserError, match="1,000,000,000 frames of 20 x 20 pixels need at least"):
        dvs_digits(tmp_path, num_frames=10**9)
