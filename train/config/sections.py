"""The sections of a config: lists them and their keys, completes and checks them."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from .choose import check_keys, normalize_section, read_keys
from .own import is_own
from .parts import (
    DEFAULTS,
    KINDS,
    MISSING,
    Kind,
    Option,
    Options,
    find_kind,
    find_part,
    list_names,
    list_options,
)
from .values import check_type, quote

# Sections that every config gets, with default values.
DEFAULTED = ("checkpoints", "health", "wandb")
# Keys with defaults that `complete` does not add.
UNWRITTEN = ("extend", "metrics", "min_learning_rate")
REQUIRED = ("data", "model", "neuron", "loss", "optimizer")


def check_sections(config: ConfigDict) -> None:
    """Raise UserError for a missing section or key, an unknown key, and a value of a wrong type."""
    for what in REQUIRED:
        if what not in config:
            raise UserError(f"the config lacks the section {what}; give config.{what}.name.")
    for what, section in list_sections(config):
        fixed = bool((find_kind(what) or Kind()).only)
        # Sections inside augment, such as policy, are checked on their own.
        keys = [
            key for key in read_keys(what, section) if not (fixed and find_kind(join(what, key)))
        ]
        options = find_options(what, section)
        check_keys(what, options, keys)
        if is_own(section.get("name")):  # The annotations of a user's function may be inexact.
            continue
        for key in keys:
            value = section[key]
            if key in options.known and not is_section(join(what, key), value):
                check_type(join(what, key), value, options.known[key])


def complete(config: ConfigDict) -> None:
    """Fill in what a page omits: keys with defaults, and sections that are just a name.

    Keys in `UNWRITTEN` are not added: earlier runs lack them and resume only with an equal config.
    """
    # A list, because the loop replaces values of the config that it walks through.
    for what, value in list(_walk(config)):
        # A saved config may be edited or damaged: `"health": null`.
        if (find_kind(what) or Kind()).only and not isinstance(value, ConfigDict):
            raise UserError(f"config.{what} must be a section with keys, got {quote(value)}.")
        if isinstance(value, str) and is_section(what, value):
            parent, _, last = what.rpartition(".")
            owner = config[parent] if parent else config
            owner[last] = ConfigDict({"name": value})
    for what in ("augment", *DEFAULTED):
        if what not in config:
            config[what] = ConfigDict()
    for what in ("", *DEFAULTED):
        section = config[what] if what else config
        for key, option in find_options(what, {}).known.items():
            if option.default is not MISSING and key not in (*section, *UNWRITTEN):
                section[key] = option.default


def list_sections(config: ConfigDict) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the sections of a config with their names, parents first; `""` is the config itself."""
    yield "", normalize_section(config)
    for what, value in _walk(config):
        if is_section(what, value):
            yield what, normalize_section(value)


def _walk(config: ConfigDict, what: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a config with its full key, a section before its content."""
    for key, value in config.items():
        yield join(what, key), value
        if isinstance(value, ConfigDict):
            yield from _walk(value, join(what, key))


def is_section(what: str, value: Any) -> bool:
    """Return whether `config.WHAT` is a section; `value` can be just the name of a part."""
    kind = find_kind(what)
    if isinstance(value, (ConfigDict, Mapping)):
        return kind is not None or "name" in value
    return isinstance(value, str) and kind is not None and bool(kind.table)


def find_options(what: str, section: Mapping[str, Any]) -> Options:
    """Return the keys that the part of the section `config.WHAT` takes."""
    return list_options(what, find_part(what, section.get("name")))


def join(what: str, key: str) -> str:
    """Return the full name of a key in the section `config.WHAT`."""
    return f"{what}.{key}" if what else key


def list_keys(config: ConfigDict) -> dict[str, Option]:
    """Return every key that a flag can set, by its full name such as `neuron.decay`."""
    found: dict[str, Option] = {}
    for what, section in list_sections(config):
        if not (find_kind(what) or Kind()).only:
            found[join(what, "name")] = Option(str, section.get("name"), "")
        for key, option in find_options(what, section).known.items():
            whole = join(what, key)
            if whole not in KINDS and not is_section(whole, section.get(key)):
                found[whole] = option
    return found


def abbreviate(key: str) -> str:
    """Return the initials of a key, such as `wd` of `optimizer.weight_decay`; none of one word."""
    words = key.rpartition(".")[2].split("_")
    return "".join(word[0] for word in words) if len(words) > 1 else ""


def list_set_keys(config: ConfigDict) -> list[str]:
    """Return the keys that have a value in a config; this imports no part."""
    return [key for key, value in _walk(config) if not isinstance(value, ConfigDict)]


def find_option(config: ConfigDict, key: str) -> Option | None:
    """Return the option of a full key such as `neuron.decay`; None for an unknown key."""
    what, _, last = key.rpartition(".")
    section = read_section(config, what)
    if section is None:
        return None
    options, value = find_options(what, section), section.get(last, MISSING)
    option = options.known.get(last)
    if option is None and options.open:
        option = Option(MISSING, MISSING, "")
    # A parameter with neither annotation nor default has the type of the page's value.
    if (
        option
        and (option.annotation, option.default) == (MISSING, MISSING)
        and value is not MISSING
    ):
        option = Option(type(value), value, option.meaning)
    return option


def read_section(config: ConfigDict, what: str) -> dict[str, Any] | None:
    """Return the section `config.WHAT`; None if the config has none."""
    # "" is the config itself, which "".split(".") would not yield.
    value: Any = config
    for key in what.split(".") if what else ():
        if not isinstance(value, ConfigDict) or key not in value:
            return None
        value = value[key]
    return normalize_section(value) if not what or is_section(what, value) else None


def make_default_section(config: ConfigDict, what: str) -> dict[str, Any]:
    """Return the default of a section that the page does not have."""
    if what.endswith("_neuron"):
        # Networks use the main neuron for a field that is not set.
        neuron: dict[str, Any] = config.neuron.to_dict()
        return neuron
    if what not in DEFAULTS:
        raise UserError(f"config.{what} names no part yet; give config.{what}.name too.")
    # A network can have a norm with arguments as its default, as partial(batch_norm, gain=...).
    option, names = find_option(config, what), list_names(what)
    default = option.default if option else None
    keys = default.keywords if isinstance(default, partial) else {}
    function = default.func if isinstance(default, partial) else default
    name = next((name for name, each in names.items() if each is function), DEFAULTS[what])
    known = list_options(what, names[name]).known
    return {"name": name} | {key: value for key, value in keys.items() if key in known}
