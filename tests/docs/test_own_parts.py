"""The page on own parts: its examples form one module, and each of its commands trains."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.helpers import limit_devices, make_program_on, run_main
from train.config.cli import parse
from train.config.help import format_page
from train.config.pages import Page
from train.errors import UserError

PAGE = (Path(__file__).parents[2] / "docs/guide/own_parts.md").read_text()
BLOCK = r"```python\n(.*?)```"
# Each example with the command that follows it.
EXAMPLES = [
    (code.rpartition("```python\n")[2], shlex.split(command.removeprefix("pit-jax train")))
    for code, command in re.findall(BLOCK + r"\n\n```console\n(.*?)\n```", PAGE, re.S)
]
COMMANDS = [words for _, words in EXAMPLES]
SMALL = ("--config.model.width=4", "--config.epochs=1", "--config.batch_size=32")


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """Write the examples of the page to my_parts.py in the current folder."""
    code = "\n\n".join(re.findall(BLOCK, PAGE, re.S))
    (tmp_path / "my_parts.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_parts", None)


def test_each_kind_of_part_has_an_example():
    sections = {words[2].partition("=")[0].removeprefix("--config.") for words in COMMANDS}
    parts = {"data", "augment.policy", "model", "model.norm", "neuron", "loss", "optimizer"}
    assert sections == parts | {"schedule", "metrics", "neuron.scale_init"}
    assert all("my_parts:" in words[2] for words in COMMANDS)
    assert PAGE.count("```console") == len(COMMANDS)


@pytest.mark.parametrize(
    "code, words", EXAMPLES, ids=[words[2].partition("=")[2] for words in COMMANDS]
)
def test_an_example_fits_its_network_and_help_explains_it(code, words):
    stages = () if "--config.model=" in words[2] else ("--config.model.stages=(1,)",)
    config, _ = parse(["main", *words, *SMALL, *stages])
    make_program_on(1, config)  # Runs the own parts on shapes.
    shown = " ".join(format_page(Page(config, "digits", {}), "digits").split())
    for meaning in re.findall(r"^        \w+: (.+)$", code, re.M):
        assert meaning in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("model.norm=my_parts:group_norm", "neuron.scale_init=my_parts:largest"),
        ("model=my_parts:OneLayer", "neuron=my_parts:Leaky"),
    ],
)
def test_examples_that_exclude_each_other_take_a_training_step(flags):
    stages = () if flags[0].startswith("model=") else ("--config.model.stages=(1,)",)
    words = ("--config", "digits", *(f"--config.{flag}" for flag in flags), *stages, *SMALL)
    program = make_program_on(1, parse(["main", *words])[0])
    state, metrics = program.compile_step()(program.first_state(), next(program.batches(0)))
    assert np.isfinite(metrics["loss"]) and int(state.skipped) == 0


def test_the_other_examples_train_a_run_together(tmp_path):
    flags = {word.partition("=")[0]: word for words in COMMANDS for word in words[2:]}
    # The last neuron of the page is PIT with an own `scale_init`.
    flags["--config.neuron"] = "--config.neuron=my_parts:UpToTwo"
    for key in ("--config.neuron.scale_init", "--config.neuron.slope", "--config.model.norm"):
        flags.pop(key)
    words = [*COMMANDS[0][:2], *flags.values(), *SMALL, "--config.cpu_devices=4"]
    with limit_devices(1):
        assert run_main(*words, str(tmp_path / "run")) == 0


def test_the_error_on_the_page_is_the_one_that_is_raised(tmp_path):
    file = tmp_path / "my_parts.py"
    code = file.read_text().replace("current > 0, current, self.slope", "current > 0, self.slop")
    file.write_text(code)
    with pytest.raises(UserError) as error:
        make_program_on(
            1, parse(["main", "--config", "digits", "--config.neuron=my_parts:Leaky"])[0]
        )
    (shown,) = re.findall(r"`(config\.neuron\.name is .*?): …`", PAGE, re.S)
    said = re.sub(r"line \d+", "line 14", str(error.value))
    assert said.startswith(" ".join(shown.split()))
