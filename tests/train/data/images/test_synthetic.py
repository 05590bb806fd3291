import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.images.synthetic import synthetic
from train.errors import UserError

SIDES = st.integers(1, 9)


@settings(max_examples=25)
@given(shape=st.tuples(SIDES, SIDES, SIDES), classes=st.integers(1, 12), count=st.integers(1, 30))
def test_images_have_the_requested_shape(shape, classes, count):
    dataset = synthetic(shape=shape, num_classes=classes, num_train=count, num_test=2)
    assert dataset.train.images.shape == (count, *shape) and dataset.test.images.shape[0] == 2
    assert dataset.train.images.dtype == np.uint8 and dataset.train.labels.dtype == np.int32
    assert dataset.num_classes == classes
    counts = np.bincount(dataset.train.labels, minlength=classes)
    assert counts.max() - counts.min() <= 1
    assert len(dataset.mean) == len(dataset.std) == shape[2]


def test_the_seed_determines_every_pixel():
    once, again, other = synthetic(seed=3), synthetic(seed=3), synthetic(seed=4)
    assert (once.train.images == again.train.images).all()
    assert (once.train.labels == again.train.labels).all()
    assert (once.test.images == again.test.images).all()
    assert (once.train.images != other.train.images).any()


def test_the_test_images_do_not_depend_on_the_number_of_training_images():
    few, many = synthetic(num_train=16), synthetic(num_train=64)
    assert (few.test.images == many.test.images).all()
    assert (few.test.labels == many.test.labels).all()


def measure_nearest_mean_accuracy(dataset) -> float:
    train, test = (split.images.astype(float) for split in (dataset.train, dataset.test))
    means = [train[dataset.train.labels == k].mean(axis=0) for k in range(dataset.num_classes)]
    distances = [((test - mean) ** 2).sum(axis=(1, 2, 3)) for mean in means]
    return float((np.argmin(distances, axis=0) == dataset.test.labels).mean())


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 12, 2), (32, 32, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_nearest_class_means_generalize_to_the_test_images(shape, seed):
    assert measure_nearest_mean_accuracy(synthetic(shape=shape, seed=seed)) > 0.95


def test_class_means_are_smooth():
    dataset = synthetic(shape=(32, 32, 1), num_classes=2)
    for k in range(2):
        mean = dataset.train.images[dataset.train.labels == k].mean(axis=0)
        assert abs(np.diff(mean, axis=0)).mean() < mean.std() / 3
        assert abs(np.diff(mean, axis=1)).mean() < mean.std() / 3


def test_mean_and_std_are_close_to_those_of_the_pixels():
    dataset = synthetic(shape=(16, 16, 3), num_classes=50)
    pixels = dataset.train.images / 255
    assert dataset.mean == pytest.approx(pixels.mean(axis=(0, 1, 2)), abs=0.03)
    assert dataset.std == pytest.approx(pixels.std(axis=(0, 1, 2)), abs=0.03)


@pytest.mark.parametrize("wrong", [{"shape": (8, 8)}, {"shape": (0, 8, 1)}, {"num_test": 0}])
def test_invalid_sizes_are_refused(wrong):
    with pytest.raises(UserError, match=r"sizes of at least 1.*, got shape="):
        synthetic(**wrong)
