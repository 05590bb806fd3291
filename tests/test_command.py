"""The command pit-jax: its programs, its error messages, and its help."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pit_jax
from pit_jax.__main__ import main
from pit_jax.programs import COMMANDS, load_program


@pytest.fixture(autouse=True)
def restore_arguments(monkeypatch):
    """Restore `sys.argv`, which the command sets to the arguments of its program."""
    monkeypatch.setattr(sys, "argv", sys.argv)


def test_help_lists_every_program_with_its_summary(capsys):
    assert main([]) == main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in COMMANDS)
    assert all(f" {command.summary}\n" in printed for command in COMMANDS.values())


def test_version_prints_the_version_of_the_package(capsys):
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
def test_a_mistake_prints_one_line_with_a_correction(words, complaint, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert complaint in err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_program_starts_with_its_usage(name, capsys):
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: pit-jax {name} [-h]")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_program_has_functions_run_and_main(name):
    program = load_program(name)
    assert callable(program.run) and callable(program.main)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_program_run_with_m_exits_with_the_code_of_main(name):
    *_, last = ast.parse(Path(load_program(name).__file__).read_text()).body
    assert ast.unparse(last).startswith("if __name__ == '__main__':\n    run_as_program(main")


def test_help_and_errors_do_not_import_jax():
    # The help of these two programs lists networks, so it does import JAX.
    importing = ["models", "import"]
    code = (
        "import sys; from pit_jax.__main__ import main\n"
        "for words in sys.argv[1:]: assert main(words.split()) in (0, 2)\n"
        "assert not {'jax', 'flax', 'numpy'} & set(sys.modules)"
    )
    pages = [f"{name} --help" for name in COMMANDS if name not in importing]
    calls = ["--help", "--version", "trian", "train --epochs=3", *pages]
    subprocess.run([sys.executable, "-c", code, *calls], check=True, capture_output=True)
