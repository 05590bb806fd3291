"""The README's examples run as printed."""

import re
from pathlib import Path

import pytest

from pit_jax.models import create
from pit_jax.models.__main__ import main
from pit_jax.neurons import PIT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
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
    assert len(BLOCKS) == README.count("```python\n") == 3


def test_the_table_of_networks_is_what_the_command_prints(capsys):
    pair = re.search(r"python -m pit_jax\.models (.*?) +#.*?```text\n(.*?)```", README, re.S)
    arguments, shown = pair.groups()
    assert main(arguments.split()) == 0
    assert capsys.readouterr().out == shown


def test_the_call_in_the_readme_creates_a_network():
    (call,) = re.findall(r"`pit_jax\.models\.(create\(.*?\))`", README)
    assert eval(call, {"create": create, "PIT": PIT}).num_steps == 4
