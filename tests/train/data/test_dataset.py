import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data import DATASETS, DataNotFound, load
from train.data.dataset import ArraySplit, DiskSplit, check_labels, describe_data
from train.errors import UserError


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_data_sets_without_files_load_by_name(name):
    dataset = load(name)
    assert dataset.name == name
    for split in (dataset.train, dataset.test):
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        assert split.images.shape[0] == len(split.labels)
        assert split.images.shape[3] == len(dataset.mean) == len(dataset.std)


def test_options_are_passed_to_the_data_set():
    assert load("synthetic", num_test=3).test.images.shape == (3, 8, 8, 1)


@pytest.mark.parametrize("shape", [(5, 6, 3), [5, 6, 3]])
def test_a_shape_can_be_a_tuple_or_a_list(shape):
    dataset = load("synthetic", shape=shape)
    assert dataset.train.shape == (5, 6, 3) and len(dataset.mean) == 3


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 0), 5, "5", (5, 6, 1.5)])
def test_invalid_shapes_are_refused(shape):
    with pytest.raises(UserError, match=r"synthetic needs a shape .H, W, C., .*got shape="):
        load("synthetic", shape=shape)


def test_the_error_for_an_unknown_name_has_the_nearest_and_all_names():
    with pytest.raises(UserError, match="name is 'cifar-10'; .*Did you mean 'cifar10'") as error:
        load("cifar-10")
    assert all(name in str(error.value) for name in DATASETS)


def test_the_error_for_an_unknown_option_has_the_known_ones():
    with pytest.raises(UserError, match="config.data has no key 'sede'; synthetic takes .*seed"):
        load("synthetic", sede=1)
    with pytest.raises(UserError, match="digits takes data_dir, train_images, validation"):
        load("digits", seed=1)


def test_data_not_found_has_the_name_the_places_and_the_way_to_get_it():
    places = [(Path("data/things.gz"), "the archive"), (Path("/things"), "its folder")]
    message = str(DataNotFound("things", places, "curl https://things"))
    assert "'things' was not found" in message
    assert f"{Path.cwd()}/data/things.gz: the archive" in message
    assert "/things: its folder" in message
    assert "curl https://things" in message


@pytest.mark.parametrize("labels, wrong", [([0, 3], "3"), ([-1, 0], "-1")])
def test_the_error_for_labels_out_of_range_has_the_label(labels, wrong):
    with pytest.raises(ValueError, match=f"labels 0..2, got {wrong}"):
        check_labels(np.array(labels), 3)


@pytest.mark.parametrize(
    "name, options",
    [
        ("imagenet", {"size": "a"}),
        ("imagenet", {"size": 1.5}),
        ("imagenet", {"size": True}),
        ("imagenet", {"workers": "x"}),
        ("imagenet", {"workers": -1}),
        ("imagenet", {"least_area": float("nan")}),
        ("imagenet", {"resample": []}),
        ("imagenet", {"resize": 2.5}),
        ("synthetic", {"seed": "a"}),
        ("synthetic", {"seed": 1.5}),
        ("synthetic", {"num_train": True}),
        ("synthetic", {"num_classes": float("inf")}),
        ("folder", {"size": True}),
        ("folder", {"size": None}),
    ],
)
def test_options_of_another_type_or_range_are_refused_by_name(name, options):
    (key,) = options
    with pytest.raises(UserError, match=key):
        load(name, **options)


def test_more_pixels_than_memory_are_refused_before_they_are_made(tmp_path):
    with pytest.raises(UserError, match="synthetic images .* need at least .* GiB"):
        load("synthetic", shape=(10**6, 10**6, 3))
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("L", (1, 1)).save(tmp_path / split / name / "a.png")
    with pytest.raises(UserError, match="2 images of 10000000 x 10000000 pixels need at least"):
        load("folder", tmp_path, size=10**7)


DIGITS = load("digits")


def change(split: ArraySplit, **changed: tuple[object, int]) -> ArraySplit:
    """Return a copy with another value at an index of `images` or `labels`."""
    arrays = {"images": split.images.copy(), "labels": split.labels.copy()}
    for name, (index, value) in changed.items():
        arrays[name][index] = value
    return ArraySplit(**arrays)


def test_equal_data_have_equal_descriptions_of_plain_values():
    description = describe_data(DIGITS)
    assert description == describe_data(load("digits")) == json.loads(json.dumps(description))
    assert description["classes"] == [str(digit) for digit in range(10)]
    assert description["train"]["samples"] == 1437 and "validation" not in description
    assert len(describe_data(load("digits", validation=0.1))["validation"]["sha256"]) == 64


@pytest.mark.parametrize(
    "changed, key",
    [
        (replace(DIGITS, classes=DIGITS.classes[::-1]), "classes"),
        (replace(DIGITS, num_classes=11), "num_classes"),
        (replace(DIGITS, mean=(0.4,)), "mean"),
        (replace(DIGITS, std=(0.4,)), "std"),
        (replace(DIGITS, train=change(DIGITS.train, labels=(700, 11))), "train"),
        (replace(DIGITS, test=change(DIGITS.test, images=(0, 99))), "test"),
        (replace(DIGITS, test=change(DIGITS.test, images=(359, 99))), "test"),
        *[
            (replace(DIGITS, train=change(DIGITS.train, images=((index, 3, 4), 99))), "train")
            for index in (1, 2, 3, 1435)
        ],
        (replace(DIGITS, test=DIGITS.train), "test"),
        (load("digits", train_images=200), "train"),
        (load("digits", validation=0.2), "validation"),
    ],
)
def test_changed_data_have_another_description(changed, key):
    before, after = describe_data(DIGITS), describe_data(changed)
    assert after.get(key) != before.get(key)


def test_data_on_disk_are_described_without_reading_samples():
    def read(index, rng):
        raise AssertionError("a sample was read")

    splits = [
        DiskSplit(counts, (8, 8, 1), read, 0, lambda: None, identity=files)
        for counts, files in (((5, 5), "a"), ((4, 6), "a"), ((5, 5), "b"), ((5, 5), "a"))
    ]
    found = [describe_data(replace(DIGITS, train=split))["train"]["sha256"] for split in splits]
    assert len(set(found)) == 3 and found[0] == found[3]


def test_describing_a_large_data_set_takes_no_second_pass():
    images = np.broadcast_to(np.zeros((1, 256, 256, 3), np.uint8), (100_000, 256, 256, 3))
    split = ArraySplit(images, np.zeros(100_000, np.int32))  # 20 GB if it were real.
    assert describe_data(replace(DIGITS, train=split))["train"]["samples"] == 100_000


def test_classes_without_training_images_are_noted(capsys):
    (note,) = load("digits", train_images=5).notes
    assert "5 of 10 classes have no training image, the first is class 5" in note
