import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.helpers import jit_once
from train.data.augment import flip, normalize, pad_crop

IMAGES = np.random.default_rng(0).integers(1, 256, (8, 6, 5, 3), dtype=np.uint8)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
FLIP = jit_once(flip)


@functools.cache
def compile_crop(pad: int):
    """Return `pad_crop` with `pad`, a function of a key and images."""
    return jit_once(functools.partial(pad_crop, pad=pad))


def list_windows(image: np.ndarray, pad: int) -> list[list[np.ndarray]]:
    """Return all possible crops of a padded image, by row and column."""
    height, width, _ = image.shape
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return [
        [padded[i : i + height, j : j + width] for j in range(2 * pad + 1)]
        for i in range(2 * pad + 1)
    ]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), pad=st.integers(0, 3), dtype=st.sampled_from(["u1", "f4"]))
def test_a_crop_is_a_window_of_the_padded_image(seed, pad, dtype):
    images = IMAGES.astype(dtype)
    crops = compile_crop(pad)(jax.random.key(seed), images)
    assert crops.shape == images.shape and crops.dtype == images.dtype
    for image, crop in zip(images, np.asarray(crops), strict=True):
        assert any((crop == window).all() for row in list_windows(image, pad) for window in row)


def test_every_offset_is_drawn_equally_often(key):
    image = IMAGES[0]
    crops = np.asarray(compile_crop(1)(key, np.tile(image, (9_000, 1, 1, 1))))
    counts = [
        (crops == window).all(axis=(1, 2, 3)).sum()
        for row in list_windows(image, 1)
        for window in row
    ]
    assert sum(counts) == 9_000
    assert min(counts) > 870 and max(counts) < 1130  # 1,000 +- 4 sigma


def test_padding_of_zero_changes_no_image(key):
    assert (compile_crop(0)(key, IMAGES) == IMAGES).all()


def test_negative_padding_is_refused(key):
    with pytest.raises(ValueError, match="pad must be at least 0, got -1"):
        pad_crop(key, IMAGES, pad=-1)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1))
def test_a_flip_mirrors_an_image_or_leaves_it(seed):
    for image, out in zip(IMAGES, np.asarray(FLIP(jax.random.key(seed), IMAGES)), strict=True):
        assert (out == image).all() or (out == image[:, ::-1]).all()


def test_half_of_the_images_are_flipped(key):
    image = IMAGES[0]
    flipped = np.asarray(FLIP(key, np.tile(image, (4_096, 1, 1, 1)))) == image[:, ::-1]
    assert abs(flipped.all(axis=(1, 2, 3)).sum() - 2_048) < 128  # 4 sigma


def test_normalized_pixels_follow_the_formula(x64):
    out = normalize(IMAGES, MEAN, STD, jnp.float64)
    np.testing.assert_allclose(out, (IMAGES / 255 - np.array(MEAN)) / np.array(STD), rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_normalization_rounds_only_its_result(dtype):
    out = normalize(IMAGES, MEAN, STD, dtype)
    assert out.dtype == dtype
    want = (IMAGES / 255 - np.array(MEAN)) / np.array(STD)
    rounding = max(float(jnp.finfo(dtype).eps) / 2, 1e-6)
    np.testing.assert_allclose(out.astype(jnp.float32), want, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize(
    "images, mean", [(IMAGES.astype(np.float32), MEAN), (IMAGES, (0.5,)), (IMAGES[..., :1], MEAN)]
)
def test_normalization_refuses_floats_and_wrong_numbers_of_channels(images, mean):
    with pytest.raises(ValueError, match="one mean and one std per channel, got"):
        normalize(images, mean, STD)


def augment(key: jax.Array, images: jax.Array) -> jax.Array:
    crop_key, flip_key = jax.random.split(key)
    return normalize(flip(flip_key, pad_crop(crop_key, images, pad=2)), MEAN, STD)


def run_on(devices: int, key: jax.Array) -> tuple[str, np.ndarray]:
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    images = jax.device_put(IMAGES, NamedSharding(mesh, P("data")))
    compiled = (
        jax.jit(augment).lower(jax.device_put(key, NamedSharding(mesh, P())), images).compile()
    )
    out = compiled(jax.device_put(key, NamedSharding(mesh, P())), images)
    assert devices == 1 or out.sharding.spec[0] == "data"
    return compiled.as_text(), np.asarray(out)


def test_four_devices_compute_the_pixels_of_one_without_communication(key, strict):
    _, one = run_on(1, key)
    text, four = run_on(4, key)
    assert (one == four).all()
    assert "all-gather" not in text and "all-reduce" not in text


def test_x64_changes_no_draw(key):
    crop = compile_crop(2)
    crops, flips = crop(key, IMAGES), FLIP(key, IMAGES)
    with jax.enable_x64(True):
        assert (crop(key, IMAGES) == crops).all()
        assert (FLIP(key, IMAGES) == flips).all()


def test_augmentation_can_be_mapped_over_another_axis(key):
    keys = jax.random.split(key, 2)
    both = jit_once(jax.vmap(augment))(keys, np.stack([IMAGES, IMAGES[::-1]]))
    one = jit_once(augment)
    np.testing.assert_allclose(both[0], one(keys[0], IMAGES), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(both[1], one(keys[1], IMAGES[::-1]), rtol=1e-6, atol=1e-6)
