"""Every command in the docs is parsed by its program."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from pit_jax.arguments import UsageError
from pit_jax.programs import COMMANDS
from tests.docs.test_blocks import read
from train.config.arguments import GRAMMARS, parse
from train.errors import UserError

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "guide"
# test_own_parts.py runs the commands of this page on the parts that it defines.
PAGES = sorted({*DOCS.rglob("*.md")} - {GUIDE / "own_parts.md"})
# How a command begins, up to the name of its program.
START = re.compile(r"(?:pit-jax|(?:\S*python -m (?:pit_jax\.?|train\.)))[ ]?")
PROGRAMS = {command.module: name for name, command in COMMANDS.items() if command.in_trainer}


def list_commands(text: str) -> list[list[str]]:
    """Return the words of each command of this library in a block, its program first."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        line = line.removeprefix("$ ")
        if start := START.match(line):
            program, *words = shlex.split(line[start.end() :], comments=True)
            commands.append([PROGRAMS.get(program, program), *words])
    return commands


EXAMPLES = [
    pytest.param(command, id=f"{page.stem}-{' '.join(command)}")
    for page in PAGES
    for block in read(page)
    if block.language == "console"
    for command in list_commands(block.code)
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the files of a reader: a page, a data set, a metric and the config of a run."""

    def find_code(page: str, text: str) -> str:
        (code,) = [block.code for block in read(GUIDE / page) if text in block.code]
        return code

    (tmp_path / "my_data.py").write_text(find_code("own_data.md", "def blobs"))
    (tmp_path / "my_metrics.py").write_text(find_code("evaluation.md", "def logit_norm"))
    (tmp_path / "my_configs").mkdir()
    code = find_code("configs.md", "VARIANTS = {").replace("my_neurons:Mine", "LIF")
    code = code.replace(', "share": 0.5', "")
    (tmp_path / "my_configs" / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = parse("train", ["--config", "digits"]).config
    for run in ("d2", "digits"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "config.json").write_text(json.dumps(config.to_dict()))
    yield
    for name in ("my_data", "my_metrics"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("command", EXAMPLES)
def test_a_command_of_a_page_is_parsed(command, files):
    program, *words = command
    assert program in COMMANDS
    if program in GRAMMARS:
        parse(program, [word for word in words if word != "--help"])


@pytest.mark.parametrize("words", (["--config", "digit"], ["--config", "digits", "--epoch=3"]))
def test_a_wrong_command_is_not_parsed(words):
    with pytest.raises((UsageError, UserError)):
        parse("train", words)


def test_commands_are_found_in_every_spelling():
    block = "pit-jax train --config a  # b\npython -m train.main x\ncd a\n"
    block += "$ .venv/bin/python -m pit_jax \\\n  models\n"
    assert list_commands(block) == [["train", "--config", "a"], ["train", "x"], ["models"]]
    assert len(EXAMPLES) > 30
