"""A user's own parts: finds them in a config, and the lines where their code fails."""

import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pit_jax

from ..errors import UserError

# Code outside of these folders is the user's: the library, the trainer, Python and its packages.
OURS = (Path(pit_jax.__file__).parent.resolve(), Path(__file__).resolve().parents[1])
LIBRARIES = OURS + tuple(
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def is_own(name: Any) -> bool:
    """Return whether the name of a part is an import path, `package.module:Name`."""
    return isinstance(name, str) and ":" in name and name.partition(":")[2] != ""


def shorten_name(name: str) -> str:
    """Return the name of a part for titles: `Name` for the import path `package.module:Name`."""
    return name.rpartition(":")[2] or name


def list_own(config: Mapping[str, Any]) -> list[str]:
    """Return all import paths in a config or a section."""
    found: list[str] = []
    for value in config.values():
        if hasattr(value, "items"):
            found += list_own(value)
        elif isinstance(value, (tuple, list)):
            found += [each for each in value if is_own(each)]
        elif is_own(value):
            found.append(value)
    return found


def describe_name(what: str, name: Any) -> str:
    """Return the beginning of a sentence about a part: `config.loss.name is 'mine:loss'`."""
    return f"config.{what}.name is {name!r}"


@contextmanager
def explain_own(what: str, name: Any, given: str = "") -> Iterator[None]:
    """Convert errors of a user's own code to a UserError that names its part and line.

    `given` describes the arguments of the part. Errors that did not pass the user's code are bugs
    of this program and stay as they are.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # A user's code can raise anything.
        explained = explain_error(what, name, error, given)
        if explained is None:
            raise
        raise explained from error


def explain_error(what: str, name: Any, error: Exception, given: str = "") -> UserError | None:
    """Return the UserError for an error of a user's own code; None for a bug of this program."""
    place = find_line(error, name)
    if place is None and is_refusal(error):
        return UserError(f"config.{what}: {error}")
    # Arguments that do not fit a signature raise TypeError before any line of the part runs.
    if place is None and not (is_own(name) and isinstance(error, TypeError)):
        return None
    on = (f" on {given}" if given else "") + (f" ({place})" if place else "")
    return UserError(f"{describe_name(what, name)}, which fails{on}: {summarize_error(error)}")


def is_refusal(error: Exception) -> bool:
    """Return whether an error is a ValueError that our code raises for a value of the user."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not isinstance(error, ValueError):
        return False
    # JAX hides its own frames: the last line of its errors is our call, which raises nothing.
    is_raised = (frames[-1].line or "").startswith("raise ")
    return is_raised and any(map(Path(frames[-1].filename).resolve().is_relative_to, OURS))


def find_line(error: BaseException, name: Any = "") -> str | None:
    """Return the innermost line of a user's own code in a traceback; None if there is none.

    The package of the part `name` counts as the user's, even if it is installed.
    """
    package = sys.modules.get(str(name).partition(":")[0].partition(".")[0])
    files = [str(package.__file__)] if package and getattr(package, "__file__", None) else []
    # All files of a package are the user's; a namespace package has no `__file__`.
    if package and hasattr(package, "__path__"):
        files = list(package.__path__)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_of_user(frame.filename, files)]
    if not own:
        return None
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name}"


def summarize_error(error: BaseException) -> str:
    """Return the class of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    # Flax ends its messages with a link.
    message = re.sub(r" \(https://\S+\)$", "", lines[0]) if lines else ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _is_of_user(filename: str, files: Sequence[str]) -> bool:
    if filename.startswith("<"):
        return False
    file = Path(filename).resolve()
    if any(file.is_relative_to(Path(each).resolve()) for each in files):
        return not any(map(file.is_relative_to, OURS))
    return not any(map(file.is_relative_to, LIBRARIES))
