"""Every operation of the policies equals Pillow's at every magnitude that a policy can draw."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tests.helpers import jit_once
from train.data.augment.geometry import RESAMPLERS, bilinear, nearest
from train.data.augment.operations import (
    apply,
    autocontrast_table,
    equalize_table,
    histogram,
    look_up,
)
from train.data.augment.policies import increasing_space, narrow_space, wide_space
from train.data.augment.settings import OPERATIONS, SIGNED, Settings, make_setting

ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "color": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}
# Height and width differ, so that a mix-up of the two shows in translations and rotations.
# Equalize changes no image of fewer than 256 pixels.
COLOR, GRAY = (18, 15, 3), (18, 15, 1)
MOVES = ("shear_x", "shear_y", "slide_x", "slide_y", "rotate")  # By parts of pixels.
SQUARE = (16, 16, 3)  # Pillow rotates these by 90 degrees without sampling.
APPLY = {"nearest": jax.jit(apply), "bilinear": jax.jit(partial(apply, resample=bilinear))}


def make_pictures(shape: tuple[int, int, int]) -> np.ndarray:
    """Return noise over all levels, noise over few, a smooth ramp, and a constant image."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1, *shape), dtype=np.uint8)
    faint = rng.integers(0, 90, (1, *shape)) + rng.integers(0, 160, (1, 1, 1, shape[-1]))
    ramp = 4 * np.indices(shape).sum(axis=0)[None] % 256
    return np.concatenate([noise, faint, ramp, np.full((1, *shape), 77)]).astype(np.uint8)


def apply_pillow(image: Image.Image, name: str, magnitude: float, resample: str) -> Image.Image:
    how = Image.Resampling[resample.upper()]

    def transform(*matrix: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, how)

    if name in ENHANCERS:
        return ENHANCERS[name](image).enhance(1 + magnitude)
    return {
        "identity": lambda: image,
        "shear_x": lambda: transform(1, magnitude, 0, 0, 1, 0),
        "shear_y": lambda: transform(1, 0, 0, magnitude, 1, 0),
        "translate_x": lambda: transform(1, 0, -int(magnitude), 0, 1, 0),
        "translate_y": lambda: transform(1, 0, 0, 0, 1, -int(magnitude)),
        "slide_x": lambda: transform(1, 0, -magnitude, 0, 1, 0),
        "slide_y": lambda: transform(1, 0, 0, 0, 1, -magnitude),
        "rotate": lambda: image.rotate(magnitude, how),
        "posterize": lambda: posterize(image, int(magnitude)),
        "solarize": lambda: ImageOps.solarize(image, magnitude),
        "solarize_add": lambda: image.point(
            [min(level + int(magnitude), 255) if level < 128 else level for level in range(256)]
            * len(image.getbands())
        ),
        "invert": lambda: ImageOps.invert(image),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }[name]()


def posterize(image: Image.Image, bits: int) -> Image.Image:
    # Pillow refuses 0 bits, the strongest magnitude of timm.
    return ImageOps.posterize(image, bits) if bits else image.point(lambda level: 0)


def list_magnitudes(name: str, shape: tuple[int, int, int]) -> list[float]:
    """Return all magnitudes that a policy can draw, with both signs.

    For operations that move no pixels of gray images only every fifth, since colors have all.
    """
    spaces = [narrow_space(10, *shape[:2]), narrow_space(31, *shape[:2]), wide_space(31)]
    spaces.append(increasing_space(*shape[:2]))
    drawn = {float(each) for space in spaces for each in space.get(name, ())}
    signed = sorted(drawn | {-each for each in drawn} if name in SIGNED else drawn)
    return signed[::5] if shape == GRAY and name not in MOVES else signed


def stack(settings: list[Settings]) -> Settings:
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *settings)


@lru_cache
def apply_ours(shape: tuple[int, int, int], resample: str) -> dict[str, np.ndarray]:
    """Apply every operation at every magnitude to every picture, all in one batch."""
    images = make_pictures(shape)
    operations = ["rotate"] if shape == SQUARE else OPERATIONS
    drawn = [(name, each) for name in operations for each in list_magnitudes(name, shape)]
    settings = [make_setting(name, each, *shape[:2]) for name, each in drawn for _ in images]
    images = np.concatenate([images] * len(drawn))
    if shape == SQUARE or (shape == GRAY and resample == "bilinear"):  # Only moves are compared.
        out = np.asarray(jit_once(RESAMPLERS[resample])(images, stack(settings).matrix))
    else:
        out = np.asarray(APPLY[resample](images, stack(settings)))
    names = np.repeat([name for name, _ in drawn], len(images) // len(drawn))
    return {name: out[names == name] for name in operations}


def apply_pillow_to_all(name: str, shape: tuple[int, int, int], resample: str) -> np.ndarray:
    want = [
        np.asarray(apply_pillow(Image.fromarray(image.squeeze()), name, each, resample))
        for each in list_magnitudes(name, shape)
        for image in make_pictures(shape)
    ]
    return np.stack(want).reshape(-1, *shape)


@pytest.mark.parametrize(
    "name, shape",
    [*((name, shape) for name in OPERATIONS for shape in (COLOR, GRAY)), ("rotate", SQUARE)],
)
def test_nearest_operations_equal_pillows_at_every_magnitude(name, shape):
    want = apply_pillow_to_all(name, shape, "nearest")
    np.testing.assert_array_equal(apply_ours(shape, "nearest")[name], want)


EDGE = 1e-3  # In pixels; our transforms are in 1/65536 pixel.


def find_edge_pixels(name: str, magnitude: float, height: int, width: int) -> np.ndarray:
    """Return a mask of pixels taken from so near the border that rounding decides the side."""
    y, x = np.indices((height, width)) + 0.5
    cos, sin = np.cos(np.radians(magnitude)), np.sin(np.radians(magnitude))
    right, down = x - width / 2, y - height / 2
    u, v = {
        "shear_x": (x + magnitude * y, y),
        "shear_y": (x, y + magnitude * x),
        "slide_x": (x - magnitude, y),
        "slide_y": (x, y - magnitude),
        "rotate": (cos * right - sin * down + width / 2, sin * right + cos * down + height / 2),
    }[name]
    borders = (u, u - width, v, v - height)
    return np.any([abs(distance) < EDGE for distance in borders], axis=0)


@pytest.mark.parametrize(
    "name, shape",
    [*((name, shape) for name in MOVES for shape in (COLOR, GRAY)), ("rotate", SQUARE)],
)
def test_bilinear_operations_are_within_one_level_of_pillows(name, shape):
    got, want = (
        apply_ours(shape, "bilinear")[name].astype(int),
        apply_pillow_to_all(name, shape, "bilinear"),
    )
    edges = [find_edge_pixels(name, each, *shape[:2]) for each in list_magnitudes(name, shape)]
    exempt = np.repeat(edges, len(make_pictures(shape)), axis=0)
    far = (abs(got - want) > 1).any(axis=-1)
    assert not (far & ~exempt).any() and exempt.mean() < 0.05
    assert (got == want).mean() > 0.99


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - set(MOVES)))
def test_operations_that_move_whole_pixels_are_exact_with_bilinear_too(name):
    shape = COLOR
    np.testing.assert_array_equal(
        apply_ours(shape, "bilinear")[name], apply_pillow_to_all(name, shape, "bilinear")
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_but_identity_changes_something(name):
    shape = COLOR
    out = apply_ours(shape, "nearest")[name]
    images = np.concatenate([make_pictures(shape)] * len(list_magnitudes(name, shape)))
    assert (out == images).all() == (name == "identity")


def test_autocontrast_rounds_as_pillow_for_all_pairs_of_extreme_levels():
    dark, bright = np.triu_indices(256, 1)
    images = np.stack([dark, bright], axis=1).astype(np.uint8)[:, :, None, None]
    got = np.asarray(jax.jit(lambda images: autocontrast_table(histogram(images)))(images))[:, 0]
    # ImageOps.autocontrast, in float64.
    scale = 255.0 / (bright - dark)
    offset = -dark * scale
    want = (np.arange(256) * scale[:, None] + offset[:, None]).astype(int).clip(0, 255)
    np.testing.assert_array_equal(got, want)
    # Exact division would differ: the table of short levels is needed.
    exact = (255 * (np.arange(256) - dark[:, None]) // (bright - dark)[:, None]).clip(0, 255)
    assert (exact != want).sum() == 12_094


@pytest.mark.parametrize("side", [2, 15, 40])
def test_equalize_changes_no_image_of_few_pixels_as_in_pillow(side):
    image = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
    images = image[None, :, :, None]
    got = jit_once(lambda images: look_up(images, equalize_table(histogram(images))))(images)
    want = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    np.testing.assert_array_equal(got[0, :, :, 0], want)
    assert (want == image).all() == (side < 16)


@pytest.mark.parametrize("dtype, channels", [(np.uint8, 2), (np.float32, 3)])
def test_operations_refuse_floats_and_two_channels(dtype, channels):
    images = np.zeros((1, 4, 4, channels), dtype)
    with pytest.raises(ValueError, match="uint8 images .* with 1 or 3 channels, got"):
        apply(images, stack([Settings()]))


@pytest.mark.parametrize("resample", [nearest, bilinear])
def test_operations_use_no_implicit_promotion(strict, resample):
    images = make_pictures(COLOR)
    settings = stack([Settings()] * len(images))
    out = jax.eval_shape(partial(apply, resample=resample), images, settings)
    assert out.shape == images.shape and out.dtype == np.uint8
