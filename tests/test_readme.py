"""README is short, its examples run as printed, and its links and commands are right."""

import re
import shlex
from pathlib import Path

import pytest

from pit_jax.programs import COMMANDS
from train.config.arguments import GRAMMARS, parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMPARISON = (ROOT / "docs" / "guide" / "comparison.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.S)
NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?%?|\d+(?:e-?\d+)")


@pytest.mark.parametrize("block, shown", BLOCKS)
def test_every_example_prints_the_lines_shown_with_nearly_the_same_numbers(
    block, shown, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert NUMBER.sub("", printed) == NUMBER.sub("", shown)
    # Last bits differ between machines, so accept any share that a reader would call the same.
    for one, other in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        if one.endswith("%"):
            assert abs(float(one[:-1]) - float(other[:-1])) < 5


def test_every_python_block_is_followed_by_what_it_prints():
    assert len(BLOCKS) == README.count("```python\n") == 2


def test_readme_is_short_and_begins_with_its_audience_a_picture_and_two_commands():
    assert README.count("\n") < 150
    first = README.partition("\n## ")[0]
    assert "For researchers" in first
    (picture,) = re.findall(r"!\[[^\]]{20,}\]\((.*?)\)", README)
    assert picture in first and (ROOT / picture).is_file()
    assert re.findall(r"^    (make \w+)", first, re.M) == ["make run", "make test"]
    assert len(BLOCKS[0][0].split("\n\n")[1].splitlines()) == 3  # Three lines of the library.


LINES = re.findall(r"^    (pit-jax .*?)(?: +#.*)?$", README, re.M)
COMMANDS_SHOWN = [shlex.split(line) for line in LINES]


@pytest.mark.parametrize("words", COMMANDS_SHOWN, ids=lambda words: " ".join(words[1:3]))
def test_every_command_is_parsed_by_its_program(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/digits").mkdir(parents=True)
    assert words[1] in COMMANDS
    if words[1] in GRAMMARS:
        parse(words[1], words[2:])


def test_the_steps_from_data_to_deployment_are_shown():
    steps = {"train", "evaluate", "export", "demo", "reproduce", "check-install"}
    assert {words[1] for words in COMMANDS_SHOWN} == steps


def read_table(text: str, cell: str) -> str:
    """Return the table of a page that has `cell` in its head."""
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    (found,) = [table for table in tables if cell in table.partition("\n")[0]]
    return found


def test_the_comparison_has_rows_of_its_page_which_has_a_source_for_each():
    table = read_table(COMPARISON, "SpikingJelly").splitlines()
    assert set(read_table(README, "SpikingJelly").splitlines()) <= set(table)
    rows = [line.split("|")[1].strip() for line in table[2:]]
    sources = re.findall(r"^- \*\*(.*?)\.\*\*", COMPARISON.partition("## Sources")[2], re.M)
    assert sources == rows
