"""The README's examples run as printed."""

import re
from pathlib import Path

from pit_jax.models import create
from pit_jax.models.__main__ import main
from pit_jax.neurons import PIT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_prints_the_line_shown_with_nearly_the_same_accuracy(capsys):
    pair = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.S)
    example, shown = pair.groups()
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    without_figures = re.compile(r"\d+\.\d+%")
    assert without_figures.sub("", printed) == without_figures.sub("", shown)
    # Last bits differ between machines, so accept any accuracy that a reader would call the same.
    accuracy, promised = (float(re.search(r"[\d.]+", text)[0]) for text in (printed, shown))
    assert abs(accuracy - promised) < 5


def test_the_table_of_networks_is_what_the_command_prints(capsys):
    pair = re.search(r"python -m pit_jax\.models (.*?) +#.*?```text\n(.*?)```", README, re.S)
    arguments, shown = pair.groups()
    assert main(arguments.split()) == 0
    assert capsys.readouterr().out == shown


def test_the_call_in_the_readme_creates_a_network():
    (call,) = re.findall(r"`pit_jax\.models\.(create\(.*?\))`", README)
    assert eval(call, {"create": create, "PIT": PIT}).num_steps == 4
