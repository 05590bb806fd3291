"""The command pit-jax: its programs, its answers to mistakes, and what its help waits for."""

import subprocess
import sys

import pytest

import pit_jax
from pit_jax.__main__ import main
from pit_jax.programs import COMMANDS, load_program


@pytest.fixture(autouse=True)
def own_arguments(monkeypatch):
    """The command leaves the arguments of its program in `sys.argv`, for the record of a run."""
    monkeypatch.setattr(sys, "argv", sys.argv)


def test_help_lists_every_program_with_a_line(capsys):
    assert main([]) == main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in COMMANDS)
    assert all(f" {command.summary}\n" in printed for command in COMMANDS.values())


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pit_jax {pit_jax.__version__}\n"


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["trian"], "there is no program trian; did you mean train? Programs: train, evaluate"),
        (["xyz"], "there is no program xyz; programs: train, evaluate"),
        (["--verison"], "there is no option --verison"),
        (["train", "--epochs=3"], "did you mean --config.epochs=3? See --help."),
        (["train", "--confg", "digits"], "no option --confg; did you mean --config? See --help."),
        (["train", "--config", "digits", "--config.epoch=3"], "did you mean --config.epochs?"),
        (["evaluate", "a", "--workdir=b"], "RUN and --workdir differ"),
        (["evaluate", "a", "--config.epochs=3"], "the config of a run is fixed"),
        (["analyze", "a", "b", "--workdir", "a"], "RUN and --workdir differ"),
        (["report"], "give the folder of a run: RUN"),
        (["models", "--bacth=3"], "there is no option --bacth; did you mean --batch=3?"),
        (["import", "x.pth", "--out", "y"], "the following arguments are required: --model"),
    ],
)
def test_a_mistake_is_answered_in_one_line_with_what_is_right(words, complaint, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert complaint in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_program_prints_how_it_is_called(name, capsys):
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: pit-jax {name} [-h]")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_program_can_be_run_by_its_name(name):
    program = load_program(name)
    assert callable(program.run) and callable(program.main)


def test_help_does_not_wait_for_jax():
    """Except where it lists the networks and neurons of the library."""
    waiting = [name for name, command in COMMANDS.items() if not command.in_trainer]
    assert waiting == ["models", "import"]
    code = (
        "import sys; from pit_jax.__main__ import main\n"
        "for words in sys.argv[1:]: assert main(words.split()) in (0, 2)\n"
        "assert not {'jax', 'flax', 'numpy'} & set(sys.modules)"
    )
    pages = [f"{name} --help" for name in COMMANDS if name not in waiting]
    calls = ["--help", "--version", "trian", "train --epochs=3", *pages]
    subprocess.run([sys.executable, "-c", code, *calls], check=True, capture_output=True)
