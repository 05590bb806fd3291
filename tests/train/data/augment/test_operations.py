"""Every operation of the policies against Pillow, at every magnitude that a policy can draw."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tests.helpers import jit_once
from train.data.augment.geometry import bilinear, nearest
from train.data.augment.operations import apply, autocontrast_table, equalize_table, look_up
from train.data.augment.policies import increasing_space, narrow_space, wide_space
from train.data.augment.settings import OPERATIONS, SIGNED, Settings, make_setting

ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "color": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}
# For translations and rotations height and width must not be mistaken for each other.
SHAPES = {"color": (16, 12, 3), "gray": (16, 12, 1), "square": (16, 16, 3)}
APPLY = {"nearest": jit_once(apply), "bilinear": jit_once(partial(apply, resample=bilinear))}


def pictures(shape: tuple[int, int, int]) -> np.ndarray:
    """Noise over all levels, noise over few, a smooth ramp, and one level."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    faint = rng.integers(0, 90, (2, *shape)) + rng.integers(0, 160, (2, 1, 1, shape[-1]))
    ramp = 4 * np.indices(shape).sum(axis=0)[None] % 256
    return np.concatenate([noise, faint, ramp, np.full((1, *shape), 77)]).astype(np.uint8)


def by_pillow(image: Image.Image, name: str, magnitude: float, resample: str) -> Image.Image:
    how = Image.Resampling[resample.upper()]

    def moved(*matrix: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, how)

    if name in ENHANCERS:
        return ENHANCERS[name](image).enhance(1 + magnitude)
    return {
        "identity": lambda: image,
        "shear_x": lambda: moved(1, magnitude, 0, 0, 1, 0),
        "shear_y": lambda: moved(1, 0, 0, magnitude, 1, 0),
        "translate_x": lambda: moved(1, 0, -int(magnitude), 0, 1, 0),
        "translate_y": lambda: moved(1, 0, 0, 0, 1, -int(magnitude)),
        "slide_x": lambda: moved(1, 0, -magnitude, 0, 1, 0),
        "slide_y": lambda: moved(1, 0, 0, 0, 1, -magnitude),
        "rotate": lambda: image.rotate(magnitude, how),
        "posterize": lambda: posterized(image, int(magnitude)),
        "solarize": lambda: ImageOps.solarize(image, magnitude),
        "solarize_add": lambda: image.point(
            [min(level + int(magnitude), 255) if level < 128 else level for level in range(256)]
            * len(image.getbands())
        ),
        "invert": lambda: ImageOps.invert(image),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }[name]()


def posterized(image: Image.Image, bits: int) -> Image.Image:
    # Pillow refuses to keep no bit, as timm's strongest does.
    return ImageOps.posterize(image, bits) if bits else image.point(lambda level: 0)


def magnitudes(name: str, shape: tuple[int, int, int]) -> list[float]:
    """All that one of the policies can draw, with both signs where it has one."""
    spaces = [narrow_space(10, *shape[:2]), narrow_space(31, *shape[:2]), wide_space(31)]
    spaces.append(increasing_space(*shape[:2]))
    drawn = {float(each) for space in spaces for each in space.get(name, ())}
    return sorted(drawn | {-each for each in drawn} if name in SIGNED else drawn)


def stacked(settings: list[Settings]) -> Settings:
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *settings)


@lru_cache
def ours(shape: tuple[int, int, int], resample: str) -> dict[str, np.ndarray]:
    """Every picture through every operation at every magnitude, all in one batch."""
    images = pictures(shape)
    drawn = [(name, each) for name in OPERATIONS for each in magnitudes(name, shape)]
    settings = [make_setting(name, each, *shape[:2]) for name, each in drawn for _ in images]
    out = np.asarray(APPLY[resample](np.concatenate([images] * len(drawn)), stacked(settings)))
    names = np.repeat([name for name, _ in drawn], len(images))
    return {name: out[names == name] for name in OPERATIONS}


def pillows(name: str, shape: tuple[int, int, int], resample: str) -> np.ndarray:
    want = [
        np.asarray(by_pillow(Image.fromarray(image.squeeze()), name, each, resample))
        for each in magnitudes(name, shape)
        for image in pictures(shape)
    ]
    return np.stack(want).reshape(-1, *shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_equals_pillows_at_every_magnitude(name, shape):
    want = pillows(name, shape, "nearest")
    np.testing.assert_array_equal(ours(shape, "nearest")[name], want)


BETWEEN = ["shear_x", "shear_y", "slide_x", "slide_y", "rotate"]


EDGE = 1e-3  # In pixels: ours has transforms of 1/65536 pixel.


def on_the_edge(name: str, magnitude: float, height: int, width: int) -> np.ndarray:
    """Which pixels are taken from so near the border that rounding puts them inside or outside."""
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


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", BETWEEN)
def test_between_four_pixels_an_operation_is_within_one_level_of_pillows(name, shape):
    got, want = ours(shape, "bilinear")[name].astype(int), pillows(name, shape, "bilinear")
    edges = [on_the_edge(name, each, *shape[:2]) for each in magnitudes(name, shape)]
    exempt = np.repeat(edges, len(pictures(shape)), axis=0)
    far = (abs(got - want) > 1).any(axis=-1)
    assert not (far & ~exempt).any() and exempt.mean() < 0.05
    assert (got == want).mean() > 0.99


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - set(BETWEEN)))
def test_between_four_pixels_the_other_operations_stay_exact(name):
    shape = SHAPES["color"]
    np.testing.assert_array_equal(ours(shape, "bilinear")[name], pillows(name, shape, "bilinear"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_but_identity_changes_something(name):
    shape = SHAPES["square"]
    out = ours(shape, "nearest")[name]
    images = np.concatenate([pictures(shape)] * len(magnitudes(name, shape)))
    assert (out == images).all() == (name == "identity")


def test_autocontrast_rounds_as_pillow_for_all_darkest_and_brightest_levels():
    dark, bright = np.triu_indices(256, 1)
    images = np.stack([dark, bright], axis=1).astype(np.uint8)[:, :, None, None]
    got = np.asarray(jax.jit(autocontrast_table)(images))[:, 0]
    # ImageOps.autocontrast, in float64.
    scale = 255.0 / (bright - dark)
    offset = -dark * scale
    want = (np.arange(256) * scale[:, None] + offset[:, None]).astype(int).clip(0, 255)
    np.testing.assert_array_equal(got, want)
    # Exact division would have been another table.
    exact = (255 * (np.arange(256) - dark[:, None]) // (bright - dark)[:, None]).clip(0, 255)
    assert (exact != want).sum() == 12_094


@pytest.mark.parametrize("side", [2, 15, 40])
def test_equalize_leaves_few_pixels_alone_as_pillow_does(side):
    image = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
    images = image[None, :, :, None]
    got = jit_once(lambda images: look_up(images, equalize_table(images)))(images)
    want = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    np.testing.assert_array_equal(got[0, :, :, 0], want)
    assert (want == image).all() == (side < 16)


@pytest.mark.parametrize("dtype, channels", [(np.uint8, 2), (np.float32, 3)])
def test_floats_and_two_channels_are_refused(dtype, channels):
    images = np.zeros((1, 4, 4, channels), dtype)
    with pytest.raises(ValueError, match="uint8 images .* with 1 or 3 channels, got"):
        apply(images, stacked([Settings()]))


@pytest.mark.parametrize("resample", [nearest, bilinear])
def test_the_operations_mix_no_dtypes_or_ranks(strict, resample):
    images = pictures(SHAPES["color"])
    settings = stacked([Settings()] * len(images))
    out = jax.eval_shape(partial(apply, resample=resample), images, settings)
    assert out.shape == images.shape and out.dtype == np.uint8
