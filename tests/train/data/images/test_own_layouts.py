"""Layouts of a user's own images: splits, one folder of classes, and tables of labels."""

import numpy as np
import pytest

from tests.train.image_files import save_image
from train.data import DataNotFound, load
from train.errors import UserError

SHADES = {"ant": 50, "bee": 150}


def fill(place, count=2, first=0):
    """Write images of two classes, whose shade is their class and their number."""
    for name, shade in SHADES.items():
        for number in range(first, first + count):
            save_image(place / name / f"{number}.png", np.full((4, 4, 3), shade + number))


def read(dataset, split="train"):
    """Return the labels and shades of a split."""
    part = getattr(dataset, split)
    return list(zip(part.labels.tolist(), part.images[:, 0, 0, 0].tolist(), strict=True))


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_validation_folder_is_for_the_test_without_a_test_folder(tmp_path, name):
    fill(tmp_path / "train")
    fill(tmp_path / name, 1, 9)
    dataset = load("folder", tmp_path, size=2)
    assert read(dataset, "test") == [(0, 59), (1, 159)] and dataset.validation is None
    assert not dataset.notes


def test_of_three_folders_the_best_epoch_is_chosen_on_the_validation_images(tmp_path):
    for first, split in enumerate(("train", "valid", "test")):
        fill(tmp_path / split, 1, first)
    dataset = load("folder", tmp_path, size=2)
    assert [read(dataset, split)[0][1] for split in ("train", "validation", "test")] == [50, 51, 52]
    with pytest.raises(UserError, match="folder already has a validation split"):
        load("folder", tmp_path, size=2, validation=0.5)


@pytest.mark.parametrize("inner", ["", "train"])
def test_of_one_folder_a_share_of_every_class_is_tested_on(tmp_path, inner):
    fill(tmp_path / inner, 10)
    dataset = load("folder", tmp_path, size=2)
    again = load("folder", tmp_path, size=2)
    assert read(dataset) == read(again) and read(dataset, "test") == read(again, "test")
    assert [label for label, _ in read(dataset, "test")] == [0, 0, 1, 1]
    shades = [shade for split in ("train", "test") for _, shade in read(dataset, split)]
    assert sorted(shades) == [shade + n for shade in SHADES.values() for n in range(10)]
    (note,) = dataset.notes
    assert note.endswith(
        "has no test split: 4 of 20 samples, the same in every run, are tested on "
        "(config.data.test_share)"
    )
    parts = load("folder", tmp_path, size=2, test_share=0.5, validation=0.2)
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [8, 2, 10]


@pytest.mark.parametrize("share", [0, 1, 1.5, True, "a"])
def test_shares_outside_of_0_to_1_are_refused(tmp_path, share):
    fill(tmp_path)
    with pytest.raises(UserError, match="test_share must be more than 0 and less than 1, got"):
        load("folder", tmp_path, test_share=share)


def test_a_share_that_leaves_no_image_is_refused(tmp_path):
    fill(tmp_path, 1)
    with pytest.raises(UserError, match="test_share=0.1 of 2 samples leaves one part empty"):
        load("folder", tmp_path, test_share=0.1)


def write_table(file, *rows, header="file,label"):
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


@pytest.mark.parametrize("given", ["table", "folder"])
def test_a_table_has_the_labels_of_files_in_any_folder(tmp_path, given):
    fill(tmp_path / "images", 5)
    names = [f"images/{name}/{number}.png,{name}s" for name in SHADES for number in range(5)]
    table = write_table(tmp_path / "labels.csv", *names)
    dataset = load("folder", table if given == "table" else tmp_path, size=2)
    assert dataset.classes == ("ants", "bees")
    assert [label for label, _ in read(dataset, "test")] == [0, 1] and len(dataset.train) == 8
    assert all((shade >= 150) == label for label, shade in read(dataset))


def test_a_column_has_the_split_of_each_file(tmp_path):
    fill(tmp_path, 3)
    rows = [
        f"{name}/{number}.png;{name};{split}"
        for name in SHADES
        for number, split in enumerate(("train", "Valid", "test"))
    ]
    table = write_table(tmp_path / "labels.csv", *rows, header="File; Label; Split")
    dataset = load("folder", table, size=2)
    assert read(dataset) == [(0, 50), (1, 150)] and read(dataset, "test") == [(0, 52), (1, 152)]
    assert read(dataset, "validation") == [(0, 51), (1, 151)]


def test_tables_of_splits_name_files_in_folders_of_the_same_name(tmp_path):
    for split in ("train", "test"):
        for number, shade in enumerate(SHADES.values()):
            save_image(tmp_path / split / f"{number}.png", np.full((4, 4, 3), shade))
        write_table(tmp_path / f"{split}.csv", "0.png,7", "1.png,10")
    dataset = load("folder", tmp_path, size=2)
    assert dataset.classes == ("7", "10") and not dataset.notes
    assert read(dataset) == read(dataset, "test") == [(0, 50), (1, 150)]


def test_a_rare_class_of_a_table_need_not_be_tested_on(tmp_path):
    fill(tmp_path)
    rows = ["ant/0.png,ant,train", "bee/0.png,bee,train", "ant/1.png,ant,test"]
    table = write_table(tmp_path / "labels.csv", *rows, header="file,label,split")
    assert load("folder", table, size=2).test.labels.tolist() == [0]
    rows[-1] = "ant/1.png,wasp,test"
    write_table(table, *rows, header="file,label,split")
    with pytest.raises(UserError, match="only one of train and test has the classes 'wasp'"):
        load("folder", table, size=2)


@pytest.mark.parametrize(
    "header, rows, message",
    [
        ("file,label", ["ant/0.png,ant", "ant/7.png,ant"], "no file .*/ant/7.png. File names are"),
        ("file,label", ["ant/0.png,ant", "ant/1.png,"], "a row has no file or no label"),
        ("file,label", ["ant/0.png", "ant/1.png,ant"], "a row has no file or no label"),
        ("file,label", ["ant/0.png,ant", "ant/0.png,bee"], "names ant/0.png twice"),
        ("file,label", ["ant/0.png,ant", "ant/1.png,ant"], "two or more classes, got 'ant'"),
        (
            "file,label",
            ["ant/0.png,ant", "ant/a.txt,bee"],
            "Pillow cannot read ant/a.txt, by its ending",
        ),
        ("file,label", [], "has no rows. A table has the header .file,label."),
        ("name,class", ["ant/0.png,ant"], "has no column file and label, but name, class"),
        ("file,label,split", ["ant/0.png,ant,dev"], "the split of 0.png is 'dev'; it can be"),
        ("file,label,split", ["ant/0.png,ant,test"], "no row has the split train"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, header, rows, message):
    fill(tmp_path)
    with pytest.raises(UserError, match=f"labels.csv(.|\n)*{message}|{message}"):
        load("folder", write_table(tmp_path / "labels.csv", *rows, header=header))


def test_a_file_in_two_splits_is_refused(tmp_path):
    fill(tmp_path)
    for name in ("train", "test"):
        write_table(tmp_path / f"{name}.csv", "ant/0.png,ant", "bee/0.png,bee")
    with pytest.raises(UserError, match="ant/0.png is in train and in test. Remove one"):
        load("folder", tmp_path)


def test_folders_without_images_are_not_classes(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "MNIST").mkdir()
    with pytest.raises(DataNotFound, match="a table of file,label(.|\n)*images for each class"):
        load("folder", tmp_path)


def test_a_test_folder_alone_is_not_a_data_set(tmp_path):
    fill(tmp_path / "test")
    with pytest.raises(DataNotFound, match="/train: a folder for each class"):
        load("folder", tmp_path)


def test_one_more_file_is_read_as_a_sample(tmp_path):
    fill(tmp_path, 5)
    dataset = load("folder", tmp_path, size=2)
    sample = dataset.read_file(tmp_path / "bee" / "3.png")
    assert sample.shape == (2, 2, 3) and (sample == 153).all()
