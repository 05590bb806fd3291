"""The benchmark of frame order: shuffling keeps the frames and changes their order."""

import numpy as np

from benchmarks.frame_order import shuffle_frames


def test_every_sample_keeps_its_frames_in_a_different_order():
    frames = np.random.default_rng(0).integers(0, 9, (30, 10, 3, 3, 2))
    mixed = shuffle_frames(frames, seed=0)
    orders = set()
    for before, after in zip(frames, mixed, strict=True):
        places = [next(i for i in range(10) if np.array_equal(before[i], frame)) for frame in after]
        assert sorted(places) == list(range(10))
        orders.add(tuple(places))
    assert len(orders) == 30


def test_the_order_depends_on_the_seed_only():
    frames = np.arange(2 * 6).reshape(2, 6, 1, 1, 1)
    assert np.array_equal(shuffle_frames(frames, seed=3), shuffle_frames(frames, seed=3))
    assert not np.array_equal(shuffle_frames(frames, seed=3), shuffle_frames(frames, seed=4))
