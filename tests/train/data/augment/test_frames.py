"""Augmentation of event frames: samples move as a whole, uniformly over all allowed moves."""

import jax
import numpy as np
import pytest
from PIL import Image

from tests.helpers import jit_once
from train.data.augment import flip_frames, roll_frames, rotate_frames

DRAWS = 10_000
FRAMES = np.random.default_rng(0).integers(0, 9, (3, 4, 9, 12, 2)).astype(np.float32)
MOVES = {
    "flip": flip_frames,
    "roll": lambda key, frames: roll_frames(key, frames, pixels=2),
    "rotate": lambda key, frames: rotate_frames(key, frames, degrees=15),
}


def rotate_with_pillow(frame: np.ndarray, degrees: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).rotate(degrees))


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_all_steps_and_channels_of_a_sample_move_together(key, move, dtype):
    frames = np.broadcast_to(FRAMES[:, :1, ..., :1], FRAMES.shape).astype(dtype)
    out = np.asarray(jit_once(move)(key, frames))
    assert out.dtype == dtype and out.shape == frames.shape
    assert (out == out[:, :1, ..., :1]).all()
    assert (out != frames).any()


def test_half_of_the_samples_are_mirrored_as_a_whole(key):
    out = np.asarray(jit_once(flip_frames)(key, np.repeat(FRAMES[:1], DRAWS // 10, axis=0)))
    mirrored = (out == FRAMES[0, :, :, ::-1]).all(axis=(1, 2, 3, 4))
    assert (out[~mirrored] == FRAMES[0]).all()
    assert abs(mirrored.mean() - 0.5) < 3 * 0.5 / np.sqrt(DRAWS // 10)


def test_every_roll_is_drawn_equally_often(key):
    image = np.arange(30).reshape(1, 1, 6, 5, 1).astype(np.float32)
    out = jit_once(lambda key: roll_frames(key, np.repeat(image, DRAWS, axis=0), pixels=2))(key)
    out, found = np.asarray(out)[:, 0, :, :, 0], 0
    for down in range(-2, 3):
        for right in range(-2, 3):
            count = (out == np.roll(image[0, 0, :, :, 0], (down, right), (0, 1))).all((1, 2)).sum()
            assert abs(count - DRAWS / 25) < 4 * np.sqrt(DRAWS / 25 * 24 / 25)  # Largest of 25.
            found += count
    assert found == DRAWS


def test_rotations_equal_pillows_and_are_uniform_over_whole_degrees(key):
    sample = np.random.default_rng(0).random((1, 2, 24, 20, 1)).astype(np.float32)
    frames = np.repeat(sample, 1_500, axis=0)
    out = np.asarray(jit_once(lambda key: rotate_frames(key, frames, degrees=15))(key))[..., 0]
    turns = [
        [rotate_with_pillow(frame, degrees) for frame in sample[0, ..., 0]]
        for degrees in range(-15, 15)
    ]
    # Some degrees move no pixel of an image this small.
    different, angles = np.unique(np.stack(turns), axis=0, return_counts=True)
    assert len(different) > 20
    counts = [(out == want).all(axis=(1, 2, 3)).sum() for want in different]
    assert sum(counts) == 1_500
    np.testing.assert_allclose(counts, 50 * angles, atol=4 * 7 * np.sqrt(angles.max()))  # 4 sigma


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_key_determines_the_batch_with_and_without_x64(key, move):
    move = jit_once(move)
    once = np.asarray(move(key, FRAMES))
    assert (move(key, FRAMES) == once).all()
    assert any((move(other, FRAMES) != once).any() for other in jax.random.split(key, 9))
    with jax.enable_x64(True):
        assert (move(key, FRAMES) == once).all()
