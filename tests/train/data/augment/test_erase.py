"""Cutout and Random Erasing: places, sizes and number of the holes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import jit_once
from train.data.augment import cutout, random_erasing

DRAWS = 10_000


def find_holes(erased: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return top, bottom, left and right of the zeros in each image of ones; they must be a box."""
    gone = np.asarray(erased)[..., 0] == 0
    rows, columns = gone.any(axis=2), gone.any(axis=1)
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    bottom, right = top + rows.sum(axis=1), left + columns.sum(axis=1)
    assert (gone.sum(axis=(1, 2)) == (bottom - top) * (right - left)).all()
    return top, bottom, left, right


@pytest.fixture(scope="module")
def erased() -> np.ndarray:
    """Erase a box in about half of 10,000 images of 12x10 ones."""
    images = jnp.ones((DRAWS, 12, 10, 1))
    function = jit_once(lambda key: random_erasing(key, images, probability=0.5))
    return np.asarray(function(jax.random.key(0)))


def test_a_hole_is_a_square_around_a_uniform_pixel_clipped_at_the_border(key):
    height, width, size = 6, 5, 4
    images = jnp.ones((DRAWS, height, width, 2))
    out = np.asarray(jit_once(lambda key: cutout(key, images, size=size))(key))
    assert (out[..., 0] == out[..., 1]).all()
    found = np.stack(find_holes(out), axis=1)
    want = {}
    for row in range(height):
        for column in range(width):
            box = (
                max(row - 2, 0),
                min(row + 2, height),
                max(column - 2, 0),
                min(column + 2, width),
            )
            want[box] = want.get(box, 0) + 1 / (height * width)
    boxes, counts = np.unique(found, axis=0, return_counts=True)
    assert {tuple(map(int, box)) for box in boxes} == set(want)
    for box, count in zip(boxes, counts, strict=True):
        probability = want[tuple(map(int, box))]
        sigma = np.sqrt(DRAWS * probability * (1 - probability))
        assert abs(count - DRAWS * probability) <= 4 * sigma  # The largest of 30.


@pytest.mark.parametrize("size, least", [(16, 3 * 8 * 8), (0, 0)])
def test_pixels_outside_the_hole_are_unchanged(key, size, least):
    images = np.random.default_rng(0).integers(1, 256, (8, 32, 32, 3), dtype=np.uint8)
    out = np.asarray(jit_once(lambda key: cutout(key, images, size=size))(key))
    assert out.dtype == np.uint8 and ((out == images) | (out == 0)).all()
    gone = (out == 0).sum(axis=(1, 2, 3))
    assert (gone >= least).all() and (gone <= 3 * size**2).all()


def test_images_are_erased_with_the_given_probability(erased):
    assert abs((erased == 0).any(axis=(1, 2, 3)).sum() - DRAWS / 2) <= 3 * np.sqrt(DRAWS / 4)
    assert set(np.unique(erased)) == {0, 1}


def test_areas_and_aspect_ratios_are_torchvisions(erased):
    top, bottom, left, right = find_holes(erased[(erased == 0).any(axis=(1, 2, 3))])
    tall, wide = bottom - top, right - left
    # A box that is as high or as wide as the image is drawn again.
    assert tall.max() < 12 and wide.max() < 10
    # By hand, one box at a time.
    rng, sides = np.random.default_rng(1), []
    while len(sides) < DRAWS:
        area, aspect = 120 * rng.uniform(0.02, 0.33), np.exp(rng.uniform(*np.log((0.3, 3.3))))
        h, w = int(round(np.sqrt(area * aspect))), int(round(np.sqrt(area / aspect)))
        if h < 12 and w < 10:
            sides.append((h, w))
    high, broad = np.array(sides).T
    for got, want in [(tall * wide, high * broad), (np.log(tall / wide), np.log(high / broad))]:
        error = np.sqrt(got.var() / len(got) + want.var() / len(want))
        assert abs(got.mean() - want.mean()) < 3 * error


def test_boxes_are_uniform_over_the_places_where_they_fit(erased):
    top, bottom, left, right = find_holes(erased[(erased == 0).any(axis=(1, 2, 3))])
    for place in (top / (12 - (bottom - top)), left / (10 - (right - left))):
        assert place.min() == 0 and place.max() == 1
        assert abs(place.mean() - 0.5) < 3 * place.std() / np.sqrt(len(place))


@pytest.mark.parametrize("erase", [cutout, random_erasing])
def test_x64_changes_no_draw(key, erase):
    options = {"size": 4} if erase is cutout else {"probability": 0.5}
    images = np.ones((64, 12, 10, 3), np.float32)
    function = jit_once(lambda key: erase(key, images, **options))
    once = np.asarray(function(key))
    assert (once == 0).any() and (function(key) == once).all()
    with jax.enable_x64(True):
        assert (function(key) == once).all()


def test_noise_is_normal_and_inside_the_rectangle_only(key):
    images = np.full((400, 12, 10, 3), 7, np.float32)
    erase = jit_once(partial(random_erasing, probability=0.5, fill="noise"))
    out = np.asarray(erase(key, images))
    changed = (out != 7).all(axis=-1, keepdims=True)
    find_holes(1 - changed)  # Every hole is a box.
    noise = out[np.broadcast_to(changed, out.shape)]
    assert (out[np.broadcast_to(~changed, out.shape)] == 7).all()
    assert abs(noise.mean()) < 3 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 3 * np.sqrt(2 / noise.size)
