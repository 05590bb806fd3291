"""The command `pit-jax`, also `python -m pit_jax`: `pit-jax train --config digits`."""

import difflib
import sys
from argparse import Namespace
from collections.abc import Sequence

import pit_jax
from pit_jax.arguments import Parser
from pit_jax.display import print_text
from pit_jax.programs import COMMANDS, load_program, load_trainer
from pit_jax.signals import run_as_program


def main(words: Sequence[str] | None = None, prog: str = "pit-jax") -> int:
    """Run the program named by the first word and return its exit code."""
    if words is None:  # The command `pit-jax`.
        run_as_program(main, sys.argv[1:], prog)
    if not words or words[0] in ("-h", "--help"):
        print(describe(prog), end="")
        return 0
    if words[0] == "--version":
        print(f"pit_jax {pit_jax.__version__}")
        return 0
    name, *rest = words
    if name not in COMMANDS:
        print_text(f"error: {explain(name)}; see --help.", sys.stderr)
        return 2
    # A run records sys.argv, so it must hold the program's own arguments.
    sys.argv = [f"{prog} {name}", *rest]
    return start(name, rest, sys.argv[0])


def start(name: str, words: Sequence[str], prog: str) -> int:
    """Run a program; load its module, which imports JAX, only once the arguments are parsed."""
    if not COMMANDS[name].in_trainer:
        return load_program(name).main(words, prog)

    def run(args: Namespace) -> int:
        return load_program(name).run(args)

    try:
        arguments = load_trainer("config.arguments")
    except ModuleNotFoundError as error:
        print(
            f"error: {name} needs {error.name}, which is not installed: "
            "pip install 'pit-jax[train]'.",
            file=sys.stderr,
        )
        return 2
    return arguments.run_program(name, run, words, prog)


def describe(prog: str) -> str:
    """Return the text of `--help`."""
    width = max(map(len, COMMANDS)) + 2
    listed = "\n".join(f"  {name:<{width}}{each.summary}" for name, each in COMMANDS.items())
    parser = Parser(
        prog,
        "Spiking neurons that fire integers through a learned, invertible scale.",
        f"programs:\n{listed}\n\n`{prog} PROGRAM --help` explains a program. To start:\n"
        f"  {prog} train --config digits",
    )
    parser.add_argument("program", metavar="PROGRAM", help="one of the programs below")
    parser.add_argument("arguments", metavar="...", help="its arguments")
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser.format_help()


def explain(name: str) -> str:
    """Return an error about an unknown program or option, with the closest program."""
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? Programs:" if near else "programs:"
    kind = "option" if name.startswith("-") else "program"
    return f"there is no {kind} {name}; {hint} {', '.join(COMMANDS)}"


if __name__ == "__main__":
    run_as_program(main, sys.argv[1:], f"python -m {__package__}")
