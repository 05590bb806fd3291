"""Makes the parts that the sections of a config name, and finds the layers that a key names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from pit_jax.checks.bounds import apply_bound, read_bounds

from ..errors import UserError
from .parts import (
    MISSING,
    Kind,
    Options,
    find_function,
    find_kind,
    find_part,
    list_inner,
    list_options,
)
from .values import takes_function, takes_text


def make_part(what: str, section: Any) -> partial[Any]:
    """Return the part that the section `config.WHAT` names, as a partial with the section's keys.

    The section can be just a name. Inner sections and names of functions are resolved too.
    Raises UserError for an unknown name, for an unknown or missing key, and for a value outside of
    the bounds of the part.
    """
    section = normalize_section(section)
    function = find_part(what, section.get("name"))
    given = read_keys(what, section)
    options = list_options(what, function)
    check_keys(what, options, given)
    made = {key: _make_value(f"{what}.{key}", value, options) for key, value in given.items()}
    # Bounds are checked here, with the names of keys, before the part is called.
    found = _check(function, {key: (f"config.{what}.{key}", value) for key, value in made.items()})
    return partial(function, **made | found)


def normalize_section(section: Any) -> dict[str, Any]:
    """Return a section as a dict, even if it is only the name of its part."""
    return (
        dict(section.items()) if isinstance(section, (Mapping, ConfigDict)) else {"name": section}
    )


def read_keys(what: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the section `config.WHAT` without the name of its part."""
    has_name = not (find_kind(what) or Kind()).only
    return {key: value for key, value in section.items() if not (has_name and key == "name")}


def check_keys(what: str, options: Options, given: Iterable[str]) -> None:
    """Raise UserError for a key that a part does not take, and for a missing required key."""
    place = f"config.{what}" if what else "the config"
    if (find_kind(what) or Kind()).only:
        inner = [each.rpartition(".")[2] for each in list_inner(what)]
        takes = f"it has {', '.join([*options.known, *inner])}."
    else:
        takes = f"{options.owner} takes {', '.join(options.known) or 'no keys'}."
    for key in given:
        if key not in options.known and not options.open:
            raise UserError(f"{place} has no key {key!r}; {takes}")
    required = [key for key, option in options.known.items() if option.default is MISSING]
    if lacking := [key for key in required if key not in given]:
        raise UserError(f"{place} lacks {', '.join(lacking)}; {takes}")


def _make_value(key: str, value: Any, options: Options) -> Any:
    if isinstance(value, (Mapping, ConfigDict)) and "name" in value:
        return make_part(key, value)
    if isinstance(value, str) and (kind := find_kind(key)) and kind.table:
        return make_part(key, value)
    option = options.known.get(key.rpartition(".")[2])
    if option and takes_function(option):
        # `join: str | Callable` takes "add", which the part itself resolves, or an import path.
        is_word = takes_text(option) and ":" not in str(value)
        return value if is_word else find_function(key, value)
    return _make_hashable(value)


def _make_hashable(value: Any) -> Any:
    """Return a value with tuples for lists: a saved config has lists, fields must be hashable."""
    if isinstance(value, ConfigDict):
        return value.to_dict()
    return tuple(map(_make_hashable, value)) if isinstance(value, list | tuple) else value


def check_bounds(function: Callable[..., Any], config: ConfigDict, **keys: str) -> None:
    """Raise UserError for values of `config` outside of the bounds of a function or class.

    `keys` maps its parameters to keys of the config, as in `repeats="augment.repeats"`. Keys that
    the config lacks are skipped.
    """
    found = {name: (f"config.{key}", _read_value(config, key)) for name, key in keys.items()}
    _check(function, {name: each for name, each in found.items() if each[1] is not MISSING})


def _read_value(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key such as `augment.repeats`; `MISSING` if the config has none."""
    first, dot, inner = key.partition(".")
    value = config.get(first, MISSING)
    if not dot or value is MISSING:
        return value
    return _read_value(value, inner)


def _check(function: Callable[..., Any], given: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Return the values of the arguments that have bounds, in the form in which to use them."""
    bounds, found = read_bounds(function), {}
    for name, (key, value) in given.items():
        if name in bounds:
            try:
                found[name] = apply_bound(bounds[name], key, value)
            except ValueError as error:
                raise UserError(str(error)) from error
    return found


def match_layers(key: str, names: Sequence[str], layers: Iterable[str]) -> set[str]:
    """Return the `layers` whose path has a part that begins with one of `names`: `stage1`, `PIT`.

    A name can also join several parts, as in `stage1_block1/conv1`. Raises UserError, naming
    `config.KEY`, for a name that matches no layer.
    """
    layers = list(layers)
    # The slashes anchor a name at the beginning of a part: "conv1" is not found in "myconv1".
    found = {name: [layer for layer in layers if f"/{name}" in f"/{layer}"] for name in names}
    for name, matches in found.items():
        if not matches:
            there = dict.fromkeys(layer.partition("/")[0] for layer in layers)
            raise UserError(
                f"config.{key}: no layer begins with {name!r}; the layers are {', '.join(there)}."
            )
    return {layer for matches in found.values() for layer in matches}
