"""Folders of classes: which files are read, which are skipped, and the order of the classes."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tests.train.image_files import save_image
from train.data import load
from train.data.images.class_folders import (
    find_classes,
    list_images,
    order_names,
    sort_naturally,
)
from train.errors import UserError

SYSTEM = [
    *("._b.png", ".hidden.png", ".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini"),
    *(".ipynb_checkpoints/b-checkpoint.png", "@eaDir/b.png", "$RECYCLE.BIN/b.png"),
    *(
        "lost+found/b.png",
        ".Trash-1000/files/b.png",
        "__MACOSX/b.png",
        "System Volume Information/b",
    ),
]


@pytest.fixture
def pictures(tmp_path):
    """Write the classes ant and zebra, with two images each in both splits."""
    for split in ("train", "test"):
        for shade, name in enumerate(("ant", "zebra")):
            for number in range(2):
                pixels = np.full((4, 4, 3), 100 * shade + number)
                save_image(tmp_path / split / name / f"{number}.png", pixels)
    return tmp_path


def copy_image(place, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(place / "train" / "ant" / "0.png", target)


@pytest.mark.parametrize("name", SYSTEM)
@pytest.mark.parametrize("where", ["train", "train/ant", "train/ant/deep"])
def test_system_files_and_folders_are_skipped_without_a_note(pictures, name, where):
    before = load("folder", pictures, size=4)
    copy_image(pictures, pictures / where / name)
    after = load("folder", pictures, size=4)
    assert after.classes == before.classes and after.notes == ()
    assert np.array_equal(after.train.images, before.train.images)


def test_data_in_a_hidden_folder_are_read(pictures):
    shutil.move(pictures / "train", pictures / ".cache" / "data" / "train")
    shutil.move(pictures / "test", pictures / ".cache" / "data" / "test")
    assert len(load("folder", pictures / ".cache" / "data", size=4).train) == 4


def test_folders_named_like_files_are_classes_and_folders(pictures):
    copy_image(pictures, pictures / "train" / "cat.png" / "a.png")
    copy_image(pictures, pictures / "train" / "cat.png" / "more.jpg" / "b.png")
    copy_image(pictures, pictures / "test" / "cat.png" / "a.png")
    data = load("folder", pictures, size=4)
    assert data.classes == ("ant", "cat.png", "zebra")
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_other_files_are_counted_in_one_line_by_their_endings(pictures, capsys):
    for name in ("a.txt", "b.TXT", "c.heic", "README"):
        (pictures / "train" / "ant" / name).write_text("mine")
    data = load("folder", pictures, size=4)
    (note,) = data.notes
    assert note.endswith(
        "train: skipped, because Pillow cannot read them: 4 (.txt 2, .heic 1, without ending 1)"
    )
    assert f"note: {note}.\n" in capsys.readouterr().err


def test_images_outside_of_the_folders_of_classes_are_counted(pictures):
    copy_image(pictures, pictures / "train" / "loose.png")
    (note,) = load("folder", pictures, size=4).notes
    assert note.endswith("train: skipped, because they are in no class folder: 1 images")


@pytest.mark.parametrize("ending", ["gif", "tif", "tiff", "jfif", "webp", "pgm", "tga", "JPEG"])
def test_images_of_all_endings_are_read(pictures, ending):
    save_image(pictures / "train" / "ant" / f"more.{ending}", np.full((4, 4, 3), 77))
    data = load("folder", pictures, size=4)
    assert len(data.train) == 5 and not data.notes


def test_a_class_of_other_files_only_is_refused_with_their_endings(pictures):
    for split in ("train", "test"):
        (pictures / split / "bee").mkdir()
        (pictures / split / "bee" / "a.heic").write_text("mine")
    with pytest.raises(UserError, match=r"train/bee has no image .*heic 1"):
        load("folder", pictures)


@pytest.mark.parametrize("name, used", [("training", "train"), ("testing", "test")])
def test_a_second_folder_of_a_split_is_reported(pictures, name, used):
    shutil.copytree(pictures / used, pictures / name)
    (note,) = load("folder", pictures, size=4).notes
    assert note.endswith(f"{name} is not read, because there is a folder {used}")


def test_files_that_icloud_has_not_downloaded_are_counted(pictures):
    (pictures / "train" / "ant" / ".photo.jpg.icloud").write_bytes(b"bplist00")
    (note,) = load("folder", pictures, size=4).notes
    assert "(.icloud 1)" in note


@pytest.mark.parametrize(
    "names",
    [("Train", "Test"), ("training", "testing"), ("TRAIN", "valid"), ("train", "Validation")],
)
def test_splits_have_other_usual_names(pictures, names):
    before = load("folder", pictures, size=4)
    for old, new in zip(("train", "test"), names, strict=True):
        (pictures / old).rename(pictures / "part")
        (pictures / "part").rename(pictures / new)
    after = load("folder", pictures, size=4)
    assert np.array_equal(after.test.images, before.test.images) and not after.notes


def test_conversions_are_reported_for_each_split(pictures, capsys):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(pictures / "train" / "ant" / "clear.png")
    Image.fromarray(np.full((4, 4), 200 * 257, np.uint16)).save(
        pictures / "test" / "zebra" / "deep.png"
    )
    data = load("folder", pictures, size=4)
    train, test = data.notes
    assert "train: transparent parts drawn on white: 1 of 5 images" in train
    assert "test: reduced from 16 to 8 bits: 1 of 5 images" in test
    assert (data.train.images[2] == 255).all() and (data.test.images[-1] == 200).all()
    assert capsys.readouterr().err.count("note: ") == 2


def test_images_and_folders_may_be_links(pictures, tmp_path):
    other = tmp_path / "other"
    shutil.move(pictures / "train" / "ant", other)
    os.symlink(other, pictures / "train" / "ant")
    os.symlink(other / "0.png", pictures / "train" / "zebra" / "link.png")
    data = load("folder", pictures, size=4)
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("target", ["nowhere.png", "x.png"])
def test_an_image_that_is_a_broken_link_is_refused_by_name(pictures, target):
    os.symlink(target, pictures / "train" / "ant" / "x.png")
    with pytest.raises(UserError, match="ant/x.png is a link to nothing"):
        load("folder", pictures)


def test_a_class_that_is_a_broken_link_is_refused_by_name(pictures):
    os.symlink("/nowhere/at/all", pictures / "train" / "bee")
    with pytest.raises(UserError, match="train/bee is a link to nothing"):
        load("folder", pictures)


@pytest.mark.parametrize("target", [".", "..", "../..", "deep"])
def test_a_loop_of_links_is_refused_by_name(pictures, target):
    (pictures / "train" / "ant" / "deep").mkdir()
    at = pictures / "train" / "ant" / ("deep/again" if target == "deep" else "again")
    os.symlink(pictures / "train" / "ant" / target, at)
    with pytest.raises(UserError, match="again is a link to a folder that contains it"):
        load("folder", pictures)


def test_a_named_pipe_is_refused_and_not_waited_for(pictures):
    os.mkfifo(pictures / "train" / "ant" / "pipe.png")
    with pytest.raises(UserError, match="pipe.png is no regular file"):
        load("folder", pictures)


def test_deep_folders_are_read(tmp_path):
    place = tmp_path.joinpath(*"d" * 300)
    save_image(place / "a.png", np.zeros((2, 2)))
    assert list_images(tmp_path)[0] == [place / "a.png"]


def test_names_in_two_forms_of_unicode_are_the_same_class(pictures):
    names = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    copy_image(pictures, pictures / "train" / names[0] / "a.png")
    copy_image(pictures, pictures / "test" / names[1] / "a.png")
    assert load("folder", pictures, size=4).classes == ("ant", "zebra", names[0])
    copy_image(pictures, pictures / "train" / names[1] / "a.png")
    with pytest.raises(UserError, match="two folders are named 'é'"):
        load("folder", pictures)


def test_a_name_that_is_not_utf8_is_refused(pictures):
    os.mkdir(os.fsencode(pictures / "train") + b"/caf\xe9")
    with pytest.raises(UserError, match=r"'caf\\udce9', which is not valid UTF-8"):
        load("folder", pictures)


def test_upper_and_lower_case_are_different_classes(pictures):
    for split in ("train", "test"):
        copy_image(pictures, pictures / split / "Ant" / "a.png")
    data = load("folder", pictures, size=4)
    assert data.classes == ("Ant", "ant", "zebra")
    assert "the classes 'Ant', 'ant' differ only in upper and lower case" in data.notes[0]
    shutil.move(pictures / "test" / "Ant", pictures / "test" / "ANT")
    with pytest.raises(UserError, match="the classes 'ANT', 'Ant'"):
        load("folder", pictures)


@pytest.mark.parametrize(
    "names, expected",
    [
        (map(str, range(12)), [str(n) for n in range(12)]),
        (map("{:03}".format, range(12)), [f"{n:03}" for n in range(12)]),
        (map(str, range(1, 12)), [str(n) for n in range(1, 12)]),
        (["10", "02", "1", "0"], ["0", "1", "02", "10"]),
        (["b10", "b9"], ["b10", "b9"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["²", "10", "9"], ["10", "9", "²"]),
    ],
)
def test_whole_numbers_are_ordered_by_value_and_other_names_by_text(names, expected):
    assert order_names("place", names) == expected


def test_one_number_written_twice_is_refused(tmp_path):
    for name in ("1", "01", "2"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="01 and 1 are the same number"):
        find_classes(tmp_path)


def test_folders_0_to_n_are_the_labels(tmp_path):
    for split in ("train", "test"):
        for number in range(12):
            save_image(tmp_path / split / str(number) / "a.png", np.full((2, 2, 3), number))
    data = load("folder", tmp_path, size=2)
    assert data.train.images[:, 0, 0, 0].tolist() == data.train.labels.tolist() == list(range(12))
    assert data.classes[2] == "2"


def test_natural_order_sorts_numbers_by_value_and_letters_without_case():
    assert sort_naturally(["a10", "B", "a9", "c"]) == ["a9", "a10", "B", "c"]


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Valid"), ("train", "val", "test")])
def test_splits_are_not_taken_for_classes(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="these are splits, not classes"):
        find_classes(tmp_path)


def test_the_refusal_of_a_single_folder_proposes_it(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=f"If it has the classes, give {tmp_path}/images"):
        find_classes(tmp_path)
