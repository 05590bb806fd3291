"""The function that reads all paths."""

import os
import unicodedata
from pathlib import Path

import pytest

from pit_jax.paths import cut_name, read_path

ODD_NAMES = [
    "a[1]",
    "a*b?",
    "$HOME",
    "50%",
    "a\\b",
    "it's",
    'a"b',
    "two\nlines",
    " blanks ",
    "tab\t",
    "🐶 naïve",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "-x",
    "{a}",
    "a:b",
    "a~",
    ".hidden",
    "\x1b[31m",
    "\x7f\x01",
    "🐶" * 63,
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_of_any_characters_stays_as_it_is(name):
    assert str(read_path(f"runs/{name}")) == f"runs/{name}"


def test_a_leading_tilde_is_the_home_and_others_are_names(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_path("~") == tmp_path and read_path("~/a[1]") == tmp_path / "a[1]"
    assert read_path("runs/~") == Path("runs/~")
    # A folder of this name stays one when its path is read again.
    assert read_path(read_path("./~")) == Path.cwd() / "~"
    assert read_path(Path("~/a")) == tmp_path / "a"


@pytest.mark.parametrize("text", ["", b"", "a\0b", "~no_such_user_here/a", 5, None, ["a"]])
def test_texts_that_are_not_paths_are_refused(text):
    with pytest.raises(ValueError, match="^must be a path, got"):
        read_path(text)


@pytest.mark.parametrize("text", ["gs://bucket/run", "s3://a", "file:///tmp/a", "https://a.b/c"])
def test_addresses_are_refused_instead_of_becoming_local_folders(text):
    with pytest.raises(ValueError, match=f"got the address '{text}'"):
        read_path(text)
    assert str(read_path("./gs:/a")) == "gs:/a" and str(read_path("/a://b")) == "/a:/b"


@pytest.mark.parametrize("text", ["caf\udce9", b"caf\xe9", "a/\udcff/b", Path("\ud800")])
def test_names_that_are_not_utf_8_are_refused(text):
    with pytest.raises(ValueError, match="valid UTF-8, got .* Rename it or choose another"):
        read_path(text)


def test_names_that_are_not_utf_8_are_refused_in_the_current_folder_home_and_links(
    monkeypatch, tmp_path
):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    for there in (tmp_path / "link" / "runs", folder):
        with pytest.raises(ValueError, match="valid UTF-8"):
            read_path(there)
    monkeypatch.setenv("HOME", str(folder))
    with pytest.raises(ValueError, match="valid UTF-8"):
        read_path("~/runs")
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match="valid UTF-8"):
        read_path("runs")


def test_a_missing_current_folder_is_an_error_of_ours(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ValueError, match="the current folder is gone"):
        read_path("runs/a")
    assert read_path("/runs/a") == Path("/runs/a")


@pytest.mark.parametrize(
    "name, what",
    [
        ("a" * 256, "a name of 256 bytes"),
        ("é" * 128, "a name of 256 bytes"),
        ("/" + "a/" * 2100 + "b", "4,202 bytes"),
    ],
)
def test_names_longer_than_a_file_system_allows_are_refused(name, what):
    with pytest.raises(ValueError, match=f"with {what}. At most 255 bytes are allowed in a name"):
        read_path(name)


@pytest.mark.parametrize("name", ["a", "é" * 127, "🐶" * 63, "a" * 255])
def test_a_name_is_cut_between_characters(name):
    cut = cut_name(name)
    assert name.startswith(cut) and len(cut.encode()) <= 180
    assert cut == name or len(cut.encode()) > 176
