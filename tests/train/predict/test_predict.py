"""train.predict: the classes of a user's files, as train.evaluate finds them."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pit_jax.run import open_run
from tests.train.helpers import limit_devices, read_contents
from train.data.dataset import ArraySplit, Dataset
from train.errors import UserError
from train.evaluate.measure import evaluate
from train.predict import samples
from train.predict.__main__ import HEADER, format_predictions, main
from train.predict.sheet import MOST, Prediction, draw_sheet
from train.run.reading import load_run_config


@pytest.fixture(scope="module")
def pictures(finished_run, tmp_path_factory) -> Path:
    """Return a folder with the test images of a run, some of them in a folder of their own."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    images, labels = open_run(finished_run).images()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "more" if i % 2 else folder
        Image.fromarray(image[..., 0]).save(place / f"{i:02}_{label}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "results" / "found.csv"


def predict(*args: object) -> int:
    return main(["predict", *map(str, args)])


def refuse(capsys, *args: object) -> str:
    """Run the program with a mistake and return its error."""
    capsys.readouterr()
    assert predict(*args) == 2
    printed, said = capsys.readouterr()
    assert said.startswith("error: ") and "Traceback" not in said
    assert "written" not in printed
    return said


def read_rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def test_every_file_gets_the_class_that_the_evaluation_finds(finished_run, pictures, out, capsys):
    before = read_contents(finished_run)
    assert predict(finished_run, pictures, "--out", out) == 0
    printed, said = capsys.readouterr()
    assert f"written to {out} and found.png" in printed.replace("\n", "")
    assert "notes" not in printed and ".txt 1" in said
    rows = read_rows(out)
    assert out.read_text().startswith("file,class,probability\n") and len(rows) == 40
    assert all(Path(row["file"]).is_file() for row in rows)
    with limit_devices(1):
        found = evaluate(load_run_config(finished_run), finished_run, "last", "test")
    confusion = np.zeros((10, 10), int)
    for row in rows:
        confusion[int(Path(row["file"]).stem.split("_")[1]), int(row["class"])] += 1
    assert confusion.tolist() == found["confusion"]
    run = open_run(finished_run, "last")
    order = np.argsort([Path(row["file"]).name for row in rows])
    expected = run.predict(run.images()[0])
    given = np.array([float(row["probability"]) for row in rows])[order]
    np.testing.assert_allclose(given, expected.max(axis=1), atol=1e-6)
    assert [int(rows[i]["class"]) for i in order] == expected.argmax(axis=1).tolist()
    with Image.open(out.with_suffix(".png")) as sheet:
        assert min(sheet.size) > 500
    assert read_contents(finished_run) == before


def test_json_has_the_same_keys_and_files_are_taken_once(finished_run, pictures, out):
    files = [min(pictures.glob("00_*")), min(pictures.glob("more/01_*"))]
    json_out = out.with_suffix(".json")
    args = (finished_run, *files, files[0], "--checkpoint", "best", "--out", json_out)
    assert predict(*args) == 0
    found = json.loads(json_out.read_text())
    assert [row["file"] for row in found] == list(map(str, files))
    assert all(tuple(row) == HEADER for row in found)
    run = open_run(finished_run, "best")
    images = np.stack([np.asarray(Image.open(file))[..., None] for file in files])
    assert [int(row["class"]) for row in found] == run.predict(images).argmax(axis=1).tolist()


def test_mistakes_are_reported_before_anything_is_read(
    finished_run, pictures, out, capsys, monkeypatch
):
    monkeypatch.setattr("train.predict.__main__.read_samples", None)
    run, file = finished_run, pictures / "notes.txt"
    assert "there is no file nowhere.png" in refuse(capsys, run, "nowhere.png", "--out", out)
    assert "must end in .csv or .json, got x.txt" in refuse(capsys, run, file, "--out", "x.txt")
    assert "is not the folder of a run" in refuse(capsys, pictures, file, "--out", out)
    assert "required: FILE" in refuse(capsys, run, "--out", out)
    assert "--workdir; give RUN FILE... without an option" in refuse(capsys, "--workdir", run, file)
    empty = out.parent.parent / "empty"
    empty.mkdir()
    message = f"{empty} has no image. Give files, or a folder with images."
    assert message in refuse(capsys, run, empty, "--out", out)
    (empty / "a.txt").write_text("")
    assert "has no image (skipped, because Pillow" in refuse(capsys, run, empty, "--out", out)
    (empty / "gone.png").symlink_to("nowhere")
    link = empty / "gone.png"
    assert "is a link to nothing" in refuse(capsys, run, link, "--out", out)
    os.mkfifo(empty / "pipe")
    assert "is a device or a pipe" in refuse(capsys, run, empty / "pipe", "--out", out)
    assert not out.parent.exists()


def test_a_file_that_is_no_image_is_named_and_nothing_is_written(
    finished_run, pictures, out, capsys
):
    message = refuse(capsys, finished_run, pictures, pictures / "notes.txt", "--out", out)
    assert "notes.txt is not a complete image (Pillow does not know its format)" in message
    assert not out.parent.exists()


@pytest.mark.parametrize("name", ["found.csv", "found.png"])
def test_files_of_others_are_never_replaced(finished_run, pictures, out, capsys, name):
    out.parent.mkdir()
    file = out.with_name(name)
    file.write_text("mine")
    args = (finished_run, pictures, "--out", out)
    assert f"{file} exists; choose another --out or give --overwrite" in refuse(capsys, *args)
    assert "was not written by this program" in refuse(capsys, *args, "--overwrite")
    assert file.read_text() == "mine" and len(list(out.parent.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_earlier_predictions_are_replaced_on_request(finished_run, pictures, out, suffix):
    out, file = out.with_suffix(suffix), min(pictures.glob("00_*"))
    out.parent.mkdir()
    out.write_text(format_predictions([Prediction(Path("a.png"), "old", 0.5)], suffix))
    assert predict(finished_run, file, "--out", out, "--overwrite") == 0
    assert "old" not in out.read_text() and file.name in out.read_text()


def test_the_picture_never_replaces_a_file_that_is_classified(finished_run, pictures, out, capsys):
    out.parent.mkdir()
    own = out.with_suffix(".png")
    own.write_bytes(min(pictures.glob("00_*")).read_bytes())
    out.write_text(format_predictions([Prediction(own, "0", 0.5)], ".csv"))
    message = refuse(capsys, finished_run, own, "--out", out, "--overwrite")
    assert f"{own} would be replaced by the picture; choose another --out" in message
    assert own.read_bytes() == min(pictures.glob("00_*")).read_bytes()


def test_odd_names_stay_one_row_each_and_are_no_formulas():
    names = ["a,b.png", 'say "no".png', "=1+1.png", "-x.png", "two\nlines.png", "naïve é.png"]
    predictions = [Prediction(Path(name), "+cat", 0.25) for name in names]
    rows = list(csv.reader(io.StringIO(format_predictions(predictions, ".csv"))))
    assert rows[0] == list(HEADER) and len(rows) == len(names) + 1
    assert [row[0] for row in rows[1:]] == [*names[:2], "'=1+1.png", "'-x.png", *names[4:]]
    assert all(row[1:] == ["'+cat", "0.25"] for row in rows[1:])
    found = json.loads(format_predictions(predictions, ".json"))
    assert [row["file"] for row in found] == names and found[0]["class"] == "+cat"


def make_dataset(shape: tuple[int, ...], dtype: str, mean: tuple[float, ...] = ()) -> Dataset:
    nothing = ArraySplit(np.empty((0, *shape), dtype), np.empty(0, np.int32))
    return Dataset("mine", nothing, nothing, 2, mean, mean)


@pytest.mark.parametrize(
    "dataset, complaint",
    [
        (make_dataset((8, 8, 1), "float32"), "mine has floats.*open_run.RUN..predict takes arrays"),
        (make_dataset((8, 8, 4), "uint8", (0.5,) * 4), "have 4 channels, and files of images are"),
    ],
)
def test_samples_that_no_file_can_be_are_refused(dataset, complaint):
    with pytest.raises(UserError, match=complaint):
        samples.check_kind(dataset)


def test_frames_need_a_data_set_that_is_read_from_recordings(tmp_path):
    dataset = make_dataset((4, 8, 8, 2), "uint16")
    samples.check_kind(dataset)
    file = tmp_path / "a.aedat"
    file.touch()
    (tmp_path / "a.png").touch()
    files, notes = samples.find_files([tmp_path], dataset.test.shape)
    assert files == [file] and ".png 1" in notes[0]
    with pytest.raises(UserError, match="it is not known how to make frames"):
        samples.read_samples(files, dataset)


def test_recordings_become_the_frames_of_the_data_set(tmp_path):
    def read_file(file: Path) -> np.ndarray:
        return np.full((4, 8, 8, 2), int(file.stem), np.uint16)

    files = [tmp_path / "3.npz", tmp_path / "5.npz"]
    dataset = replace(make_dataset((4, 8, 8, 2), "uint16"), read_file=read_file)
    read = samples.read_samples(files, dataset)
    assert read.images.shape == (2, 4, 8, 8, 2) and read.images[:, 0, 0, 0, 0].tolist() == [3, 5]
    assert read.files == files and read.notes == []


@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 9, 3), (4, 10, 10, 2)])
def test_the_sheet_draws_every_sample_with_its_file_and_class(shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (11, *shape)).astype(np.uint8)
    predictions = [Prediction(Path(f"x/{i}.png"), f"class{i}", 0.5) for i in range(11)]
    (axes,) = draw_sheet("a title", predictions, images, [f"class{i}" for i in range(11)]).axes
    assert [text.get_text() for text in axes.texts] == [
        f"{i}.png\nclass{i}  50%" for i in range(11)
    ]
    assert len(axes.images) == 11
    drawn = np.asarray(axes.images[3].get_array())
    assert drawn.shape == (*shape[-3:-1], 3) and 0 <= drawn.min() < drawn.max() <= 1
    if len(shape) == 3:
        np.testing.assert_allclose(drawn, np.broadcast_to(images[3] / 255, drawn.shape))
    # Every sample has its place: none covers another, nor the text of another.
    boxes = [image.get_extent() for image in axes.images]
    assert len({(left, top) for left, _, _, top in boxes}) == 11
    for (left, _, _, top), text in zip(boxes, axes.texts, strict=True):
        assert text.get_position()[0] == left and text.get_position()[1] < top


def test_of_many_samples_some_are_drawn():
    images = np.zeros((500, 4, 4, 1), np.uint8)
    predictions = [Prediction(Path(f"{i}.png"), "0", 0.5) for i in range(500)]
    figure = draw_sheet("a title", predictions, images, ["0"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == MOST and texts[0].startswith("0.png") and texts[-1].startswith("499.png")
    assert figure.get_suptitle() == "a title: 48 of 500 files"


def test_names_without_a_font_are_drawn_as_the_row_of_the_file_and_the_place_of_the_class():
    unassigned = "\u0378"  # A character of no script.
    names = ["plain", f"{unassigned}name"]
    predictions = [Prediction(Path(f"{name}.png"), name, 0.5) for name in names]
    images = np.zeros((2, 4, 4, 1), np.uint8)
    figure = draw_sheet("a title", predictions, images, names)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["plain.png\nplain  50%", "file 2\nclass 1  50%"]
    assert "without an installed font" in figure.get_suptitle()
