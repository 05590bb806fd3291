"""config.augment: the order of its stages, and errors for invalid values."""

from functools import partial

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from configs import cifar100
from tests.helpers import jit_once
from tests.train.helpers import make_program_on, make_test_mesh
from tests.train.tiny import get_config
from train.data import ArraySplit, Dataset
from train.errors import UserError
from train.program.inputs import make_prepare
from train.program.losses import cross_entropy
from train.program.state import create_state
from train.program.step import make_train_step, split_step_key

RNG = np.random.default_rng(0)
# No gray level is 0 after normalization with this mean.
MEAN, STD = 0.401, 0.2
IMAGES = RNG.integers(1, 256, (8, 20, 20, 3), dtype=np.uint8)
SPLIT = ArraySplit(IMAGES, np.arange(8, dtype=np.int32))
DATASET = Dataset("noise", SPLIT, SPLIT, 10, (MEAN,) * 3, (STD,) * 3)
BATCH = {"image": SPLIT.images, "label": SPLIT.labels}
RECIPES = {
    "paper": cifar100.get_config().augment.to_dict(),
    "released": cifar100.get_config("released").augment.to_dict(),
}


def make_config(**augment) -> ConfigDict:
    config = get_config()
    config.augment = augment
    return config


def prepare_batch(key, **augment) -> tuple[np.ndarray, np.ndarray]:
    prepare = jit_once(make_prepare(make_config(**augment), DATASET))
    return tuple(np.asarray(each) for each in prepare(key, BATCH))


def compile_on(devices: int, key: jax.Array, recipe: dict) -> tuple[str, list[np.ndarray]]:
    mesh = make_test_mesh(devices)
    batch = jax.device_put(BATCH, NamedSharding(mesh, PartitionSpec("data")))
    key = jax.device_put(key, NamedSharding(mesh, PartitionSpec()))
    prepare = jit_once(make_prepare(make_config(**recipe), DATASET))
    compiled = prepare.lower(key, batch).compile()
    return compiled.as_text(), [np.asarray(each) for each in compiled(key, batch)]


@pytest.fixture(scope="module", params=RECIPES)
def one_and_four(request) -> tuple[tuple, tuple]:
    recipe = RECIPES[request.param]
    return tuple(compile_on(count, jax.random.key(0), recipe) for count in (1, 4))


def test_four_devices_prepare_the_batch_of_one_device_without_gathering(one_and_four):
    (_, one), (text, four) = one_and_four
    for alone, divided in zip(one, four, strict=True):
        np.testing.assert_allclose(alone, divided, rtol=1e-6, atol=1e-6)
    assert "all-gather" not in text and "all-reduce" not in text


def test_nothing_leaves_the_device(one_and_four):
    for text, _ in one_and_four:
        for way_out in ("custom-call", "callback", "infeed", "outfeed", "send(", "recv("):
            assert way_out not in text


def test_without_stages_images_are_only_normalized(key):
    images, labels = prepare_batch(key)
    np.testing.assert_allclose(images, (IMAGES / 255 - MEAN) / STD, rtol=1e-5, atol=1e-6)
    assert (labels == SPLIT.labels).all()


@pytest.mark.parametrize("fill, hole", [("black", -MEAN / STD), ("mean", 0.0)])
def test_a_hole_is_black_or_the_mean(key, fill, hole):
    plain, _ = prepare_batch(key)
    images, _ = prepare_batch(key, cutout={"size": 4, "fill": fill})
    changed = images != plain
    assert 8 * 3 * 4 <= changed.sum() <= 8 * 3 * 16
    np.testing.assert_allclose(images[changed], hole, atol=1e-6)


def test_a_stage_draws_the_same_with_and_without_the_others(key):
    mirrored = prepare_batch(key, flip=True)[0]
    both = prepare_batch(key, flip=True, cutout={"size": 4, "fill": "mean"})[0]
    holes = prepare_batch(key, cutout={"size": 4, "fill": "mean"})[0] == 0
    np.testing.assert_array_equal(both, np.where(holes, 0, mirrored))


def test_event_frames_are_flipped_rolled_and_rotated_as_counts(key):
    counts = RNG.integers(0, 9, (8, 3, 12, 12, 2), dtype=np.uint8)
    split = ArraySplit(counts, SPLIT.labels)
    dataset = Dataset("events", split, split, 10)
    for augment in ({"flip": True}, {"roll": 2}, {"rotate": 15}):
        prepare = jit_once(make_prepare(make_config(pad=0, **augment), dataset))
        frames, _ = prepare(key, {"image": counts, "label": split.labels})
        assert frames.shape == counts.shape and frames.dtype == np.float32
        assert (frames != counts).any() and set(np.unique(frames)) <= set(range(9))
    with pytest.raises(UserError, match="config.augment.policy is for images only"):
        make_prepare(make_config(policy={"name": "rand"}), dataset)


def test_mixed_labels_are_shares_of_the_classes(key):
    _, labels = prepare_batch(key, mix={"name": "mixup", "alpha": 1.0})
    assert labels.shape == (8, 10) and labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    assert ((labels > 0).sum(axis=1) == 2).all()


class Linear(nn.Module):
    """The smallest network that a training step takes."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.BatchNorm(use_running_average=not train)(x.mean(axis=(1, 2)))
        return nn.Dense(10)(x)[:, None]


def test_a_step_trains_on_mixed_labels_and_calls_nothing_outside_the_device(key):
    model, optimizer = Linear(), optax.sgd(0.1)
    mixed = make_config(mix={"name": "mixup", "alpha": 1.0})
    prepare = make_prepare(mixed, DATASET)
    train_step = make_train_step(model, optimizer, cross_entropy, prepare)
    images, labels = jit_once(prepare)(split_step_key(key, 0)[0], BATCH)
    create = jit_once(partial(create_state, model, optimizer))
    state, _ = create(key, key, images)
    compiled = jit_once(train_step).lower(state, BATCH).compile()
    _, metrics = compiled(state, BATCH)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert labels.ndim == 2
    assert float(metrics["loss"]) == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-5)
    right = logits[:, 0].argmax(axis=-1) == labels.argmax(axis=-1)
    assert float(metrics["accuracy"]) == right.mean()
    assert "custom-call" not in compiled.as_text() and "callback" not in compiled.as_text()


@pytest.mark.parametrize(
    "augment, complaint",
    [
        ({"flop": True}, "config.augment has no key 'flop'; it has pad, flip, roll, rotate"),
        ({"roll": 5}, "config.augment.roll is for frames only"),
        ({"policy": {"name": "auto"}}, "policy.name is 'auto'; it can be autoaugment, rand, rand"),
        (
            {"policy": {"name": "rand", "ops": 2}},
            "policy has no key 'ops'; rand takes num_ops,",
        ),
        ({"policy": {"name": "rand", "magnitude": 31}}, "magnitude must be at most 30, got 31"),
        ({"policy": {"name": "rand", "num_ops": 0}}, "num_ops must be at least 1, got 0"),
        ({"policy": {"name": "rand", "resample": "cubic"}}, "'cubic'; it can be bilinear, nea"),
        (
            {"policy": {"name": "rand", "fill": "red"}},
            "policy.fill is 'red'; it can be black, me",
        ),
        ({"cutout": {"fill": "mean"}}, "config.augment.cutout lacks size; it has size, fill."),
        ({"cutout": {"size": 8, "fill": "gray"}}, "fill is 'gray'; it can be black, mean"),
        ({"cutout": {"size": -1}}, "config.augment.cutout.size must be at least 0, got -1"),
        ({"erase": {"probability": 1.5}}, "erase.probability must be at most 1, got 1.5"),
        ({"erase": {"p": 0.1}}, "config.augment.erase has no key 'p'; it has probability, fill"),
        ({"mix": {"name": "mixup", "alpha": 0.0}}, "augment.mix.alpha must be more than 0, got 0"),
        ({"mix": {"name": "mixup"}}, "config.augment.mix lacks alpha; mixup takes alpha."),
        ({"smoothing": 1.5}, "config.augment.smoothing must be at most 1, got 1.5"),
        ({"pad": 9}, "config.augment.pad must be at most 8, the shorter side of the images, got 9"),
        ({"pad": 10**12}, "config.augment.pad must be at most 32768, got 1000000000000"),
        ({"cutout": {"size": 10**12}}, "config.augment.cutout.size must be at most 32768"),
        ({"repeats": 0}, "config.augment.repeats must be at least 1, got 0"),
        ({"repeats": 3}, "Or use config.augment.repeats=2."),
        ({"repeats": 3}, "repeats 3 does not divide batch_size 32; the nearest that it divid"),
        ({"policy": {"num_ops": 2}}, "config.augment.policy.name is None; it can be autoaugment"),
        (
            {"policy": {"name": "rand_increasing", "magnitude": 11}},
            "config.augment.policy.magnitude must be at most 10, got 11",
        ),
        ({"mix": {"name": "remix"}}, "mix.name is 'remix'; it can be cutmix, mixup, mixup_or_cut"),
    ],
)
def test_a_mistake_in_augment_is_found_before_anything_compiles(augment, complaint, compiled):
    with pytest.raises(UserError) as error:
        make_program_on(1, make_config(**augment))
    assert complaint in str(error.value)
    assert compiled == []


def test_a_policy_needs_one_or_three_channels():
    split = ArraySplit(IMAGES[..., :2], SPLIT.labels)
    dataset = Dataset("events", split, split, 10, (MEAN,) * 2, (STD,) * 2)
    with pytest.raises(UserError, match="needs 1 or 3 channels; the data have 2"):
        make_prepare(make_config(policy={"name": "rand"}), dataset)


def test_smoothing_gives_every_class_a_share_of_each_label(key):
    _, labels = prepare_batch(key, smoothing=0.1)
    np.testing.assert_allclose(labels, 0.9 * np.eye(10)[SPLIT.labels] + 0.01, rtol=1e-6)
    _, mixed = prepare_batch(key, smoothing=0.1, mix={"name": "mixup", "alpha": 1.0})
    assert mixed.min() == pytest.approx(0.01)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-6)


def test_a_policy_fills_with_black_or_with_the_mean_of_the_data(key, monkeypatch):
    # A translation by 9 of 20 pixels leaves 45 % of an image empty.
    only = {"translate_x": np.linspace(0, 9, 31)}
    monkeypatch.setattr("train.data.augment.policies.narrow_space", lambda *_: only)
    levels = {"black": -MEAN / STD, "mean": (round(255 * MEAN) / 255 - MEAN) / STD}
    for fill, other in (("black", "mean"), ("mean", "black")):
        policy = {"name": "rand", "num_ops": 1, "magnitude": 30, "fill": fill}
        images, _ = prepare_batch(key, policy=policy)
        share = {name: np.isclose(images, levels[name], atol=1e-6).mean() for name in levels}
        assert 0.45 <= share[fill] < 0.46 and share[other] < 0.01
