"""Strokes become images as those of the data set: in its box, with its ink, and centered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train.demo
from pit_jax import examples
from tests.browser import open_browser
from tests.train.demo.strokes import DIGITS, change

pytestmark = pytest.mark.slow

SCRIPT = Path(train.demo.__file__).with_name("drawing.js")


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with open_browser() as browser:
        page = browser.new_page()
        page.add_script_tag(content=SCRIPT.read_text())
        yield page


def draw(page: Any, strokes: list[Any], side: int = 8) -> np.ndarray:
    pixels = page.evaluate("([s, shape]) => [...drawStrokes(s, shape)]", [strokes, [side, side, 1]])
    return np.array(pixels).reshape(side, side)


def draw_all(page: Any, side: int) -> dict[int, np.ndarray]:
    """Return drawings `[N, side, side]` of each digit."""
    return {
        digit: np.stack([draw(page, change(strokes, seed), side) for seed in range(12)])
        for digit, strokes in DIGITS.items()
    }


def find_centers(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column of the center of mass of each image."""
    mass = images.sum((1, 2))
    places = np.arange(images.shape[1])
    return (images.sum(2) * places).sum(1) / mass, (images.sum(1) * places).sum(1) / mass


def measure_extents(images: np.ndarray) -> np.ndarray:
    """Return the height and the width `[N, 2]` of the box around the ink of each image."""
    marked = [(image.max(1) > 0, image.max(0) > 0) for image in images]
    return np.array([[np.ptp(np.flatnonzero(axis)) + 1 for axis in pair] for pair in marked])


def test_a_vertical_bar_fills_the_height_and_has_the_ink_of_the_data_set(page):
    image = draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
    # The ends of the pen are round; the bar is 10 of 32 cells wide: 1, 4, 4 and 1 of four columns.
    assert image[1:-1].tolist() == [[0, 0, 64, 255, 255, 64, 0, 0]] * 6
    assert (image == image[::-1]).all() and (image == image[:, ::-1]).all() and image[0, 3] > 128


@pytest.mark.parametrize("scale, x, y", [(1, 0, 0), (0.3, 0.2, -0.3), (0.1, -0.4, 0.4)])
def test_size_and_place_in_the_field_do_not_matter(page, scale, x, y):
    for side in (8, 28):
        moved = [[(px * scale + x, py * scale + y) for px, py in each] for each in DIGITS[2]]
        difference = draw(page, moved, side).astype(int) - draw(page, DIGITS[2], side)
        # Rounding may move a cell whose center is at the very edge of the pen.
        assert abs(difference).max() <= 16


def test_drawn_digits_have_the_box_the_ink_and_the_center_of_scikit_learns(page):
    images, labels = examples.digits().images("train")
    for digit, drawn in draw_all(page, 8).items():
        known = images[labels == digit, ..., 0].astype(float)
        heights, widths = measure_extents(drawn).T
        assert set(heights) == {8} and set(widths) <= set(measure_extents(known)[:, 1])
        ink, usual = drawn.sum((1, 2)).mean(), known.sum((1, 2))
        assert abs(ink - usual.mean()) < usual.std(), digit
        for found, expected in zip(find_centers(drawn), find_centers(known), strict=True):
            assert abs(found.mean() - expected.mean()) < 0.7, digit


def test_drawn_digits_of_28_pixels_have_the_box_and_the_center_of_mnists(page):
    for drawn in draw_all(page, 28).values():
        assert (measure_extents(drawn).max(1) == 20).all()
        # Moved by whole pixels, as MNIST's images are: 14 +- 0.5.
        for center in find_centers(drawn):
            assert abs(center - 14).max() <= 0.5
    # 5,000 images of MNIST have a mean ink of 103 white pixels; the ones have 60.
    ink = [drawn.sum((1, 2)).mean() / 255 for drawn in draw_all(page, 28).values()]
    assert 90 < np.mean(ink) < 116 and ink[1] == min(ink)


def test_a_dot_stays_a_dot_in_the_middle_and_a_dash_keeps_its_height(page):
    for dot in ([[(0.1, 0.9)]], [[(0.1, 0.9), (0.101, 0.9)]]):
        image = draw(page, dot)
        assert (image == image[::-1]).all() and image[:, 0].max() == image[0].max() == 0
        assert draw(page, dot, 28).max() == 255
    image = draw(page, [[(0.2, 0.5), (0.8, 0.5)]])
    assert image[:2].max() == image[-2:].max() == 0 and image[3:5, 2:6].min() == 255


def test_nothing_drawn_is_black_and_empty_strokes_are_ignored(page):
    assert draw(page, []).max() == draw(page, [[]]).max() == 0
    assert np.array_equal(draw(page, [[], *DIGITS[3]]), draw(page, DIGITS[3]))


@pytest.mark.parametrize("shape", [(16, 12), (32, 32), (64, 64), (12, 20)])
def test_other_gray_images_follow_the_rule_of_mnist(page, shape):
    pixels = page.evaluate("([s, shape]) => [...drawStrokes(s, shape)]", [DIGITS[0], [*shape, 1]])
    image = np.array(pixels).reshape(shape)
    height = np.ptp(np.flatnonzero(image.max(1))) + 1
    assert abs(height - min(shape) * 20 / 28) <= 2 and image.max() == 255
