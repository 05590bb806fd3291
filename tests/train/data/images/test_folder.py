"""A folder of a user's own images: classes by name, any size and mode, errors with file names."""

import numpy as np
import pytest

from tests.train.image_files import save_image
from train.data import DataNotFound, load
from train.errors import UserError


@pytest.fixture
def pictures(tmp_path):
    """Write two classes of plain colors, white zebras and red ants, in several sizes and modes."""
    for split in ("train", "test"):
        save_image(tmp_path / split / "zebra" / "a.png", np.full((5, 9), 255))
        save_image(tmp_path / split / "ant" / "b.png", np.full((8, 4, 3), [200, 0, 0]))
        save_image(tmp_path / split / "ant" / "deep" / "a.bmp", np.full((2, 2, 3), [100, 0, 0]))
        (tmp_path / split / "ant" / "notes.txt").write_text("mine")
    return tmp_path


def test_classes_are_numbered_by_name_and_images_are_square(pictures):
    data = load("folder", pictures, size=4)
    assert data.num_classes == 2
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0, 0, 1]
    assert data.train.images.shape == (3, 4, 4, 3) and data.train.images.dtype == np.uint8
    colors = [[200, 0, 0], [100, 0, 0], [255, 255, 255]]
    assert (data.train.images == np.array(colors)[:, None, None]).all()
    np.testing.assert_allclose(data.mean, np.mean(colors, axis=0) / 255)
    np.testing.assert_allclose(data.std, np.std(colors, axis=0) / 255)


def test_images_are_cropped_in_the_middle(tmp_path):
    stripe = np.zeros((3, 9, 3))
    stripe[:, 3:6] = 255
    for split in ("train", "val"):  # The other usual name of the test images.
        for name in ("a", "b"):
            save_image(tmp_path / split / name / "x.png", stripe)
    assert (load("folder", tmp_path, size=3).test.images == 255).all()


def test_the_error_without_folders_has_every_place(tmp_path):
    places = r"/train: a folder for each class\n.*/test: a folder(.|\n)*\(or val/CLASS/\)"
    with pytest.raises(DataNotFound, match=places):
        load("folder", tmp_path)


def test_a_truncated_image_is_refused_by_name(pictures):
    whole = (pictures / "test" / "ant" / "b.png").read_bytes()
    (pictures / "test" / "ant" / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="test/ant/b.png is not a complete image"):
        load("folder", pictures)


def test_splits_without_the_same_two_or_more_classes_are_refused(pictures):
    save_image(pictures / "train" / "bee" / "x.png", np.zeros((2, 2)))
    with pytest.raises(UserError, match="only one of train and test has the classes 'bee'"):
        load("folder", pictures)
    (pictures / "test" / "bee").mkdir()
    with pytest.raises(UserError, match="test/bee has no image"):
        load("folder", pictures)
    for split in ("train", "test"):
        for name in ("bee", "zebra"):
            (pictures / split / name).rename(pictures / f"{split}-{name}")
    with pytest.raises(UserError, match="two or more classes, got .'ant'."):
        load("folder", pictures)


@pytest.mark.parametrize("size", [0, "a", 1.5])
def test_sizes_other_than_positive_whole_numbers_are_refused(pictures, size):
    with pytest.raises(UserError, match=f"size must be a whole number of at least 1, got {size!r}"):
        load("folder", pictures, size=size)


def test_files_of_macos_are_skipped(pictures):
    before = load("folder", pictures)
    for split in ("train", "test"):
        (pictures / split / "ant" / "._b.png").write_bytes(b"\0\5\x16\7")
        save_image(pictures / split / "__MACOSX" / "ant" / "b.png", np.zeros((2, 2)))
        save_image(pictures / split / "zebra" / "__MACOSX" / "a.png", np.zeros((2, 2)))
    after = load("folder", pictures)
    assert after.num_classes == 2 and after.train.labels.tolist() == before.train.labels.tolist()
    assert (after.test.images == before.test.images).all()


def test_the_error_for_an_unknown_format_names_the_file_and_no_python_object(pictures):
    (pictures / "test" / "ant" / "b.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"b.png is not a complete image \(Pillow does not know"):
        load("folder", pictures)
