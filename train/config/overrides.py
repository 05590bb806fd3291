"""Applies overrides of a command line to a config: --config.KEY=VALUE and --noconfig.KEY.

Flags that name a part are applied first: `--config.neuron.name=LIF` keeps the keys that LIF also
takes, and `--config.neuron=LIF` starts from LIF's defaults. Then the part that a section names
gives every other flag its type, also for keys that are not in the page.
"""

import difflib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from pit_jax.checks.dtypes import normalize_name
from pit_jax.old_names import translate_flag

from ..errors import UserError
from .parts import (
    KINDS,
    find_kind,
    find_part,
    is_optional,
    list_inner,
    list_options,
)
from .sections import (
    abbreviate,
    check_sections,
    complete,
    find_option,
    find_options,
    list_keys,
    make_default_section,
    read_section,
)
from .values import is_switch, parse_value

PREFIXES = ("--config.", "--noconfig.")


class Flag(NamedTuple):
    """An override as typed: a key and its text, which is None for a flag without a value."""

    key: str
    text: str | None
    off: bool = False


def override(config: ConfigDict, words: Sequence[str]) -> tuple[list[str], set[str]]:
    """Apply the overrides in `words`; return the other words, and the keys that were set.

    Raises UserError for an unknown key, with the nearest known one, for an unknown part, and for a
    value of the wrong type.
    """
    # ml_collections would insist on the type of the page's value; the part decides here.
    with config.unlocked(), config.ignore_type():
        complete(config)
        parts = [flag for flag in _read_flags(words, None)[0] if _names_part(flag.key)]
        # Outer sections first: model=... replaces the section that model.norm=... is in.
        for flag in sorted(parts, key=lambda flag: flag.key.count(".")):
            _set_part(config, flag.key, flag.text or "")
        # Only now are the parts known whose keys the other flags set.
        keys = list_keys(config)
        flags, rest = _read_flags([translate_flag(word, keys) for word in words], config)
        for flag in flags:
            if not _names_part(flag.key):
                _set_value(config, flag)
        dtype = config.model.get("dtype") if isinstance(config.get("model"), ConfigDict) else None
        if isinstance(dtype, str):
            # Replaced here, so that a run records the same name for all spellings.
            config.model.dtype = normalize_name(dtype)
        check_sections(config)
    config.lock()
    return rest, {flag.key for flag in flags}


def _read_flags(words: Sequence[str], config: ConfigDict | None) -> tuple[list[Flag], list[str]]:
    """Return the overrides and the other words; without a config, only flags that name a part."""
    flags: list[Flag] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        option, equals, text = word.partition("=")
        key, off = option.partition(".")[2], option.startswith("--no")
        if word == "--":
            rest += [word, *remaining]
        elif not word.startswith(PREFIXES):
            rest.append(word)
        elif equals:
            flags.append(Flag(key, text, off))
        elif config is None:
            # Types are unknown: the next word may or may not be the value of another flag.
            if _names_part(key):
                flags.append(Flag(key, next(remaining, None)))
        elif off or _is_switch(config, key):
            flags.append(Flag(key, None, off))
        else:
            flags.append(Flag(key, next(remaining, None)))
    return flags, rest


def _is_switch(config: ConfigDict, key: str) -> bool:
    option = find_option(config, key)
    return option is not None and is_switch(option)


def _names_part(key: str) -> bool:
    """Return whether a key is a section or the name of its part."""
    section, _, last = key.rpartition(".")
    if last == "name":
        return section.startswith("model.") or bool((find_kind(section) or KINDS[""]).table)
    kind = find_kind(key)
    return kind is not None and bool(kind.table or is_optional(key))


def _set_part(config: ConfigDict, key: str, name: str) -> None:
    """Change the part of a section, replace the section by the defaults of a part, or remove it."""
    section, _, last = key.rpartition(".")
    if last == "name":
        _change_part(config, section, name)
    elif name.lower() == "none":
        if not is_optional(key):
            raise UserError(f"config.{key} cannot be none: a run needs one.")
        parent = _make_parent(config, key)
        if last in parent:
            del parent[last]
        # `augment` itself must exist; without keys it does nothing.
        if not section:
            parent[last] = ConfigDict()
    elif not find_kind(key).table:  # type: ignore[union-attr]
        raise UserError(f"config.{key} is a section: set its keys, or config.{key}=none.")
    else:
        # Raises for an unknown name before the section is replaced.
        find_part(key, name)
        _make_parent(config, key)[last] = ConfigDict({"name": name})


def _change_part(config: ConfigDict, what: str, name: str) -> None:
    """Change the part of a section; drop the keys that the new part does not take."""
    function = find_part(what, name)
    options, section = list_options(what, function), read_section(config, what) or {}
    dropped = [key for key in section if key not in ("name", *options.known) and not options.open]
    # A page has keys for its own part, so dropping them is expected; typed keys never get here.
    if dropped and section.get("name") != name:
        print(
            f"note: {options.owner} does not take {', '.join(dropped)}; "
            f"they are dropped from config.{what}.",
            file=sys.stderr,
        )
        section = {key: value for key, value in section.items() if key not in dropped}
    parent, last = _make_parent(config, what), what.rpartition(".")[2]
    if isinstance(there := parent.get(last), ConfigDict):
        for key in dropped:
            del there[key]
        there.name = name
    else:
        parent[last] = ConfigDict(section | {"name": name})


def _make_parent(config: ConfigDict, key: str) -> ConfigDict:
    """Return the section of a key; create it, with its defaults, if the page has none."""
    what, _, last = key.rpartition(".")
    if not what:
        return config
    parent = _make_parent(config, what)
    name = what.rpartition(".")[2]
    section = read_section(config, what)
    if section is None:
        kind = find_kind(what)
        if kind is None:
            raise UserError(_explain(config, key))
        section = make_default_section(config, what) if kind.table else {}
    if not isinstance(parent.get(name), ConfigDict):
        parent[name] = ConfigDict(section)
    made: ConfigDict = parent[name]
    return made


def _set_value(config: ConfigDict, flag: Flag) -> None:
    key = flag.key
    parent, last = _make_parent(config, key), key.rpartition(".")[2]
    option = find_option(config, key)
    if option is None:
        raise UserError(_explain(config, key))
    if flag.text is None and not is_switch(option):
        raise UserError(f"--{'no' * flag.off}config.{key} needs a value: --config.{key}=VALUE.")
    value = True if flag.text is None else parse_value(key, flag.text, option)
    parent[last] = not value if flag.off else value


def _explain(config: ConfigDict, key: str) -> str:
    """Return the error text for an unknown key, with the nearest known one."""
    if find_kind(key):
        return f"config.{key} is a section; set one of its keys, such as --config.{key}.KEY=VALUE."
    keys = list_keys(config)
    near = [known for known in keys if abbreviate(known) == key.rpartition(".")[2]]
    # The cutoff is low, since "momentum" should find "optimizer.momentum".
    near = near or difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    hint = f" did you mean --config.{near[0]}?" if near else ""
    what = key.rpartition(".")[0]
    # The innermost enclosing section that exists lists its keys.
    while (section := read_section(config, what)) is None:
        what = what.rpartition(".")[0]
    options = find_options(what, section)
    only = bool((find_kind(what) or KINDS["neuron"]).only)
    inner = list_inner(what) if only else []
    taken = ", ".join([*options.known, *inner]) or "no keys"
    if not only:
        owner = f"{options.owner}, the part of config.{what}, takes"
        return f"the config has no key {key!r};{hint} {owner} {taken}."
    owner = f"config.{what}" if what else "It" if hint else "it"
    return f"the config has no key {key!r};{hint} {owner} has: {taken}."
