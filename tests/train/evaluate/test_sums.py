"""The sums of an evaluation: of which images they are, and that no device gathers a batch."""

import jax
import numpy as np
import pytest

from tests.train.helpers import make_test_mesh
from train import data
from train.data.dataset import DiskSplit
from train.evaluate import metrics
from train.program.evaluation import make_sums


def test_bins_count_their_images_without_padding():
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((500, 4)).astype(np.float32)
    labels, weight = rng.integers(0, 4, 500), (np.arange(500) < 400).astype(np.float32)
    found = metrics.summarize(jax.device_get(metrics.count_answers(logits, labels, weight)))
    error, images = compute_calibration(logits[:400], labels[:400])
    assert min(images[5:]) > 0 and found["calibration"]["error"] == pytest.approx(error, rel=1e-5)
    bins = found["calibration"]["bins"]
    assert [each["images"] for each in bins] == images
    assert all(each["above"] < each["confidence"] <= each["up_to"] for each in bins[5:])
    assert bins[0]["confidence"] is None  # Of four classes the largest share is at least 1/4.


def compute_calibration(logits: np.ndarray, labels: np.ndarray) -> tuple[float, list[int]]:
    """Return the expected calibration error over 15 bins, and the number of images in each."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    confidence, right = shares.max(axis=1), logits.argmax(axis=1) == labels
    error, images = 0.0, []
    for i in range(15):
        here = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        images.append(int(here.sum()))
        if here.any():
            error += here.mean() * abs(right[here].mean() - confidence[here].mean())
    return error, images


def test_ties_are_among_the_first_five_and_nan_is_not():
    scores = np.zeros((3, 8), np.float32)
    scores[1, :5] = 1  # Five are larger than the label's.
    scores[2] = np.nan
    sums = [
        metrics.count_answers(scores[i : i + 1], np.array([7]), np.ones(1, np.float32))["top5"]
        for i in range(3)
    ]
    assert [float(each) for each in sums] == [1, 0, 0]


def test_a_class_without_images_has_no_accuracy():
    scores = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    totals = jax.device_get(
        metrics.count_answers(scores, np.array([0, 1, 1]), np.array([1, 1, 1], np.float32))
    )
    found = metrics.summarize(totals)
    assert found["accuracy_of_class"] == [1, 0.5, None]
    assert found["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_no_device_gathers_the_batch(monkeypatch):
    # JAX refuses compiler options of a function inside another one.
    monkeypatch.setenv("PIT_JAX_TUNING", "off")
    mesh = make_test_mesh(4)
    split = data.load("synthetic", num_train=1, num_test=64).test
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    text = jax.jit(make_sums(score, split, 32, mesh)).lower(weights).compile().as_text()
    assert "all-reduce" in text and "all-gather" not in text
    scores = split.images.reshape(64, -1) @ weights
    confusion = jax.device_get(make_sums(score, split, 32, mesh)(weights))["confusion"]
    assert np.trace(confusion) == np.sum(scores.argmax(axis=1) == split.labels)


def test_a_split_on_disk_has_the_sums_of_one_in_memory_and_shows_progress():
    split = data.load("synthetic", num_train=1, num_test=40).test
    on_disk = DiskSplit(
        per_class=(4,) * 10,
        shape=(8, 8, 1),
        read=lambda i, rng: (split.images[i], split.labels[i]),
        workers=0,
        verify=lambda: None,
    )
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    seen = []

    def watch(batches, count):
        for batch in batches:
            seen.append(count)
            yield batch

    both = [
        jax.device_get(make_sums(score, each, 32, make_test_mesh(1), watch)(weights))
        for each in (split, on_disk)
    ]
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), *both)
    assert seen == [2, 2] and both[1]["confusion"].sum() == 40


def score(state, batch):
    """Evaluate a batch with a linear network, whose weights are the state."""
    scores = batch["image"].reshape(len(batch["image"]), -1) @ state
    return metrics.count_answers(scores, batch["label"], batch["weight"])
