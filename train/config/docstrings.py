"""Meanings of arguments, read from docstrings with a Google-style section `Args:`."""

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

# Some libraries list the fields of a dataclass or a module under `Attributes:`.
HEADINGS = ("Args:", "Arguments:", "Attributes:")
ENTRY = re.compile(r"(?P<indent> +)\*{0,2}(?P<name>\w+)(?: \([^)]*\))?:(?: (?P<meaning>.*))?")


def read_arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Return the meaning of each argument that the docstring of a function or class explains.

    A meaning of several lines is joined into one. A `functools.partial` has the meanings of its
    function.
    """
    while isinstance(function, partial):
        function = function.func
    meanings: dict[str, str] = {}
    name, indent, inside = "", 0, False
    for line in (inspect.getdoc(function) or "").splitlines():
        depth = len(line) - len(line.lstrip())
        if not line.strip():
            continue
        if depth == 0:
            inside, indent = line.rstrip() in HEADINGS, 0
        elif inside and (not indent or depth <= indent) and (entry := ENTRY.fullmatch(line)):
            name, indent = entry["name"], depth
            meanings[name] = (entry["meaning"] or "").strip()
        elif inside and name and depth > indent:
            meanings[name] = f"{meanings[name]} {line.strip()}".strip()
    return meanings
