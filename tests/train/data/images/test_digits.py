import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from train.data.images.digits import TEST_INDICES, digits


def test_the_committed_split_is_the_one_in_its_header():
    labels = load_digits().target
    _, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    header, *indices = TEST_INDICES.read_text().splitlines()
    assert header == "# sklearn train_test_split, test_size=360, stratify=labels, random_state=0"
    assert indices == [str(i) for i in sorted(test)]


def test_every_digit_is_in_exactly_one_split():
    dataset = digits()
    assert dataset.train.images.shape == (1437, 8, 8, 1)
    assert dataset.test.images.shape == (360, 8, 8, 1)
    both = np.concatenate([dataset.train.images, dataset.test.images])
    # The official values, sixteenths, are recovered from the stored ones.
    values = sorted(np.rint(image / 255 * 16).tobytes() for image in both)
    assert values == sorted(image.tobytes() for image in load_digits().images)


def test_pixels_are_the_official_values_rounded_to_255():
    assert set(np.unique(digits().train.images)) == {round(x * 255 / 16) for x in range(17)}


def test_labels_belong_to_their_images():
    bunch, dataset = load_digits(), digits()
    indices = np.loadtxt(TEST_INDICES, dtype=int)
    assert (dataset.test.labels == bunch.target[indices]).all()
    assert (np.rint(dataset.test.images[..., 0] / 255 * 16) == bunch.images[indices]).all()


def test_digits_are_equally_frequent_in_the_test_images():
    counts = np.bincount(digits().test.labels)
    assert len(counts) == 10 and counts.min() >= 35 and counts.max() <= 37


def test_mean_and_std_are_measured_on_the_training_pixels():
    dataset = digits()
    pixels = dataset.train.images.astype(float) / 255
    assert dataset.mean == pytest.approx([pixels.mean()])
    assert dataset.std == pytest.approx([np.sqrt(((pixels - pixels.mean()) ** 2).mean())])
