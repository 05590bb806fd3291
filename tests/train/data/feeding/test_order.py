"""The line on the training samples that no batch of an epoch has."""

import pytest

from train.data.feeding.order import SequentialOrder, TrainingOrder, describe_skipped


def test_samples_that_do_not_fill_a_batch_are_reported_with_a_size_that_fits():
    line = describe_skipped(60, 32)
    assert "trains on 32 of 60 samples and skips 28" in line and "config.batch_size=30" in line


@pytest.mark.parametrize("size, batch_size", [(64, 32), (60, 60), (7, 1)])
def test_nothing_is_reported_when_all_samples_are_used(size, batch_size):
    assert describe_skipped(size, batch_size) == ""


def test_a_proposed_size_divides_among_devices():
    assert "config.batch_size=25 " in describe_skipped(100, 32)
    assert "config.batch_size=20 " in describe_skipped(100, 32, parts=4)
    assert "batch_size=" not in describe_skipped(100, 32, parts=8)


def test_no_much_smaller_batch_is_proposed():
    assert "batch_size=" not in describe_skipped(61, 32)


@pytest.mark.parametrize("size, batch_size, repeats", [(60, 32, 4), (1000, 128, 2), (100, 30, 3)])
def test_the_line_counts_the_different_samples_of_an_epoch(size, batch_size, repeats):
    used = len(set(TrainingOrder(0, size, batch_size, 1, repeats).epoch(0).ravel().tolist()))
    total = size // repeats
    assert f"on {used} of {total} samples and skips {total - used}," in describe_skipped(
        size, batch_size, repeats
    )


@pytest.mark.parametrize("size, batch_size", [(60, 32), (5, 32), (1, 8)])
def test_evaluation_skips_no_sample(size, batch_size):
    order = SequentialOrder(size, batch_size)
    assert sorted(order.index[order.weight > 0].tolist()) == list(range(size))
