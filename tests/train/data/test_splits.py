"""Splits in memory and on disk return the same samples and batches."""

import numpy as np
import pytest

from train.data import ArraySplit, DiskSplit
from train.data.feeding.order import SequentialOrder, TrainingOrder, epoch_order

SIZE, BATCH = 10, 4
IMAGES = np.arange(SIZE * 6, dtype=np.uint8).reshape(SIZE, 2, 3, 1)
LABELS = np.arange(SIZE, dtype=np.int32) % 3
MEMORY = ArraySplit(IMAGES, LABELS)
DISK = DiskSplit((4, 3, 3), (2, 3, 1), lambda i, rng: (IMAGES[i], LABELS[i]), 0, lambda: None)
ORDERS = [
    SequentialOrder(SIZE, BATCH),
    TrainingOrder(1, SIZE, BATCH, epochs=3),
]


def assert_same(one, other):
    assert one.keys() == other.keys() == {"image", "label"}
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], strict=True)


def test_both_splits_have_the_same_properties():
    for split in (MEMORY, DISK):
        assert (len(split), split.shape, split.dtype) == (SIZE, (2, 3, 1), np.uint8)
        assert split.count_classes(3).tolist() == [4, 3, 3]
    assert DISK.arrays is None
    assert_same(MEMORY.arrays, {"image": IMAGES, "label": LABELS})


def test_samples_are_taken_by_index():
    assert_same(MEMORY.take([7, 0, 7]), {"image": IMAGES[[7, 0, 7]], "label": LABELS[[7, 0, 7]]})
    assert_same(MEMORY.take(range(3)), DISK.take(range(3)))


def test_seeds_of_crops_are_the_given_ones_or_the_indices():
    crop = DiskSplit((9,), (1,), lambda i, rng: (rng.integers(256, size=1), i), 0, lambda: None)
    drawn = [np.random.default_rng(seed).integers(256) for seed in (5, 2, (0, 1))]
    assert crop.take([5, 2])["image"].ravel().tolist() == drawn[:2]
    assert crop.take([8, 8], [2, (0, 1)])["image"].ravel().tolist() == drawn[1:]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rows", [None, np.array([1, 3])])
@pytest.mark.parametrize("first", [0, 2])
def test_batches_follow_the_order(order, rows, first):
    pytest.importorskip("grain")
    expected = [
        MEMORY.take(order.indices(step) if rows is None else order.indices(step)[rows])
        for step in range(first, len(order))
    ]
    for split in (MEMORY, DISK):
        for one, other in zip(split.batches(order, rows, first), expected, strict=True):
            assert_same(one, other)


def test_a_training_order_joins_its_epochs():
    order = ORDERS[1]
    assert len(order) == 6
    steps = np.concatenate([epoch_order(1, epoch, SIZE, BATCH) for epoch in range(3)])
    np.testing.assert_array_equal([order.indices(step) for step in range(6)], steps)
    assert order.crop_seed(3, 2) == (1, 1, steps[3, 2] + 1, 0)
