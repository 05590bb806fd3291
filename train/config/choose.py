"""Choose what a config names: parts of a run with their options, and layers of a network."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from ..errors import UserError
from .bounds import read_bounds


def choose(what: str, table: Mapping[str, Any], section: ConfigDict) -> Any:
    """Return what `section.name` names in `table`; raise UserError, listing the table, if nothing.

    `section` is `config.WHAT`.
    """
    if (name := section.get("name")) not in table:
        raise UserError(f"config.{what}.name is {name!r}; it can be {', '.join(sorted(table))}.")
    return table[name]


def get_options(section: ConfigDict, *but: str) -> dict[str, Any]:
    """Return the keys of `section` without its name and those in `but`."""
    return {key: value for key, value in section.items() if key not in ("name", *but)}


def fill_in(
    what: str, function: Callable[..., Any], given: dict[str, Any], *arguments: str
) -> Callable[..., Any]:
    """Return `function` of `arguments` with the options `given`, those of `config.WHAT`.

    Raises UserError if the options do not fit the function or are outside of its bounds.
    """
    try:
        inspect.signature(function).bind(*arguments, **given)
    except TypeError as error:
        raise UserError(f"config.{what}: {function.__name__} {error}") from error
    _check(function, {name: (f"config.{what}.{name}", value) for name, value in given.items()})
    return partial(function, **given)


def make_part(
    what: str, table: Mapping[str, Any], section: ConfigDict, *arguments: str
) -> Callable[..., Any]:
    """Return the function of `table` that `section` names, with the rest of it filled in."""
    return fill_in(what, choose(what, table, section), get_options(section), *arguments)


def check_bounds(function: Callable[..., Any], config: ConfigDict, **keys: str) -> None:
    """Raise UserError for values of `config` outside of the bounds of a function or class.

    `keys` names the key that each of its parameters gets, as in `repeats="augment.repeats"`. Keys
    that the config lacks are skipped.
    """
    values = flatten_dict(config.to_dict(), sep=".")
    _check(
        function,
        {name: (f"config.{key}", values[key]) for name, key in keys.items() if key in values},
    )


def _check(function: Callable[..., Any], given: Mapping[str, tuple[str, Any]]) -> None:
    bounds = read_bounds(function)
    for name, (key, value) in given.items():
        if name in bounds:
            try:
                bounds[name](key, value)
            except ValueError as error:
                raise UserError(str(error)) from error


def choose_layers(key: str, names: Sequence[str], layers: Iterable[str]) -> set[str]:
    """Return those of `layers` with a part that begins with one of `names`: `stage1` or `PIT`.

    A name may be of several parts, `stage1_block1/conv1`. Raises UserError, naming
    `config.KEY`, for a name that matches no layer.
    """
    layers = list(layers)
    found = {name: [layer for layer in layers if f"/{name}" in f"/{layer}"] for name in names}
    for name, of_it in found.items():
        if not of_it:
            there = dict.fromkeys(layer.partition("/")[0] for layer in layers)
            raise UserError(
                f"config.{key}: no layer begins with {name!r}; there are {', '.join(there)}."
            )
    return {layer for of_it in found.values() for layer in of_it}
