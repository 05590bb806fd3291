"""Mixup and CutMix: images and labels have the same shares, distributed as Beta."""

from functools import lru_cache

import chex
import jax
import numpy as np
import pytest

from tests.helpers import jit_once
from train.data.augment import MIXES, mixup_or_cutmix

HEIGHT, WIDTH, DRAWS = 8, 4, 10_000  # 32 pixels: shares of them are exact.
# Image i is all i + 1 and has class i.
IMAGES = np.broadcast_to(
    np.arange(1, 5, dtype=np.float32)[:, None, None, None], (4, HEIGHT, WIDTH, 2)
)
LABELS = np.eye(4, dtype=np.float32)
OPTIONS = {
    "mixup": {"alpha": 0.2},
    "cutmix": {"alpha": 1.0},
    "mixup_or_cutmix": {"mixup_alpha": 1.0, "cutmix_alpha": 1.0},
}


@lru_cache
def compile_mix(name: str):
    """Return a function that mixes the same batch with each of several keys."""
    return jit_once(jax.vmap(lambda key: MIXES[name](key, IMAGES, LABELS, **OPTIONS[name])))


@lru_cache
def mix_many(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mix 10,000 batches: images `[N, B, H, W, C]`, labels `[N, B, K]`."""
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return tuple(np.asarray(each) for each in compile_mix(name)(keys))


@pytest.mark.parametrize("name", MIXES)
def test_labels_are_shares_of_an_image_and_its_left_neighbor(name):
    for labels in mix_many(name)[1][:100]:
        share = np.diagonal(labels)
        assert (share == share[0]).all()
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
        want = share[0] * LABELS + (1 - share[0]) * LABELS[[3, 0, 1, 2]]
        np.testing.assert_allclose(labels, want, rtol=1e-6)


def test_mixup_has_equal_shares_of_images_and_labels_with_the_moments_of_beta():
    images, labels = mix_many("mixup")
    share = labels[:, :1, :1, None, None]
    want = share * IMAGES + (1 - share) * IMAGES[[3, 0, 1, 2]]
    np.testing.assert_allclose(images, want, rtol=1e-6)
    share = share.ravel().astype(np.float64)
    variance = 1 / (4 * (2 * OPTIONS["mixup"]["alpha"] + 1))
    assert abs(share.mean() - 0.5) < 3 * np.sqrt(variance / DRAWS)
    spread = (share - 0.5) ** 2
    assert abs(spread.mean() - variance) < 3 * spread.std() / np.sqrt(DRAWS)


def test_the_weight_of_a_label_is_the_exact_area_of_the_pasted_box():
    images, labels = mix_many("cutmix")
    pasted = images != IMAGES
    assert (pasted == pasted[:, :1, :, :, :1]).all()  # One box for the batch and all channels.
    area = pasted[:, 0, :, :, 0].sum(axis=(1, 2))
    assert (labels[:, 0, 0] == np.float32(HEIGHT * WIDTH - area) / np.float32(HEIGHT * WIDTH)).all()
    assert (images[:, 1][pasted[:, 1]] == IMAGES[0, 0, 0, 0]).all()
    rows, columns = pasted[:, 0, :, :, 0].any(axis=2), pasted[:, 0, :, :, 0].any(axis=1)
    assert (area == rows.sum(axis=1) * columns.sum(axis=1)).all()


def test_boxes_are_drawn_as_in_the_authors_code():
    """Compare with NumPy: half a side is the root of the share, truncated; centers are uniform."""
    rng, areas = np.random.default_rng(0), []
    for _ in range(DRAWS):
        half = 0.5 * np.sqrt(1 - rng.beta(1, 1))
        y, x = rng.integers(HEIGHT), rng.integers(WIDTH)
        tall, wide = int(half * HEIGHT), int(half * WIDTH)
        rows = min(y + tall, HEIGHT) - max(y - tall, 0)
        areas.append(rows * (min(x + wide, WIDTH) - max(x - wide, 0)))
    got, want = (mix_many("cutmix")[0][:, 0, :, :, 0] != 1).sum(axis=(1, 2)), np.array(areas)
    error = np.sqrt((got.var() + want.var()) / DRAWS)
    assert abs(got.mean() - want.mean()) < 3 * error
    assert set(got) == set(want)


def test_mixup_and_cutmix_are_equally_likely():
    images, _ = mix_many("mixup_or_cutmix")
    pixels = images[:, 1, :, :, 0]
    mixed_up = ((pixels == pixels[:, :1, :1]) & (pixels % 1 != 0)).all(axis=(1, 2))
    assert abs(mixed_up.sum() - DRAWS / 2) < 3 * np.sqrt(DRAWS / 4)
    assert (pixels[~mixed_up] % 1 == 0).all()


def test_a_key_determines_the_batch_with_and_without_x64():
    mix, keys = compile_mix("mixup_or_cutmix"), jax.random.split(jax.random.key(0), DRAWS)
    once = mix_many("mixup_or_cutmix")
    chex.assert_trees_all_equal(mix(keys), once)
    with jax.enable_x64(True):
        out = mix(keys)
    assert {each.dtype for each in out} == {np.dtype("f4")}
    chex.assert_trees_all_close(out, once, rtol=1e-6)


def test_batches_are_mixed_with_the_given_probability():
    keys = jax.random.split(jax.random.key(0), DRAWS)
    options = OPTIONS["mixup_or_cutmix"] | {"probability": 0.6}
    mix = jit_once(jax.vmap(lambda key: mixup_or_cutmix(key, IMAGES, LABELS, **options)))
    images, labels = (np.asarray(each) for each in mix(keys))
    alone = (labels == LABELS).all(axis=(1, 2))
    assert (images[alone] == IMAGES).all()
    # A box that is clipped to nothing also leaves its batch unchanged.
    always = (mix_many("mixup_or_cutmix")[1] == LABELS).all(axis=(1, 2)).mean()
    want = 0.4 + 0.6 * always
    assert abs(alone.mean() - want) < 3 * np.sqrt(2 * want * (1 - want) / DRAWS)
