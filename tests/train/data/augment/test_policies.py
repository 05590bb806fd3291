"""The policies: AutoAugment's table equals the paper's, and all draws have their probabilities."""

import jax
import numpy as np
import pytest

from tests.helpers import jit_once
from train.data.augment import (
    POLICIES,
    auto_augment,
    rand_augment,
    rand_augment_increasing,
    trivial_augment_wide,
)
from train.data.augment.operations import apply
from train.data.augment.policies import CIFAR_TABLE, increasing_space, narrow_space, wide_space
from train.data.augment.settings import SIGNED, Settings, make_setting

# The 25 sub-policies as the paper prints them (arXiv 1805.09501, appendix), with magnitudes even
# for operations that have none.
PAPER = """
Invert 0.1 7 Contrast 0.2 6
Rotate 0.7 2 TranslateX 0.3 9
Sharpness 0.8 1 Sharpness 0.9 3
ShearY 0.5 8 TranslateY 0.7 9
AutoContrast 0.5 8 Equalize 0.9 2
ShearY 0.2 7 Posterize 0.3 7
Color 0.4 3 Brightness 0.6 7
Sharpness 0.3 9 Brightness 0.7 9
Equalize 0.6 5 Equalize 0.5 1
Contrast 0.6 7 Sharpness 0.6 5
Color 0.7 7 TranslateX 0.5 8
Equalize 0.3 7 AutoContrast 0.4 8
TranslateY 0.4 3 Sharpness 0.2 6
Brightness 0.9 6 Color 0.2 8
Solarize 0.5 2 Invert 0.0 3
Equalize 0.2 0 AutoContrast 0.6 0
Equalize 0.2 8 Equalize 0.6 4
Color 0.9 9 Equalize 0.6 6
AutoContrast 0.8 4 Solarize 0.2 8
Brightness 0.1 3 Color 0.7 0
Solarize 0.4 5 AutoContrast 0.9 3
TranslateY 0.9 9 TranslateY 0.7 9
AutoContrast 0.9 2 Solarize 0.8 3
Equalize 0.8 8 Invert 0.1 3
TranslateY 0.7 9 AutoContrast 0.9 1
"""
DRAWS = 10_000


# Compiled once for each shape of images: policies differ in the settings that they draw.
APPLY = jit_once(apply, static_argnames=("resample", "fill"))


def compile_draws(policy, shape: tuple[int, ...], **options):
    """Return a compiled function of a key: the settings that `policy` draws for images of `shape`.

    It returns a list with an item for each time that the policy calls `apply`, and the other
    arguments of these calls.
    """
    rest = []

    @jit_once
    def draw_settings(key):
        drawn = []

        def record(images, settings, *others):
            drawn.append(settings)
            rest[:] = others
            return images

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("train.data.augment.policies.apply", record)
            policy(key, np.zeros(shape, np.uint8), **options)
        return drawn

    return lambda key: (jax.tree.map(np.asarray, draw_settings(key)), rest)


def compile_policy(policy, shape: tuple[int, ...], **options):
    """Return a function of a key and images: `policy`, without a program of its own."""
    draw_settings = compile_draws(policy, shape, **options)

    def run(key, images):
        drawn, rest = draw_settings(key)
        for settings in drawn:
            images = APPLY(images, settings, *rest)
        return np.asarray(images)

    return run


def draw(policy, image: np.ndarray, **options) -> np.ndarray:
    """Apply `policy` to 10,000 copies of one small image."""
    images = np.repeat(image[None], DRAWS, axis=0)
    return compile_policy(policy, images.shape, **options)(jax.random.key(0), images)


def is_within_three_sigma(count: int, probability: float) -> bool:
    sigma = np.sqrt(DRAWS * probability * (1 - probability))
    return abs(count - DRAWS * probability) <= 3 * sigma


def keep_only(monkeypatch, *row) -> None:
    """Reduce AutoAugment's table to one row."""
    monkeypatch.setattr("train.data.augment.policies.CIFAR_TABLE", (row,))


@pytest.mark.parametrize("number", range(25))
def test_rows_of_the_table_equal_the_papers(number):
    first, p, m, second, q, n = PAPER.strip().splitlines()[number].split()
    want = [(first.lower(), float(p), int(m)), (second.lower(), float(q), int(n))]
    for (name, probability, magnitude), (paper, p, m) in zip(
        CIFAR_TABLE[number], want, strict=True
    ):
        assert (name.replace("_", ""), probability) == (paper, p)
        assert magnitude == (None if paper in {"invert", "autocontrast", "equalize"} else m)


def test_the_table_has_as_many_rows_as_the_papers():
    assert len(CIFAR_TABLE) == len(PAPER.strip().splitlines()) == 25


def test_autoaugments_magnitudes_are_the_papers_ranges_in_ten_steps():
    space = narrow_space(10, 24, 32)
    for name, most in [("shear_x", 0.3), ("rotate", 30), ("color", 0.9), ("brightness", 0.9)]:
        np.testing.assert_allclose(space[name], most / 9 * np.arange(10))
    np.testing.assert_allclose(space["translate_x"][9], 32 * 150 / 331)
    np.testing.assert_allclose(space["translate_y"][9], 24 * 150 / 331)
    assert space["posterize"].tolist() == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
    np.testing.assert_allclose(space["solarize"], 255 - 255 / 9 * np.arange(10))


def test_trivial_augments_magnitudes_are_torchvisions_wide_ranges():
    space = wide_space(31)
    assert set(space) == set(narrow_space(31, 8, 8)) - {"invert"} and len(space) == 14
    ends = {"shear_x": 0.99, "translate_x": 32, "rotate": 135, "contrast": 0.99, "solarize": 0}
    assert {name: space[name][-1] for name in ends} == ends
    assert space["posterize"][[0, 15, 30]].tolist() == [8, 5, 2]
    assert [int(each) for each in space["translate_y"][[14, 15, 30]]] == [14, 16, 32]


def test_operations_of_a_row_are_applied_in_order_each_with_its_probability(monkeypatch):
    keep_only(monkeypatch, ("posterize", 0.6, 9), ("invert", 0.3, None))
    out = draw(auto_augment, np.full((1, 1, 1), 0b0101_1111, np.uint8)).ravel()
    levels, counts = np.unique(out, return_counts=True)
    want = {
        0b0101_1111: 0.4 * 0.7,
        0b0101_0000: 0.6 * 0.7,
        0b1010_0000: 0.4 * 0.3,
        0b1010_1111: 0.6 * 0.3,  # In the other order it would be 0b1010_0000.
    }
    assert set(levels.tolist()) == set(want)
    for level, count in zip(levels.tolist(), counts.tolist(), strict=True):
        assert is_within_three_sigma(count, want[level]), level


SIZE = (16, 12)
# For each policy: its options, and the probability of an operation each time that it applies one.
# At these magnitudes no operation with a sign leaves an image unchanged.
MOVING = {
    "trivial": ({}, [1 / 14 * 30 / 31]),  # One of the 31 magnitudes is zero.
    "rand": ({"num_ops": 2, "magnitude": 9}, [1 / 14] * 2),
    "rand_increasing": ({"num_ops": 2, "magnitude": 9, "probability": 0.7}, [0.7 / 15] * 2),
}


def record_settings(policy: str, **options) -> list[Settings]:
    """Return the settings that `policy` draws for 10,000 images, for each operation it applies."""
    drawn, _ = compile_draws(POLICIES[policy], (DRAWS, *SIZE, 3), **options)(jax.random.key(0))
    return drawn


def find_signs(drawn: Settings) -> dict[str, np.ndarray]:
    """Return +1 or -1 where an operation with a sign was drawn, 0 elsewhere, by operation."""
    m = (drawn.matrix - make_setting("identity", 0, *SIZE).matrix).T
    sheared_x, sheared_y = m[1] != 0, m[3] != 0
    moved = ~sheared_x & ~sheared_y
    # An image that moves right takes its pixels from the left. One that turns counterclockwise
    # takes those of its upper rows from further right.
    found = {
        "rotate": -np.sign(m[1]) * (sheared_x & sheared_y),
        "shear_x": np.sign(m[1]) * (sheared_x & ~sheared_y),
        "shear_y": np.sign(m[3]) * (sheared_y & ~sheared_x),
        "x": -np.sign(m[2]) * moved,
        "y": -np.sign(m[5]) * moved,
    }
    changed = np.sign(drawn.factor.sum(axis=-1) - 1)
    for i, name in enumerate(("brightness", "contrast", "color", "sharpness")):
        found[name] = changed * (drawn.degenerate == i)
    return found


def check_signs(drawn: Settings, probability: dict[str, float]) -> None:
    for name, sign in find_signs(drawn).items():
        positive, negative = (sign > 0).sum(), (sign < 0).sum()
        for count in (positive, negative):
            assert is_within_three_sigma(count, probability[name] / 2), name
        assert abs(positive - negative) <= 3 * np.sqrt(positive + negative), name


@pytest.mark.parametrize("name", sorted(SIGNED))
def test_signs_are_recovered_from_settings(name):
    key = name.removeprefix("translate_").removeprefix("slide_")
    for magnitude in (1.5, -1.5):
        one = make_setting(name, magnitude, *SIZE)
        found = find_signs(jax.tree.map(lambda leaf: np.asarray(leaf)[None], one))
        assert found.pop(key) == np.sign(magnitude) and not any(found.values())


@pytest.mark.parametrize("policy", MOVING)
def test_both_signs_are_equally_likely(policy):
    options, probabilities = MOVING[policy]
    drawn = record_settings(policy, **options)
    assert len(drawn) == len(probabilities)
    for settings, probability in zip(drawn, probabilities, strict=True):
        check_signs(settings, dict.fromkeys(find_signs(settings), probability))


def test_both_signs_are_equally_likely_in_autoaugment():
    for place, settings in enumerate(record_settings("autoaugment")):
        probability = dict.fromkeys(find_signs(settings), 0.0)
        for row in CIFAR_TABLE:
            name, chance, magnitude = row[place]
            key = name.removeprefix("translate_")
            if key in probability and magnitude:
                probability[key] += chance / 25
        check_signs(settings, probability)


def test_translations_go_left_and_right_equally_often(monkeypatch):
    keep_only(monkeypatch, ("translate_x", 0.8, 9), ("identity", 1.0, None))
    image = np.arange(1, 9, dtype=np.uint8).reshape(1, 8, 1)  # 150 / 331 * 8 pixels: three.
    out = draw(auto_augment, image)
    right = (out == np.concatenate([np.zeros((1, 3, 1)), image[:, :-3]], axis=1)).all((1, 2, 3))
    left = (out == np.concatenate([image[:, 3:], np.zeros((1, 3, 1))], axis=1)).all((1, 2, 3))
    still = (out == image).all((1, 2, 3))
    assert right.sum() + left.sum() + still.sum() == DRAWS
    assert is_within_three_sigma(right.sum(), 0.4) and is_within_three_sigma(left.sum(), 0.4)


def test_rows_are_drawn_equally_often(monkeypatch):
    rows = tuple((("posterize", 1.0, bin), ("identity", 1.0, None)) for bin in (0, 3, 5, 7, 9))
    monkeypatch.setattr("train.data.augment.policies.CIFAR_TABLE", rows)
    out = draw(auto_augment, np.full((1, 1, 1), 255, np.uint8)).ravel()
    for bits in (8, 7, 6, 5, 4):
        assert is_within_three_sigma((out == 256 - 2 ** (8 - bits)).sum(), 1 / 5), bits


def test_trivial_augment_draws_operations_and_magnitudes_uniformly():
    out = draw(trivial_augment_wide, np.full((1, 1, 1), 255, np.uint8)).ravel()
    # 3 of the 31 magnitudes of posterize keep 8 bits (0, 1, 2), 3 keep 2 bits (28, 29, 30).
    assert is_within_three_sigma((out == 0b1100_0000).sum(), 1 / 14 * 3 / 31)
    # Black: all of solarize, half of the shears, translations and rotations that leave the pixel.
    assert is_within_three_sigma((out == 255 - 255).sum(), compute_black_share())


def compute_black_share() -> float:
    """Return the share of one white pixel: all of solarize, and moves out of the image."""
    space = wide_space(31)
    moved = sum((space[name] >= 1).mean() for name in ("translate_x", "translate_y"))
    # A shear moves the center by half its magnitude, always less than half a pixel; a rotation does
    # not move it.
    return (1 + moved) / 14


def test_rand_augment_applies_num_ops_operations_at_one_magnitude():
    image = np.full((1, 1, 1), 255, np.uint8)
    # At magnitude 30 of 0 to 30, posterize keeps four bits, and the threshold of solarize is 0.
    once = draw(rand_augment, image, num_ops=1, magnitude=30).ravel()
    assert is_within_three_sigma((once == 0b1111_0000).sum(), 1 / 14)
    assert is_within_three_sigma((once == 0).sum(), 1 / 14)
    # At magnitude 0 only solarize has an effect, and two of them cancel.
    never = draw(rand_augment, image, num_ops=2, magnitude=0).ravel()
    assert is_within_three_sigma((never == 0).sum(), 2 * 1 / 14 * 13 / 14)


@pytest.mark.parametrize(
    "name, resample",
    [
        ("autoaugment", "nearest"),
        ("trivial", "bilinear"),
        ("rand", "nearest"),
        ("rand_increasing", "bilinear"),
    ],
)
def test_a_key_determines_the_batch_with_and_without_x64(key, name, resample):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    function = compile_policy(POLICIES[name], images.shape, resample=resample)
    once = function(key, images)
    assert once.dtype == np.uint8 and once.shape == images.shape and (once != images).any()
    np.testing.assert_array_equal(function(key, images), once)
    assert (function(jax.random.key(1), images) != once).any()
    with jax.enable_x64(True):
        np.testing.assert_array_equal(function(key, images), once)


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_policies_compiled_as_a_whole_make_the_same_pixels(key, name):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    whole = jit_once(POLICIES[name])(key, images)
    np.testing.assert_array_equal(whole, compile_policy(POLICIES[name], images.shape)(key, images))


@pytest.mark.parametrize("name", POLICIES)
def test_policies_can_be_compiled_as_a_whole(key, name):
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), np.uint8)
    out = jax.eval_shape(POLICIES[name], key, images)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)


def test_timms_magnitudes_grow_with_the_level_for_every_operation():
    space = increasing_space(24, 32)
    assert len(space) == 15 and {len(at) for at in space.values()} == {101}
    at = {name: [float(of[tenths]) for tenths in (0, 50, 100)] for name, of in space.items()}
    assert at["posterize"] == [4, 2, 0] and at["solarize"] == [256, 128, 0]
    assert at["solarize_add"] == [0, 55, 110] and at["rotate"] == [0, 15, 30]
    for name, most in [("color", 0.9), ("sharpness", 0.9), ("shear_x", 0.3), ("slide_x", 14.4)]:
        np.testing.assert_allclose(at[name], [0, most / 2, most])
    np.testing.assert_allclose(at["slide_y"], [0, 5.4, 10.8])


def test_timms_rand_augment_draws_each_operation_with_its_probability():
    image = np.full((1, 1, 1), 200, np.uint8)
    options = {"num_ops": 1, "magnitude": 10, "deviation": 0.0, "probability": 0.6}
    out = draw(rand_augment_increasing, image, **options).ravel()
    # The factor of brightness is 0.1 or 1.9; a slide by less than half a pixel changes nothing.
    want = {55: 2, 0: 1, 20: 0.5, 255: 0.5}  # Invert and solarize, posterize, brightness.
    for level, operations in want.items():
        assert is_within_three_sigma((out == level).sum(), 0.6 * operations / 15), level
    assert set(np.unique(out)) == {*want, 200}


def test_timms_magnitudes_are_normal_around_the_given_one(monkeypatch):
    space = {"solarize_add": increasing_space(1, 1)["solarize_add"]}
    monkeypatch.setattr("train.data.augment.policies.increasing_space", lambda *_: space)
    options = {"num_ops": 1, "magnitude": 5, "deviation": 0.5, "probability": 1.0}
    out = draw(rand_augment_increasing, np.zeros((1, 1, 1), np.uint8), **options).ravel()
    level = np.round(5 + 0.5 * np.random.default_rng(0).normal(size=DRAWS), 1).clip(0, 10)
    by_hand = np.trunc(level / 10 * 110)
    error = np.hypot(out.std(), by_hand.std()) / np.sqrt(DRAWS)
    assert abs(out.mean() - by_hand.mean()) < 3 * error
    assert out.std() == pytest.approx(by_hand.std(), rel=0.03)


def test_pixels_from_outside_the_image_have_the_fill_color(monkeypatch):
    keep_only(monkeypatch, ("translate_x", 1.0, 9), ("identity", 1.0, None))
    images = np.full((16, 1, 8, 3), 255, np.uint8)
    shift = compile_policy(auto_augment, images.shape, fill=(10, 20, 30))
    out = shift(jax.random.key(0), images)
    assert (out == [10, 20, 30]).all(axis=-1).sum() == 16 * 3
    assert (out == 255).all(axis=-1).sum() == 16 * 5
