"""train.demo: the page of a run, of a saved program and of the shipped network, and mistakes."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from pit_jax import artifact
from tests.train.demo.colors import compile_colors
from tests.train.helpers import read_contents
from tests.train.pages import Page
from train.data.dataset import ArraySplit, Dataset
from train.demo.__main__ import main
from train.demo.page import PROGRAM, SCRIPTS, describe_code, make_page, to_script
from train.demo.source import Demo, check_images, choose_examples, open_demo
from train.errors import UserError
from train.html import mark_page

ROOT = Path(__file__).parents[3]
OPTIONS = {"weights": "float32", "code": "thermometer"}


@pytest.fixture(scope="module")
def shipped() -> Demo:
    return open_demo("digits", "last", None, OPTIONS)


@pytest.fixture(scope="module")
def of_run(finished_run) -> Demo:
    return open_demo(finished_run, "last", None, OPTIONS)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "pages" / "demo.html"


def demo(*args: object) -> int:
    return main(["demo", *map(str, args)])


def refuse(capsys, *args: object) -> str:
    """Run the program with a mistake and return its error."""
    capsys.readouterr()
    assert demo(*args) == 2
    printed, said = capsys.readouterr()
    assert said.startswith("error: ") and "Traceback" not in said and printed == ""
    return said


def read_data(text: str, name: str) -> dict:
    """Return the JSON of a script element of a page."""
    content = text.split(f'<script type="application/json" id="{name}">')[1].split("</script>")[0]
    assert "<" not in content
    return json.loads(content)


def test_the_page_of_the_docs_is_what_the_command_writes(shipped):
    assert (ROOT / "docs/demo/index.html").read_text() == make_page(shipped)


def test_a_page_is_one_small_file_that_loads_nothing(shipped):
    text = make_page(shipped)
    page = Page(text)
    assert len(text.encode()) < 700_000
    # An empty icon, so that browsers do not ask the server for one.
    assert page.references == ["data:,"] and "http" not in text.replace("http-equiv", "")
    assert len(set(page.ids)) == len(page.ids)
    assert text.startswith(f"{mark_page(PROGRAM)}\n<html") and text.endswith("</html>\n")
    # The data set's license asks for a credit where its images are.
    assert "CC BY 4.0" in text


def test_the_page_of_the_shipped_network_has_a_test_image_of_each_class(shipped):
    found = read_data(make_page(shipped), "page")
    assert found["classes"] == list("0123456789") and found["labels"] == list(range(10))
    assert np.array_equal(shipped.program(shipped.images).argmax(-1), shipped.labels)


@pytest.mark.parametrize(
    "layers, steps, said, not_said",
    [
        ([[1]] * 2, 4, ["it fires or stays silent. All", "4 steps of time"], ["slot", "binary"]),
        ([[1] * 4] * 2, 1, ["in each of 4 slots", "stronger"], ["step", "binary"]),
        ([[1] * 4, [1]], 1, ["in each of up to 4 slots"], ["binary"]),
        ([[4, 2, 1]], 2, ["in each of 3 slots", "binary number", "2 steps"], []),
    ],
)
def test_a_visitor_reads_how_neurons_signal(layers, steps, said, not_said):
    text = describe_code(layers, steps)
    assert all(each in text for each in said) and not any(each in text for each in not_said)


def test_a_run_becomes_a_page_without_its_folder(finished_run, out, capsys):
    before = read_contents(finished_run)
    assert demo(finished_run, "--out", out) == 0
    assert f"{out}, " in capsys.readouterr().out
    text = out.read_text()
    assert read_data(text, "program")["steps"] == 2
    assert str(finished_run) not in text and read_contents(finished_run) == before
    assert "Watch a network answer" in text and "Draw a digit" not in text


def test_options_choose_checkpoint_weights_and_code(finished_run, out):
    args = ("--checkpoint", "best", "--weights", "int8", "--code", "bitwise", "--out", out)
    assert demo(finished_run, *args) == 0
    found = read_data(out.read_text(), "program")
    assert {tuple(layer["slots"]) for layer in found["layers"]} == {(4, 2, 1)}
    assert "best, step" in out.read_text()


def test_a_saved_program_becomes_a_page_of_the_same_program(shipped, tmp_path, out):
    about = {"title": "mine", "classes": [f"digit {k}" for k in range(10)], "data": "digits"}
    shipped.program.save(tmp_path / "saved", about=about)
    assert demo(tmp_path / "saved", "--out", out) == 0
    text = out.read_text()
    assert read_data(text, "program") == read_data(make_page(shipped), "program")
    found = read_data(text, "page")
    assert found["classes"] == about["classes"] and found["labels"] == []
    # Without test images there is nothing to credit.
    assert "CC BY" not in text and 'id="examples"' not in text and 'id="field"' in text


def test_names_are_text_and_never_markup(shipped):
    name = "</script><img src=x onerror=alert(1)>\x1b"
    changed = shipped._replace(title=name, classes=(name,) * 10, facts={name: name})
    page = Page(make_page(changed))
    assert page.tags["img"] == 0 and page.tags["script"] == len(SCRIPTS) + 2
    assert read_data(make_page(changed), "page")["classes"] == [name] * 10
    assert to_script("<\u2028") == '"\\u003c\\u2028"'


def test_an_existing_file_is_replaced_only_on_request_and_only_if_it_is_a_page(
    finished_run, out, capsys, monkeypatch
):
    monkeypatch.setattr("train.demo.__main__.open_demo", None)
    out.parent.mkdir()
    out.write_text("mine")
    assert f"{out} exists; choose another --out or give --overwrite" in refuse(
        capsys, finished_run, "--out", out
    )
    assert "was not written by this program" in refuse(
        capsys, finished_run, "--out", out, "--overwrite"
    )
    assert out.read_text() == "mine"
    monkeypatch.undo()
    out.write_text(f"{mark_page(PROGRAM)}\nold")
    assert demo(finished_run, "--out", out, "--overwrite") == 0
    assert len(out.read_text()) > 10_000


def test_mistakes_are_one_line(finished_run, shipped, tmp_path, out, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is not the folder of a run" in refuse(capsys, empty, "--out", out)
    assert "must end in .html, got x.txt" in refuse(capsys, finished_run, "--out", "x.txt")
    assert "required: RUN" in refuse(capsys)
    assert "give RUN without an option" in refuse(capsys, "--workdir", finished_run)
    assert "must be a folder, got '-x'" in refuse(capsys, "--", "-x")
    file = tmp_path / "file"
    file.write_text("")
    assert f"cannot write {file / 'x.html'}" in refuse(
        capsys, finished_run, "--out", file / "x.html"
    )
    artifact.write(tmp_path / "other", "pit_jax.stablehlo", 1, {}, {})
    assert "of an export with --format directory" in refuse(
        capsys, tmp_path / "other", "--out", out
    )
    # A mistake leaves no folder either.
    assert not out.parent.exists()


def test_options_that_a_network_would_ignore_are_refused(shipped, tmp_path, out, capsys):
    shipped.program.save(tmp_path / "saved")
    for network, words in (
        ("digits", ["--checkpoint", "best"]),
        ("digits", ["--data-dir", tmp_path]),
        (tmp_path / "saved", ["--checkpoint", "best", "--data-dir", tmp_path]),
        (tmp_path / "saved", ["--weights", "int8"]),
        (tmp_path / "saved", ["--code", "bitwise"]),
    ):
        said = refuse(capsys, network, *words, "--out", out)
        assert " out, or give the folder of a run" in said
        assert all(f"no {name}" in said for name in words[::2])
    assert not out.parent.exists()


def test_a_full_disk_leaves_no_file(finished_run, of_run, out, capsys, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("train.demo.__main__.open_demo", lambda *_: of_run)
    monkeypatch.setattr("train.files.os.fsync", fail)
    assert "(No space left on device); choose another --out" in refuse(
        capsys, finished_run, "--out", out
    )
    assert list(out.parent.iterdir()) == []


def test_a_folder_with_the_name_of_the_shipped_network_is_mentioned(
    shipped, tmp_path, out, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    monkeypatch.setattr("train.demo.__main__.open_demo", lambda *_: shipped)
    assert demo("digits", "--out", out) == 0
    assert "give ./digits for the folder" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    other = out.with_name("other.html")
    assert "is not the folder of a run" in refuse(capsys, "./digits", "--out", other)


def make_dataset(shape: tuple[int, ...], mean: tuple[float, ...], dtype: type) -> Dataset:
    split = ArraySplit(np.zeros((2, *shape), dtype), np.zeros(2, np.int32))
    return Dataset(name="x", train=split, test=split, num_classes=2, mean=mean, std=mean)


@pytest.mark.parametrize(
    "shape, mean, dtype, problem",
    [
        ((4, 8, 8, 2), (), np.uint8, "x has frames of events; a page shows networks that read im"),
        ((8, 8, 1), (), np.float32, "x has floats"),
        ((8, 8, 2), (0.5, 0.5), np.uint8, "the images of x have 2 channels"),
        ((224, 200, 3), (0.5,) * 3, np.uint8, "have 224 x 200 pixels; a page shows at most 64 x 6"),
    ],
)
def test_events_floats_and_large_images_are_refused(shape, mean, dtype, problem):
    with pytest.raises(UserError, match=problem):
        check_images(make_dataset(shape, mean, dtype))
    check_images(make_dataset((28, 28, 1), (0.5,), np.uint8))


def test_a_saved_program_of_color_images_is_refused(tmp_path, capsys, out):
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), np.uint8)
    compile_colors(images).save(tmp_path / "saved")
    assert "reads color images, which cannot be drawn" in refuse(
        capsys, tmp_path / "saved", "--out", out
    )


def test_a_page_of_more_than_three_megabytes_is_refused(shipped, monkeypatch):
    monkeypatch.setattr("train.demo.page.MOST_BYTES", 500_000)
    with pytest.raises(UserError, match=r"the page would have 0\.6 MB; .*--weights int8"):
        make_page(shipped)


def test_examples_are_the_first_of_each_class_or_of_evenly_spaced_classes():
    assert choose_examples(np.array([2, 0, 2, 1])).tolist() == [1, 3, 0]
    assert choose_examples(np.arange(100)).tolist()[:3] == [0, 5, 10]
    assert len(choose_examples(np.arange(100))) == 20
