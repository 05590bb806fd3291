"""A user's images in folders, for a network that was trained on another data set."""

import numpy as np
import pytest
from PIL import Image

from train.data.dataset import ArraySplit, Dataset
from train.data.images.class_folders import order_names
from train.errors import UserError
from train.evaluate.folder import find_labels, read_own_images


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


HUNDRED = tuple(f"class of {n * 37 % 100:02}" for n in range(100))


def label(tmp_path, names, classes=HUNDRED):
    """Return the labels of folders with these names, and the note, without reading images."""
    return find_labels(tmp_path, order_names(tmp_path, names), make_dataset(classes=classes))


@pytest.mark.parametrize("form", ["{}", "{:02}", "{:04}"])
def test_whole_numbers_below_the_number_of_classes_are_the_labels(tmp_path, form):
    labels, _ = label(tmp_path, [form.format(n) for n in range(100)])
    assert labels == {form.format(n): n for n in range(100)}
    labels, _ = label(tmp_path, ["12", "7", "2"])
    assert labels == {"2": 2, "7": 7, "12": 12}


def test_folders_0_to_99_get_their_labels_and_the_note_shows_them(tmp_path):
    names = [str(n) for n in range(100)]
    split, note = read_own_images(write_folders(tmp_path, *names), make_dataset(classes=HUNDRED))
    assert split.labels.tolist() == list(range(100))
    assert "named by the labels: 0 is 0 (class of 00), 1 is 1 (class of 37)" in note
    assert "99 is 99" in note and len(note) < 400


@pytest.mark.parametrize("names", [range(1, 101), [5, 100], [1, 2, 100]])
def test_numbers_from_1_are_refused_with_both_readings(tmp_path, names):
    with pytest.raises(UserError) as caught:
        label(tmp_path, [str(n) for n in names])
    text = str(caught.value)
    assert "folder 1 is class 0 (class of 00)" in text and "class 1 (class of 37)" in text


@pytest.mark.parametrize("names", [["0", "100"], ["3", "1000"]])
def test_numbers_that_are_no_labels_are_refused(tmp_path, names):
    with pytest.raises(UserError, match=f"has the folder {names[1]}, but the labels .* 0 to 99"):
        label(tmp_path, names)


@pytest.mark.parametrize(
    "names",
    [
        [f"class{n}" for n in range(100)],
        ["B", "a", "c"],
        ["x1", "x02", "x10"],
        ["Apfel", "Zebra", "\u00c4pfel"],
        ["-1", "-2", "-3"],
    ],
)
def test_names_whose_text_and_natural_order_differ_are_refused_with_both(tmp_path, names):
    classes = tuple(f"other {chr(65 + n % 26)}{n}" for n in range(len(names)))
    with pytest.raises(UserError, match="two orders are possible: by text .*; by number and") as e:
        label(tmp_path, names, classes)
    assert len(str(e.value)) < 500


def test_the_refusal_shows_where_two_orders_differ(tmp_path):
    with pytest.raises(UserError, match="class1, class10, class11.*class1, class2, class3"):
        label(tmp_path, [f"class{n}" for n in range(100)])


def test_names_in_the_same_order_by_text_and_by_number_are_positions(tmp_path):
    labels, note = label(tmp_path, [f"class{n:02}" for n in range(100)])
    assert labels["class02"] == 2 and "order of their names" in note


def test_exact_names_come_before_fuzzy_ones(tmp_path):
    classes = ("a", "A", "b-c", "b_c")
    assert label(tmp_path, ["A", "a", "b_c"], classes)[0] == {"A": 1, "a": 0, "b_c": 3}
    with pytest.raises(UserError, match="folder b c may be any of the classes b-c .2., b_c .3."):
        label(tmp_path, ["a", "b c"], classes)
    # The class is taken by its exact name already.
    with pytest.raises(UserError, match="two folders name the same class: x, X"):
        label(tmp_path, ["X", "x", "y"], ("x", "y"))


@pytest.mark.parametrize(
    "names, classes",
    [(["C++", "Go"], ("C", "Go")), (["-1", "0"], ("0", "1")), (["<5", "6"], ("5", "6"))],
)
def test_signs_that_change_a_meaning_are_no_separators(tmp_path, names, classes):
    with pytest.raises(UserError, match="no class of clothes is named"):
        label(tmp_path, names, classes)


def test_class_names_that_are_numbers_come_before_labels(tmp_path):
    classes = ("1", "10", "2")  # In the order of their text, as other programs write them.
    assert label(tmp_path, ["1", "2", "10"], classes)[0] == {"1": 0, "2": 2, "10": 1}
    assert label(tmp_path, ["01", "02"], classes)[0] == {"01": 0, "02": 2}
    with pytest.raises(UserError, match="no class of clothes is named 0"):
        label(tmp_path, ["0", "1", "2"], classes)


def test_names_in_another_form_of_unicode_are_exact(tmp_path):
    assert label(tmp_path, ["e\u0301", "e"], ("\u00e9", "e"))[0] == {"e\u0301": 0, "e": 1}


def test_names_without_letters_match_only_exactly(tmp_path):
    assert label(tmp_path, ["+", "-"], ("-", "+", "x"))[0] == {"+": 1, "-": 0}
    with pytest.raises(UserError, match="no class of clothes is named [*]"):
        label(tmp_path, ["*", "-"], ("-", "+", "x"))


def test_two_classes_with_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match="folder crane may be any of the classes"):
        label(tmp_path, ["crane", "x"], ("crane", "x", "crane"))


def test_converted_and_skipped_files_are_in_the_note(tmp_path):
    place = write_folders(tmp_path, "a", "b", "c")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(place / "a" / "clear.png")
    (place / "a" / "b.txt").write_text("mine")
    split, note = read_own_images(place, make_dataset((4, 4, 3)))
    assert "transparent parts drawn on white: 1 of 4 images" in note and ".txt 1" in note
    assert (split.images[1] == 255).all()


def test_a_network_for_event_frames_is_refused(tmp_path):
    with pytest.raises(UserError, match="--folder needs a network for gray or color images"):
        read_own_images(tmp_path, make_dataset((10, 20, 20, 2)))
