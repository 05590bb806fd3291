"""The part of a run that a section of its config names, with the rest of the section filled in."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError


def chosen(what: str, table: Mapping[str, Any], section: ConfigDict) -> Any:
    """What `section.name` names in `table`; raises UserError, listing the table, if nothing."""
    if (name := section.get("name")) not in table:
        raise UserError(f"config.{what}.name is {name!r}; it can be {', '.join(sorted(table))}.")
    return table[name]


def options(section: ConfigDict, *but: str) -> dict[str, Any]:
    """The keys of `section` without its name and those in `but`."""
    return {key: value for key, value in section.items() if key not in ("name", *but)}


def filled(
    what: str, function: Callable[..., Any], given: dict[str, Any], *arguments: str
) -> Callable[..., Any]:
    """`function` of `arguments` with the options `given`; raises UserError if they do not fit."""
    try:
        inspect.signature(function).bind(*arguments, **given)
    except TypeError as error:
        raise UserError(f"config.{what}: {function.__name__} {error}") from error
    return partial(function, **given)


def named(
    what: str, table: Mapping[str, Any], section: ConfigDict, *arguments: str
) -> Callable[..., Any]:
    """The function of `table` that `section` names, with the rest of the section filled in."""
    return filled(what, chosen(what, table, section), options(section), *arguments)
