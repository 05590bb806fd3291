"""A user's own data set: arguments of its function, allowed results, and every error."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from train.data import Dataset, load
from train.data.own import make_dataset
from train.errors import UserError

GRAY = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
COLOR = np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3)
FRAMES = np.arange(3 * 4 * 2 * 2 * 2).reshape(3, 4, 2, 2, 2) % 5
LABELS = np.array([2, 0, 1])
PATH = "mine.blobs:Blobs"

MODULE = """
import numpy as np

calls = []

def blobs(count=6, *, size=4, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(count, size, size, 1), dtype=np.uint8)
    labels = np.arange(count) % 2
    return {"train": (images, labels), "test": (images[:2], labels[:2]), "classes": ("a", "b")}

def at(data_dir):
    calls.append(data_dir)
    return blobs(seed=0)

def anything(**options):
    calls.append(options)
    return blobs(seed=0)

def validated():
    data = blobs(seed=0)
    return data | {"validation": data["test"]}

def missing():
    return open("no_such_file")

not_a_function = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the current folder, and return its name."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def make(train=(GRAY, LABELS), test=(GRAY, LABELS), **others) -> Dataset:
    return make_dataset(PATH, {"train": train, "test": test, **others})


def test_data_sets_load_by_their_import_path(module):
    dataset = load(f"{module}:blobs", count=8, seed=3, train_images=4, validation=0.5)
    assert (dataset.name, dataset.num_classes, dataset.classes) == ("blobs", 2, ("a", "b"))
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [2, 2, 2]
    assert dataset.train.shape == (4, 4, 1) and dataset.train.dtype == np.uint8
    assert len(dataset.mean) == len(dataset.std) == 1
    assert sorted(dataset.subset) == ["train", "validation"]


def test_missing_and_unknown_options_are_refused(module):
    with pytest.raises(UserError, match=r"no key 'sizes'; blobs takes count, size, seed, "):
        load(f"{module}:blobs", seed=0, sizes=3)
    with pytest.raises(UserError, match="lacks seed; blobs takes count, size, seed"):
        load(f"{module}:blobs")


def test_data_dir_is_passed_only_to_a_parameter_of_this_name(module):
    load(f"{module}:at", "somewhere")
    load(f"{module}:anything", "somewhere", depth=3)
    assert sys.modules[module].calls == ["somewhere", {"depth": 3}]


def test_a_returned_validation_split_is_used(module):
    assert len(load(f"{module}:validated").validation) == 2
    with pytest.raises(UserError, match="validation must be 0, got 0.5: validated already"):
        load(f"{module}:validated", validation=0.5)


def test_the_error_of_a_failing_function_has_its_line(module):
    said = r"missing', which fails \(.*, line \d+, in missing\): FileNotFoundError"
    with pytest.raises(UserError, match=said):
        load(f"{module}:missing")


def test_names_that_cannot_be_loaded_are_refused(module):
    with pytest.raises(UserError, match="config.data.name is .*not_a_function"):
        load(f"{module}:not_a_function")
    for name in (f"{module}:blob", "no_such_module_of_mine:f"):
        with pytest.raises(UserError, match="config.data.name is "):
            load(name)


def test_gray_images_get_an_axis_and_mean_and_std_are_of_training_images():
    dataset = make(test=(GRAY[..., None] + 100, LABELS))
    assert dataset.name == "Blobs" and dataset.num_classes == 3 and dataset.classes == ()
    assert np.array_equal(dataset.train.images, GRAY[..., None])
    assert np.array_equal(dataset.train.labels, LABELS) and dataset.train.labels.dtype == np.int32
    assert dataset.mean == pytest.approx([GRAY.mean() / 255])
    assert dataset.std == pytest.approx([GRAY.std() / 255])


@settings(max_examples=30)
@given(arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3, st.just(2))))
def test_mean_and_std_are_exact(images):
    dataset = make(*[(images, np.zeros(len(images), int))] * 2, classes=("a", "b"))
    np.testing.assert_allclose(dataset.mean, images.mean(axis=(0, 1, 2)) / 255, rtol=1e-12)
    std = images.std(axis=(0, 1, 2)) / 255
    constant = images.min(axis=(0, 1, 2)) == images.max(axis=(0, 1, 2))
    # A channel that never changes is centered only.
    np.testing.assert_allclose(dataset.std, np.where(constant, 1, std), rtol=1e-12)


def test_mean_and_std_do_not_depend_on_the_chunk_size(monkeypatch):
    whole = make()
    monkeypatch.setattr("train.data.own.CHUNK", 5)
    assert (make().mean, make().std) == (whole.mean, whole.std)


def test_given_mean_and_std_are_used():
    dataset = make((COLOR, LABELS), (COLOR, LABELS), mean=[0.1, 0.2, 0.3], std=np.full(3, 0.5))
    assert (dataset.mean, dataset.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floats_are_not_normalized(kind):
    images = (COLOR / 7).astype(kind)
    dataset = make((images, LABELS), (images, LABELS))
    assert dataset.train.dtype == np.float32 and (dataset.mean, dataset.std) == ((), ())
    assert np.array_equal(dataset.train.images, images.astype(np.float32))


@pytest.mark.parametrize(
    "given, stored",
    [(kind, kind) for kind in ("uint8", "uint16", "int16", "int32", "float32")]
    + [("int64", "int32"), ("uint32", "int32"), ("float64", "float32"), ("bool", "uint8")],
)
def test_frames_keep_their_counts(given, stored):
    frames = FRAMES.astype(given)
    dataset = make((frames, LABELS), (frames, LABELS))
    assert dataset.train.dtype == stored and dataset.mean == ()
    assert np.array_equal(dataset.train.images, frames)


def test_classes_are_counted_over_all_splits():
    assert make(test=(GRAY, [0, 1, 5])).num_classes == 6
    assert make(validation=(GRAY, [0, 1, 7])).num_classes == 8
    dataset = make(classes=np.array(["a", "b", "c", "d"]))
    assert (dataset.num_classes, dataset.classes) == (4, ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    "classes",
    [
        {"dog": 2, "cat": 1, "ant": 0},  # As torchvision's class_to_idx.
        {2: "dog", 0: "ant", 1: "cat"},
        [b"ant", b"cat", b"dog"],  # As the files of CIFAR.
        np.array(["ant", "cat", "dog"]),
        (name for name in ("ant", "cat", "dog")),
    ],
)
def test_names_of_classes_are_in_the_order_of_their_labels(classes):
    assert make(classes=classes).classes == ("ant", "cat", "dog")


def test_images_of_which_one_split_is_scaled_are_noted():
    dark, bright = GRAY / 11, GRAY * 20.0
    (note,) = make((dark, LABELS), (bright, LABELS)).notes
    assert note.startswith("images of train reach 1 and those of test 220;")
    assert make((dark, LABELS), (dark * 3, LABELS)).notes == ()


def test_floats_that_look_like_pixels_are_noted(capsys):
    images = GRAY.astype(float) * 20
    (note,) = make((images, LABELS), (images, LABELS)).notes
    assert "here 0 to 220" in note
    assert make((images / 255, LABELS), (images / 255, LABELS)).notes == ()


def test_labels_from_1_are_accepted_with_the_names_of_all_classes():
    assert make((GRAY, LABELS + 1), (GRAY, LABELS + 1), classes=list("abcd")).num_classes == 4


SQUARE = np.zeros((3, 1, 8, 8), np.uint8)
BROKEN = [
    (
        lambda: make((GRAY, LABELS + 1), (GRAY, LABELS + 1)),
        "labels are 1 to 3, but the first class is 0. For 3 classes use labels - 1; for 4",
    ),
    (
        lambda: make((GRAY, LABELS + 1), (GRAY, LABELS * 0 + 2)),
        "labels are 1 to 3, but the first class is 0",
    ),
    (
        lambda: make((SQUARE, LABELS)),
        r"train: images of the shape \(3, 1, 8, 8\).*channels come last",
    ),
    (lambda: make((SQUARE[:, None], LABELS)), "should channels come last.*moveaxis"),
    (lambda: make((np.repeat(SQUARE, 3, 1) / 2, LABELS)), "should channels come last"),
    (lambda: make((SQUARE[..., :6], LABELS)), "should channels come last"),
    (lambda: make((np.repeat(SQUARE[..., :6], 3, 1) / 2, LABELS)), "should channels come last"),
    (
        lambda: make((GRAY.astype("uint16") * 257, LABELS)),
        "got uint16 of 0 to 2,827; if white is 65,535, convert them with .images // 257.",
    ),
    (lambda: make((GRAY.astype("uint16"), LABELS)), "got uint16 of 0 to 11; scale them to"),
    (lambda: make((GRAY.astype(int) * 900, LABELS)), "got int64 of 0 to 9,900; scale them to"),
    (lambda: make((GRAY.astype(int) - 9, LABELS)), "got int64 of -9 to 2; scale them to"),
    (lambda: make((GRAY > 3, LABELS)), 'got bool; convert them with 255 . images.astype."uint8".'),
    (lambda: make((np.ma.masked_less(GRAY, 3), LABELS)), "images are a masked array"),
    (lambda: make((GRAY, np.ma.masked_less(LABELS, 1))), "labels are a masked array"),
    (lambda: make((GRAY, LABELS[:, None])), r"got \(3, 1\); use labels.ravel\(\)"),
    (lambda: make((GRAY, np.eye(3))), r"got \(3, 3\); use labels.argmax\(axis=1\)"),
    (lambda: make((GRAY, LABELS * 1.0)), 'got float64; use labels.astype."int32".'),
    (lambda: make_dataset(PATH, 3), "must return a dict such as .*, got int"),
    (lambda: make_dataset(PATH, {"train": (GRAY, LABELS)}), "the returned dict lacks test"),
    (lambda: make_dataset(PATH, {}), "lacks train and test"),
    (
        lambda: make(names=("a", "b")),
        "unknown key names; known keys are train, test, validation, ",
    ),
    (lambda: make(train=GRAY), "train: expected a pair .images, labels., got ndarray"),
    (lambda: make(train=(GRAY,)), "train: expected a pair .images, labels., got tuple"),
    (lambda: make(test=(GRAY[0], LABELS)), r"test: images must be .*, got the shape \(2, 2\)"),
    (lambda: make(test=([[1], [2, 3]], LABELS)), "test: images are not one array"),
    (lambda: make(test=(GRAY[:2], LABELS)), "test: there are 2 images, but 3 labels"),
    (lambda: make(train=(GRAY[:0], [])), "train: expected at least one image, got none"),
    (lambda: make(train=(GRAY[:, :0], LABELS)), "train: images have no pixels"),
    (lambda: make(test=(GRAY, LABELS - 1)), "test: labels must be 0 to K - 1 .*, got -1 to 1"),
    (lambda: make(test=(GRAY, LABELS + 2**40)), "test: labels must be 0 to K - 1"),
    (lambda: make(test=(GRAY, LABELS / 2)), "test: labels must be whole numbers, got float64"),
    (
        lambda: make(test=(GRAY, ["a", "b", "c"])),
        "test: labels must be whole numbers, got <U1; give the place of each name in a list",
    ),
    (lambda: make(test=(GRAY, np.eye(3))), r"test: labels must be \[N\].*, got \(3, 3\)"),
    (lambda: make(classes=("a", "b")), "train: labels must be 0 to 1, one for each class, got 2"),
    (lambda: make(classes="ab"), "classes must be a list of their names, got 'ab'"),
    (lambda: make(classes=3), "classes must be a list of their names, got 3"),
    (lambda: make(classes={"a", "b", "c"}), "classes must be a list of their names, got {"),
    (lambda: make(classes=b"abc"), "classes must be a list of their names, got b'abc'"),
    (lambda: make(classes=np.array("abc")), "classes must be a list of their names, got array"),
    (lambda: make(classes={"a": 1, "b": 2, "c": 3}), "a dict must have the labels 0 to 2, got"),
    (lambda: make(classes={"a": 0, "b": 1, "c": 1}), "a dict must have the labels 0 to 2, got"),
    (lambda: make(classes=[["a"], ["b"], ["c"]]), r"classes must be names, got \['a'\]"),
    (lambda: make(classes=("a", "b", "a")), "two classes are named 'a'"),
    (lambda: make((GRAY, 0 * LABELS), (GRAY, 0 * LABELS)), "expected two or more classes, got one"),
    (lambda: make(train=(GRAY.astype(int), LABELS)), r"train: images must be uint8, .*got int64"),
    (lambda: make(train=(GRAY > 3, LABELS)), "train: images must be uint8, .*got bool"),
    (lambda: make(train=(GRAY.astype(str), LABELS)), "train: images must be uint8"),
    (lambda: make(train=(FRAMES + 2**40, LABELS)), "train: counts must fit into int32, got 10995"),
    (lambda: make(train=(FRAMES.astype(object), LABELS)), "train: images must be uint8"),
    (lambda: make(test=(GRAY[:, :1], LABELS)), r"test: images are uint8 \(1, 2, 1\), but .*train"),
    (lambda: make(test=(GRAY / 2, LABELS)), "test: images are float32 .* train are uint8"),
    (lambda: make(validation=(COLOR, LABELS)), "validation: images are uint8"),
    (lambda: make(train=(GRAY + np.nan, LABELS)), "train: 3 of 3 images have a value that is NaN"),
    (lambda: make(test=(1e300 * GRAY, LABELS)), "test: 3 of 3 images have .*infinite or too large"),
    (lambda: make(mean=(0.5,)), "expected both mean and std, or neither, got only mean"),
    (lambda: make(mean=0.5, std=(1, 1)), r"std must have a number for each of 1 channels"),
    (lambda: make(mean="x", std=1), r"mean must have a number for each of 1 channels"),
    (lambda: make(mean=127.0, std=50.0), "mean must be 0 to 1 and std more than 0"),
    (lambda: make(mean=0.5, std=58), "std more than 0 and at most 1"),
    (lambda: make(mean=0.5, std=0), "mean must be 0 to 1 and std more than 0"),
    (
        lambda: make((GRAY / 2, LABELS), (GRAY / 2, LABELS), mean=0, std=1),
        "mean and std are for uint8 images",
    ),
]


@pytest.mark.parametrize("call, message", BROKEN, ids=[message[:40] for _, message in BROKEN])
def test_wrong_results_are_refused_in_one_sentence(call, message):
    with pytest.raises(UserError) as error:
        call()
    text = str(error.value)
    assert text.startswith("data set 'mine.blobs:Blobs'") and text.endswith(".")
    assert re.search(message, text) and "\n" not in text, text
