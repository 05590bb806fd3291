"""Arrays in a file: Keras's four names, images or frames, and an error for everything else."""

import io
import zipfile

import numpy as np
import pytest

from pit_jax.reading import FileError
from train.data import DataNotFound, load
from train.errors import UserError

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(6) % 3
FOUR = {"x_train": COLOR, "y_train": LABELS, "x_test": COLOR[:3] // 2, "y_test": LABELS[:3]}


def save(folder, name="mine.npz", **changed):
    """Write the four arrays with some changed, without those that are None; return the file."""
    given = {key: each for key, each in (FOUR | changed).items() if each is not None}
    np.savez_compressed(folder / name, **given)
    return folder / name


@pytest.mark.parametrize("place", ["file", "folder"])
def test_the_arrays_of_a_file_are_the_splits(tmp_path, place):
    file = save(tmp_path, x_valid=COLOR[:2], y_valid=LABELS[:2], classes=["a", "b", "c"])
    dataset = load("arrays", file if place == "file" else tmp_path)
    assert np.array_equal(dataset.train.images, COLOR) and dataset.train.images.dtype == np.uint8
    assert np.array_equal(dataset.test.images, COLOR[:3] // 2)
    assert dataset.test.labels.tolist() == [0, 1, 2] and len(dataset.validation) == 2
    assert (dataset.name, dataset.num_classes, dataset.classes) == ("arrays", 3, ("a", "b", "c"))
    assert dataset.mean == pytest.approx(COLOR.mean(axis=(0, 1, 2)) / 255)
    assert repr(dataset) == (
        "arrays: 6 training, 2 validation and 3 test images 5x4x3 uint8, 3 classes"
    )


def test_gray_images_and_columns_of_labels_are_read_as_keras_has_them(tmp_path):
    gray = COLOR[..., 0]
    file = save(tmp_path, x_train=gray, x_test=gray, y_train=LABELS[:, None], y_test=LABELS)
    dataset = load("arrays", file)
    assert np.array_equal(dataset.train.images, gray[..., None])
    assert np.array_equal(dataset.train.labels, LABELS)


def test_frames_are_read_and_not_normalized(tmp_path):
    frames = RNG.integers(0, 9, (6, 4, 5, 5, 2))
    dataset = load("arrays", save(tmp_path, x_train=frames, x_test=frames, y_test=LABELS))
    assert dataset.train.shape == (4, 5, 5, 2) and dataset.mean == ()
    assert np.array_equal(dataset.train.images, frames)
    assert repr(dataset.test) == "6 recordings of 4 frames 5x5x2 int32"


def test_arrays_with_unknown_names_are_reported(tmp_path):
    notes = load("arrays", save(tmp_path, notes=np.zeros(1))).notes
    assert notes[0].endswith("not read, because the names are unknown: notes")


def npy(array) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"y_test": None}, "lacks y_test; it has x_train, y_train, x_test. Save all four: np"),
        ({"x_valid": COLOR}, "lacks y_valid. Save images and labels of a split, or neither"),
        ({"x_train": COLOR.reshape(6, -1)}, r"mine.npz', train: images must be \[N, H, W, C\]"),
        ({"x_train": COLOR.astype(int)}, r'got int64 .*; convert them with images.astype."uint8"'),
        ({"x_train": np.moveaxis(COLOR, -1, 1)}, "test: images are|come last"),
        ({"y_train": LABELS[:4]}, "train: there are 6 images, but 4 labels"),
        ({"y_train": np.eye(3)[LABELS]}, r"got \(6, 3\); use labels.argmax"),
        ({"y_train": LABELS.astype(str)}, "labels must be whole numbers, got <U"),
        ({"y_train": LABELS / 2}, "labels must be whole numbers, got float64"),
        ({"y_train": LABELS + 1, "y_test": LABELS[:3] + 1}, "For 3 classes use labels - 1"),
        ({"x_test": COLOR[:3, :4]}, r"test: images are uint8 \(4, 4, 3\), but those of train"),
        ({"x_test": COLOR[:0], "y_test": LABELS[:0]}, "test: expected at least one image"),
        ({"classes": ["a", "b"]}, "train: labels must be 0 to 1"),
        ({"mean": np.zeros(3)}, "expected both mean and std"),
        ({"y_train": np.array([{}] * 6)}, r"mine.npz \(y_train\) holds Python objects"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changed, message):
    with pytest.raises((UserError, FileError), match=message):
        load("arrays", save(tmp_path, **changed))


def test_files_that_are_no_npz_are_refused(tmp_path):
    for content in (b"", b"PK\3\4 and so on", npy(COLOR)):
        (tmp_path / "mine.npz").write_bytes(content)
        with pytest.raises(UserError, match="mine.npz is not an .npz file of arrays.*np.savez"):
            load("arrays", tmp_path / "mine.npz")


def test_truncated_and_oversized_arrays_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        for name, array in FOUR.items():
            archive.writestr(f"{name}.npy", npy(array)[: -3 if name == "x_train" else None])
    with pytest.raises(FileError, match=r"mine.npz \(x_train\) is damaged"):
        load("arrays", tmp_path)


def test_a_folder_must_have_one_file(tmp_path):
    with pytest.raises(DataNotFound, match="an .npz file, or a folder with one(.|\n)*np.savez"):
        load("arrays", tmp_path)
    save(tmp_path, "a.npz")
    save(tmp_path, "b.npz")
    with pytest.raises(UserError, match="has 2 .npz files: a.npz, b.npz. Give one of them"):
        load("arrays", tmp_path)
