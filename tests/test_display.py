"""Names that users chose are printed as text: no control sequences, mathematics or formulas."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from ml_collections import ConfigDict

from pit_jax.display import (
    escape_controls,
    escape_formula,
    escape_math,
    show_name,
    show_text,
    show_value,
)
from pit_jax.paths import read_path
from pit_jax.reading import FileError, reading


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb", r"a\rb"),
        ("title\x07", r"title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("gnp.\u202etxt", r"gnp.\u202etxt"),
        ("caf\udce9", r"caf\udce9"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_control_characters_in_names_become_visible(name, shown):
    assert escape_controls(name) == shown


@pytest.mark.parametrize(
    "name", ["a[b]", "👩‍🔬", "naïve", "nai\u0308ve", "$x$", "a\\b", "שלום", "a\nb"]
)
def test_printable_names_stay(name):
    assert escape_controls(name) == name


@pytest.mark.parametrize("name", ["a\nb/c", "a/b\n\nc", "/x/\n/y", "/x/ \n\n ", "../-\n-.py"])
def test_paths_of_several_lines_are_shown_in_one_and_other_lines_stay(name, monkeypatch):
    monkeypatch.setattr("pit_jax.display._of_several_lines", set())
    read_path(name)
    lines = show_text(f"no {name}:\ngive one\nof a or b").split("\n")
    assert lines == [f"no {show_name(name)}:", "give one", "of a or b"]


@pytest.mark.parametrize("raised", [ValueError("no"), OSError(5, "no"), MemoryError(), FileError])
def test_a_file_of_several_lines_that_cannot_be_read_is_named_in_one(raised, monkeypatch):
    monkeypatch.setattr("pit_jax.display._of_several_lines", set())
    path = Path("data/cats\nand\n/a\nb.png")
    with pytest.raises(FileError) as error, reading(path, "an image"):
        raise raised if isinstance(raised, Exception) else FileError(f"{path}: no")
    shown = show_text(error.value)
    assert "\n" not in shown and r"data/cats\nand\n/a\nb.png" in shown


def test_a_name_of_several_lines_is_shown_in_one():
    assert show_name("a\n\tb") == r"a\n\tb"


@pytest.mark.parametrize("name", ["$5", "a_b$c$", "$$", r"\$x\$", r"cost\\$1$", "$", "^_{}%#&~"])
def test_class_names_in_figures_are_never_mathematics(name):
    text = Text(text=escape_math(name), parse_math=True)
    shown, how = text._preprocess_math(text.get_text())
    assert (shown, how) == (name, False)


def test_a_figure_with_names_that_no_mathematics_can_be_is_drawn():
    figure = Figure()
    figure.suptitle(escape_math("$\\frac{$ \x1b"))
    figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize(
    "cell", ["=cmd|'/C calc'!A0", "+1", "-x", "@x", "\tx", "\n=1", "＝1+1", " =1"]
)
def test_texts_that_a_spreadsheet_would_calculate_get_an_apostrophe(cell):
    assert escape_formula(cell).startswith("'")


@pytest.mark.parametrize(
    "cell", [-1.5, 3, None, "-1.5", "-3", "-2e-05", "-inf", "a=b", "plain", ""]
)
def test_numbers_and_plain_texts_of_a_table_stay(cell):
    assert escape_formula(cell) == cell


def test_text_is_printed_even_where_the_encoding_lacks_its_characters():
    code = (
        "import pit_jax.signals as s; s.begin_program(); "
        "from pit_jax.display import print_text; print_text('runs/\U0001f436\x1b[2J')"
    )
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout == rb"runs/\U0001f436\x1b[2J" + b"\n", done.stderr


def test_values_of_any_length_are_shown_in_one_line() -> None:
    shown = [show_value(value) for value in ("a\nb", ConfigDict({"x": 1, "y": 2}), "x" * 100)]
    assert shown[0] == r"'a\nb'" and all("\n" not in text for text in shown)
    assert [len(text) <= 61 for text in shown] == [True] * 3 and shown[2].endswith("…")
