"""The command-line parser of all programs: argparse, with the closest option in every error."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pit_jax.checks.bounds import MOST_WHOLE
from pit_jax.display import print_text, show_name
from pit_jax.environment import check_compiler_flags, explain_environment
from pit_jax.paths import read_path
from pit_jax.reading import FileError
from pit_jax.signals import Stopped, is_listening
from pit_jax.tuning import is_tuning


class UsageError(ValueError):
    """A mistake in a command line."""


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError for a mistake and names the nearest option.

    `hints` maps options of other programs to advice, in which `{value}` is the value that was
    given. `needed` has the error for each argument that must not be empty. `describe` takes the
    words of the command line and returns text that `--help` appends.
    """

    def __init__(self, prog: str, description: str = "", epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.hints: dict[str, str] = {}
        self.needed: dict[str, str] = {}
        self.describe: Callable[[Sequence[str]], str] = lambda words: ""

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a command line, without the program's name; raise UsageError for a mistake."""
        self.check_options(words)
        args = self.parse_args(words)
        for name, message in self.needed.items():
            if not getattr(args, name):
                self.error(message)
        return args

    def check_options(self, words: Sequence[str]) -> None:
        """Raise UsageError for an unknown option, with the closest one that exists."""
        for word in words:
            if word == "--":
                break
            option = word.partition("=")[0]
            # Words such as -1 and -.5 are negative numbers, not options.
            if re.match(r"-[^\d.]", option) and option not in self._option_string_actions:
                self.error(self._explain(word))

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's message, reworded to start with the option."""
        # argparse quotes words of the command line, which may have newlines.
        message = re.sub(r"^argument (\S+): (must )?", _name_option, show_name(message))
        end = " See" if message.endswith(("?", ".")) else "; see"
        raise UsageError(f"{message}{end} --help.")

    def _explain(self, word: str) -> str:
        option, equals, value = word.partition("=")
        plain = option.replace("_", "-")
        names = [*self._option_string_actions, *self.hints]
        near = [name for name in (option, plain, option.partition(".")[0]) if name in self.hints]
        near = near or difflib.get_close_matches(plain, names, n=1, cutoff=0.7)
        if not near:
            return f"there is no option {option}"
        hint = self.hints.get(near[0], f"did you mean {near[0]}{{value}}?")
        return f"there is no option {option}; {hint.format(value=equals + value)}"


def at_least(least: int, most: int = MOST_WHOLE) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from error
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {number}")
        if number > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, got {number}")
        return number

    return parse


def path(text: str) -> Path:
    """Return a path of a command line; an argparse type. See `pit_jax.paths.read_path`."""
    try:
        return read_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def start(
    parser: Parser,
    words: Sequence[str],
    run: Callable[[argparse.Namespace], int],
    *,
    parse: Callable[[Parser, Sequence[str]], argparse.Namespace] = Parser.parse,
    mistakes: tuple[type[Exception], ...] = (UsageError,),
) -> int:
    """Parse `words` and return the exit code of `run`.

    With `--help`, print the help and return 0. For FileError, the exceptions `mistakes`, and faults
    of the environment, print the message and return 2. For Stopped, return its code.
    """
    expected: tuple[type[Exception], ...] = (FileError, *mistakes)
    try:
        if {"-h", "--help"} & set(words):
            print(parser.format_help() + parser.describe(words), end="")
            return 0
        args = parse(parser, words)
        if is_listening():
            check_compiler_flags()
            is_tuning()  # Refuses unknown values.
        return run(args)
    except expected as error:
        reason = str(error)
    except Exception as error:
        if (found := explain_environment(error)) is None:
            raise
        reason = found
    except Stopped as stopped:
        print("stopped; repeat the command to resume from the newest checkpoint.")
        return stopped.code
    print_error(reason, words)
    return 2


def print_error(reason: str, words: Sequence[str]) -> None:
    """Print an error; newlines in names that the command line `words` has become visible."""
    names = {name for word in words for name in re.split("[/=]", word) if "\n" in name}
    for name in sorted(names, key=len, reverse=True):
        reason = reason.replace(name, show_name(name))
    print_text(f"error: {reason}", sys.stderr)


def _name_option(match: re.Match[str]) -> str:
    return f"{match[1]} must " if match[2] else f"{match[1]}: "
