"""`train_images` and `validation`: chosen images and refused values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.check.samples import check_counts, make_table
from train.data import ArraySplit, Dataset, DiskSplit, load
from train.data.images.digits import read_digits
from train.data.subsets import choose_subsets, draw_balanced, draw_share
from train.errors import UserError

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)


def make_numbers(count, classes=4):
    """Return a data set in which each image is its index, `N 1 1 1`."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    train = ArraySplit(images, np.arange(count, dtype=np.int32) % classes)
    return Dataset("numbers", train, ArraySplit(images[:3], train.labels[:3]), classes)


def read_places(split):
    return split.images.ravel().tolist()


@given(LABELS, st.data())
def test_chosen_images_are_as_balanced_as_possible(labels, data):
    count = data.draw(st.integers(0, len(labels)))
    chosen = draw_balanced(labels, count)
    assert (np.diff(chosen) > 0).all() and len(chosen) == count
    there, taken = np.bincount(labels), np.bincount(labels[chosen], minlength=labels.max() + 1)
    # A class has fewer images than another only if all are chosen, or by the remainder.
    short = taken < there
    assert (taken[short] >= taken.max() - 1).all()
    # The remainder goes to the first classes that still have an image.
    smaller = np.flatnonzero(short & (taken == taken.max() - 1))
    larger = np.flatnonzero(taken == taken.max())
    assert smaller.size == 0 or larger.max() < smaller.min()


@given(LABELS, st.data())
def test_smaller_subsets_are_part_of_larger_ones(labels, data):
    few, many = sorted(data.draw(st.lists(st.integers(0, len(labels)), min_size=2, max_size=2)))
    assert set(draw_balanced(labels, few)) <= set(draw_balanced(labels, many))


@given(LABELS, st.data())
def test_validation_has_the_same_share_of_every_class(labels, data):
    count = data.draw(st.integers(0, len(labels)))
    drawn = draw_share(labels, count)
    assert (np.diff(drawn) > 0).all() and len(drawn) == count
    sizes = np.bincount(labels)
    taken = np.bincount(labels[drawn], minlength=len(sizes))
    # Rounding a share to whole images changes a class by less than one, and their sum by half of
    # one for each class; the correction moves all classes together.
    assert (abs(taken - count / len(labels) * sizes) <= 1 + len(sizes) / 2).all()


def test_subsets_of_equal_classes_are_equal():
    labels = np.repeat(np.arange(5), 20)
    assert np.bincount(labels[draw_share(labels, 10)]).tolist() == [2] * 5
    assert np.bincount(labels[draw_balanced(labels, 12)]).tolist() == [3, 3, 2, 2, 2]


def test_other_classes_fill_the_gap_of_a_class_with_too_few_images():
    labels = np.array([0] * 9 + [1] + [2] * 9)
    assert np.bincount(labels[draw_balanced(labels, 10)]).tolist() == [5, 1, 4]


def test_rare_classes_stay_in_training():
    labels = np.array([0] * 50 + [1, 1] + [2] * 48)
    assert 1 not in labels[draw_share(labels, 10)]


def test_parts_are_disjoint_and_have_their_indices():
    whole = make_numbers(60)
    dataset = choose_subsets(whole, 40, 0.25)
    train, validation = dataset.subset["train"], dataset.subset["validation"]
    assert (len(train), len(validation)) == (30, 10)
    assert read_places(dataset.train) == train.tolist()
    assert read_places(dataset.validation) == validation.tolist()
    assert not set(train) & set(validation)
    assert np.array_equal(dataset.train.labels, whole.train.labels[train])
    assert read_places(dataset.test) == read_places(whole.test)
    first = choose_subsets(whole, 40)
    assert set(train) | set(validation) == set(first.subset["train"])


def test_subsets_are_the_same_in_every_run():
    # NumPy promises this stream of bits; another choice would change what runs are compared on.
    labels = np.arange(100) % 10
    assert draw_balanced(labels, 12).tolist() == [3, 11, 17, 20, 21, 48, 55, 59, 60, 64, 92, 96]
    assert draw_share(labels, 12).tolist() == [4, 7, 10, 12, 18, 23, 35, 41, 60, 66, 71, 79]


def test_the_data_set_is_unchanged_without_options():
    whole = make_numbers(8)
    assert choose_subsets(whole) is whole
    assert whole.validation is None and whole.subset == {}


def test_unchosen_digits_join_the_test_images():
    dataset, (train, test) = load("digits", train_images=200), read_digits()
    assert (len(dataset.train), len(dataset.test)) == (200, 1_597)
    assert np.bincount(dataset.train.labels).tolist() == [20] * 10
    chosen = dataset.subset["train"]
    assert np.array_equal(dataset.train.images, train.images[chosen])
    rest = np.delete(np.arange(len(train)), chosen)
    assert np.array_equal(dataset.test.images, np.concatenate([test.images, train.images[rest]]))
    assert np.array_equal(dataset.test.labels, np.concatenate([test.labels, train.labels[rest]]))
    whole = load("digits")
    assert (dataset.mean, dataset.std) == (whole.mean, whole.std)


def test_validation_digits_do_not_join_the_test_images():
    dataset = load("digits", train_images=200, validation=0.1)
    sizes = [len(split) for split in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [180, 20, 1_597]
    assert np.bincount(dataset.validation.labels).tolist() == [2] * 10


def test_unchosen_event_digits_join_the_test_samples(tmp_path, monkeypatch):
    def make_blank(root, name, key, count, make):
        return np.zeros((count, 1, 20, 20, 2), np.uint8)

    monkeypatch.setattr("train.data.events.dvs_digits.load_or_make", make_blank)
    dataset = load("dvs_digits", tmp_path, train_images=400, num_frames=1)
    assert (len(dataset.train), len(dataset.test)) == (400, 1_397)


@pytest.mark.parametrize("count", [-1, 9, 2.0, True, "4"])
def test_invalid_numbers_of_images_are_refused(count):
    with pytest.raises(UserError, match=r"^config\.data\.train_images must be .*0") as error:
        choose_subsets(make_numbers(8), count)
    assert repr(count) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, 0.01, 0.99, float("nan"), True, "a"])
def test_invalid_shares_are_refused(share):
    with pytest.raises(UserError, match=r"^config\.data\.validation must be .* less than 1"):
        choose_subsets(make_numbers(8), 0, share)


@pytest.mark.parametrize("options", [{"train_images": 4}, {"validation": 0.5}])
def test_subsets_of_images_on_disk_are_refused(options):
    disk = DiskSplit((4, 4), (1, 1, 1), lambda i, rng: (np.zeros((1, 1, 1)), 0), 0, lambda: None)
    (key,) = options
    with pytest.raises(UserError, match=rf"^config\.data\.{key} is for data sets in memory"):
        choose_subsets(Dataset("disk", disk, disk, 2), **options)


def test_a_second_validation_split_is_refused():
    whole = make_numbers(8)
    own = Dataset("own", whole.train, whole.test, 4, validation=whole.test)
    assert choose_subsets(own, 4).validation is whole.test
    with pytest.raises(UserError, match=r"validation must be 0, got 0.5: own already has a"):
        choose_subsets(own, 0, 0.5)


def test_train_check_accepts_the_counts_of_subsets():
    dataset = load("digits", train_images=200, validation=0.1)
    assert check_counts(dataset) == []
    assert [column.header for column in make_table(dataset).columns] == [
        *("class", "train", "test", "validation")
    ]
