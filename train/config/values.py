"""Parses the text of a flag with the type of its key, and names types in help and errors."""

import ast
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UserError
from .parts import MISSING, Option

# The types that a flag can have, as errors name them.
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a tuple such as (1, 2)",
    dict: "a dict such as {'a': 1}",
    Callable: "one of ours or an import path module:function",
    str: "a string",
}
# The same types as --help names them.
SHORT = {
    bool: "bool",
    int: "int",
    float: "float",
    tuple: "tuple",
    dict: "dict",
    Callable: "function",
    str: "str",
}
LONGEST = 80  # Characters of a value that an error quotes.
TRUE, FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")


def parse_value(key: str, text: str, option: Option) -> Any:
    """Return `text` as a value of `config.KEY`, with the type of its annotation or default.

    Raises UserError if the text has none of these types. `none` means None if the key allows it.
    """
    kinds = list_types(option)
    if type(None) in kinds and text.lower() == "none":
        return None
    choices = _list_choices(option.annotation)
    if choices and text not in choices:
        raise UserError(f"config.{key} must be {' or '.join(choices)}, got {text!r}.")
    # The first type that the text has: "1" is an int for int | str.
    wanted = [kind for kind in kinds if kind in PARSERS]
    for kind in wanted:
        try:
            return PARSERS[kind](text, option)
        except (ValueError, SyntaxError, TypeError):
            continue
    if not wanted:  # Neither annotation nor default: an open keyword, or an unknown type.
        return _parse_any(text)
    raise UserError(f"config.{key} must be {_name_types(wanted, option)}, got {text!r}.")


def check_type(key: str, value: Any, option: Option) -> None:
    """Raise UserError for a value of `config.KEY` that has none of the types of the key.

    Flags are parsed with their type; the value of a page can have any. Functions are not checked
    here, nor are values without a known type.
    """
    kinds = list_types(option)
    wanted = [kind for kind in kinds if kind in PARSERS]
    if not wanted or Callable in wanted or (value is None and type(None) in kinds):
        return
    choices = _list_choices(option.annotation)
    if choices and value not in choices:
        raise UserError(f"config.{key} must be {' or '.join(choices)}, got {quote(value)}.")
    if not any(_has_type(value, kind, _get_member(option)) for kind in wanted):
        raise UserError(f"config.{key} must be {_name_types(wanted, option)}, got {quote(value)}.")


def _name_types(kinds: Sequence[Any], option: Option) -> str:
    names = dict(WORDS)
    if _get_member(option) is str:
        names[tuple] = "a tuple such as ('a', 'b')"
    return " or ".join(names[kind] for kind in kinds)


def quote(value: Any) -> str:
    """Return a value of a config for an error: in one short line."""
    # The repr of a ConfigDict has a line for each key.
    text = repr(value.to_dict() if hasattr(value, "to_dict") else value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _has_type(value: Any, kind: Any, member: Any) -> bool:
    # bool is a subclass of int, but True is not meant as a number.
    is_bool = isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float)) and not is_bool
    if kind is int:
        return isinstance(value, int) and not is_bool
    if kind is tuple:
        is_tuple = isinstance(value, (tuple, list))
        return is_tuple and (
            member not in PARSERS or all(_has_type(each, member, None) for each in value)
        )
    return isinstance(value, Mapping if kind is dict else kind)


def describe_type(option: Option) -> str:
    """Return the type of a key for --help, or its choices."""
    if choices := _list_choices(option.annotation):
        return "|".join(choices)
    names = [SHORT[kind] for kind in list_types(option) if kind in SHORT]
    return names[0] if names else "value"


def is_switch(option: Option) -> bool:
    """Return whether a key is a boolean, which a flag can set without a value."""
    return [kind for kind in list_types(option) if kind is not type(None)] == [bool]


def takes_function(option: Option) -> bool:
    """Return whether the value of a key is a function, given by its name."""
    return Callable in list_types(option)


def takes_text(option: Option) -> bool:
    """Return whether the value of a key can be a plain string."""
    return str in list_types(option)


def list_types(option: Option) -> list[Any]:
    """Return the types of a key in the order in which they are tried, of `WORDS` and NoneType."""
    found = [_simplify(each) for each in _flatten(option.annotation)]
    default = option.default
    if default is None:
        found.append(type(None))
    elif default is not MISSING:
        # The default decides between several annotated types, and where no annotation does.
        kind = _simplify(type(default))
        is_function = callable(default) and not isinstance(default, type)
        kind = Callable if is_function else kind
        if len(found) != 1 or found[0] not in WORDS:
            found.insert(0, kind)
    kinds = [kind for kind in dict.fromkeys(found) if kind in WORDS or kind is type(None)]
    # Every text is a valid str, so str comes last.
    return sorted(kinds, key=lambda kind: kind is str)


def _parse_bool(text: str, option: Option) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError(text)
    return text.lower() in TRUE


def _parse_tuple(text: str, option: Option) -> tuple[Any, ...]:
    if text.lower() == "none":
        return ()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):  # Names without quotes, as in stem,stage1.
        value = tuple(each.strip() for each in text.strip("()[]").split(",") if each.strip())
        # Names cannot be numbers, so the error about the text is right.
        if _get_member(option) in (int, float):
            raise
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    member = _get_member(option)
    # Not isinstance: True is an int too.
    if member is int and not all(type(each) is int for each in found):
        raise ValueError(text)
    return tuple(map(float, found)) if member is float else found


def _parse_dict(text: str, option: Option) -> dict[str, Any]:
    value = ast.literal_eval(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


def _parse_any(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


PARSERS: dict[Any, Callable[[str, Option], Any]] = {
    bool: _parse_bool,
    # Not int(text, 0) alone, which refuses 010.
    int: lambda text, option: int(text, 0) if text.lower().startswith("0x") else int(text),
    float: lambda text, option: float(text),
    tuple: _parse_tuple,
    dict: _parse_dict,
    Callable: lambda text, option: text,
    str: lambda text, option: text,
}


def _flatten(annotation: Any) -> list[Any]:
    """Return the members of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [each for member in typing.get_args(annotation) for each in _flatten(member)]
    return [annotation]


def _simplify(annotation: Any) -> Any:
    """Return the type in `WORDS` for an annotation; other annotations are returned unchanged."""
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Literal:
        return str
    if isinstance(origin, type) and issubclass(origin, (tuple, list)) or origin is Sequence:
        return tuple
    return origin


def _get_member(option: Option) -> Any:
    """Return the type of the values of a tuple, or None if the annotation has none."""
    for annotation in _flatten(option.annotation):
        if _simplify(annotation) is tuple and (inner := typing.get_args(annotation)):
            return inner[0]
    return None


def _list_choices(annotation: Any) -> list[str]:
    """Return the choices of a `Literal` as strings."""
    if typing.get_origin(annotation) is typing.Literal:
        return [str(each) for each in typing.get_args(annotation)]
    return []
