"""The language check of CI finds dialect where it is, and lets plain English pass."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "check_language.py"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_language", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The words are joined here, so that this file does not count as a use of them.
@pytest.mark.parametrize(
    "text",
    [
        "It goes{}on here.",
        "a{}go_on b".format("_"),
        "# it goes{}\n# on in the next line",
        "The size is that{}of the first.",
        "x = leftovers\nleft{}_out = 1",
        "He was{}told.",
    ],
)
def test_a_phrase_is_found_across_lines_and_in_identifiers(check, text):
    assert check.find_phrases(text.format(" "))


def test_plain_words_are_not_found(check):
    text = "besides, a governor; that, of course; he told us; the left outer join"
    assert not check.find_phrases(text)


def test_a_phrase_is_reported_with_its_line(check):
    (hits,) = check.find_phrases("first\nsecond\nall a{}\n".format("new")).values()
    assert hits == [(3, "a" + "new")]


def test_noun_phrases_differ_from_imperatives(check):
    source = '''
class A:
    """A class says what it is."""
    @property
    def size(self):
        """The size; a property may say what it is."""
    def load(self):
        """Return the data."""
    def data(self):
        """The data."""
        def inner():
            """`x` as a symbol."""
    def silent(self):
        pass
'''
    found, num_docstrings = check.find_noun_docstrings(source)
    assert [start.partition(":")[0] for _, start in found] == ["data", "inner"]
    assert num_docstrings == 3


def test_british_identifiers_are_found_and_strings_are_not(check):
    source = "colour = f(normalise=1)\nx.initialiser\ny = 'colour'  # behaviour\n"
    assert [name for _, name in check.find_british_names(source)] == [
        "colour",
        "normalise",
        "initialiser",
    ]


@pytest.mark.parametrize(
    "name", ["noise", "raised", "exercise", "analyses", "otherwise", "modelLayer"]
)
def test_words_that_only_look_british_pass(check, name):
    assert not check.find_british_names(f"{name} = 1\n")
