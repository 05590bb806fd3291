"""A user's images in folders, for a network that was trained on another data set."""

import numpy as np
import pytest
from PIL import Image

from train.data.dataset import ArraySplit, Dataset
from train.errors import UserError
from train.evaluate.folder import read_own_images


def make_dataset(shape: tuple[int, ...] = (4, 4, 1), classes: tuple[str, ...] = ()) -> Dataset:
    split = ArraySplit(np.zeros((1, *shape), np.uint8), np.zeros(1, np.int32))
    return Dataset("clothes", split, split, len(classes) or 3, (0.5,), (0.5,), classes)


NAMES = ("T-shirt/top", "Ankle boot", "Bag")


def write_folders(place, *names: str, size: tuple[int, int] = (8, 8), mode: str = "RGB"):
    """Write an opaque image in each folder, each brighter than the one before."""
    for i, name in enumerate(names):
        (place / name).mkdir(parents=True)
        Image.new("L", size, 40 * (i + 1)).convert(mode).save(place / name / "a.png")
    return place


def test_folders_named_after_classes_have_their_labels(tmp_path):
    split, note = read_own_images(
        write_folders(tmp_path, "bag", "t_shirt_top"), make_dataset(classes=NAMES)
    )
    assert split.labels.tolist() == [2, 0] and "named after classes of clothes" in note
    assert split.images[:, 0, 0, 0].tolist() == [40, 80] and split.labels.dtype == np.int32


def test_other_folders_are_classes_in_alphabetical_order(tmp_path):
    split, note = read_own_images(
        write_folders(tmp_path, "c", "a", "b"), make_dataset(classes=NAMES)
    )
    assert split.labels.tolist() == [0, 1, 2]
    assert split.images[:, 0, 0, 0].tolist() == [80, 120, 40]
    assert "no folder is named after a class" in note
    assert "a is 0 (T-shirt/top), b is 1 (Ankle boot), c is 2 (Bag)" in note


@pytest.mark.parametrize(
    "shape, size, mode",
    [
        ((4, 4, 1), (9, 5), "RGB"),
        ((4, 4, 3), (5, 9), "L"),
        ((4, 6, 3), (30, 30), "RGBA"),
        ((6, 4, 1), (3, 3), "L"),
    ],
)
def test_images_are_converted_to_the_shape_of_the_run(tmp_path, shape, size, mode):
    split, _ = read_own_images(
        write_folders(tmp_path, "a", "b", "c", size=size, mode=mode), make_dataset(shape)
    )
    assert split.images.shape == (3, *shape) and split.images.dtype == np.uint8
    assert (split.images == np.array([40, 80, 120])[:, None, None, None]).all()


def test_the_crop_keeps_the_aspect_ratio(tmp_path):
    picture = np.zeros((4, 12), np.uint8)
    picture[:, 3:9] = 200  # A rectangle of 4 x 6 in the middle.
    for name in "abc":
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "a.png")
    assert (read_own_images(tmp_path, make_dataset((4, 6, 1)))[0].images == 200).all()


@pytest.mark.parametrize(
    "names, complaint",
    [
        (("bag", "hat"), "no class of clothes is named hat; it has T-shirt/top, Ankle boot, Bag"),
        (("a", "b"), "has 2 folders, but the network has 3 classes"),
        (("Bag", "bag", "a"), "no class of clothes is named a"),
        (("Bag", "bag"), "two folders name the same class: Bag, bag"),
        (("bag",), "two or more classes"),
    ],
)
def test_folders_that_fit_no_class_are_refused(tmp_path, names, complaint):
    with pytest.raises(UserError, match=complaint):
        read_own_images(write_folders(tmp_path, *names), make_dataset(classes=NAMES))


def test_a_network_for_event_frames_is_refused(tmp_path):
    with pytest.raises(UserError, match="--folder needs a network for gray or color images"):
        read_own_images(tmp_path, make_dataset((10, 20, 20, 2)))
