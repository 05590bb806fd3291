"""Formats the help of a config: its variants, and every key with type, value and meaning."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from .pages import Page, split_variant
from .parts import (
    DEFAULTS,
    KINDS,
    MISSING,
    Kind,
    Option,
    find_kind,
    list_collections,
    list_functions,
    list_inner,
    list_names,
)
from .sections import (
    find_options,
    is_section,
    join,
    list_sections,
    make_default_section,
    read_section,
)
from .values import describe_type, takes_function

MOST_WIDTH = 120
# The column where the meanings of keys begin.
COLUMN = 34
PATH = "or an import path package.module:Name"


def format_page(page: Page, given: str) -> str:
    """Return the help of the page that `--config GIVEN` names."""
    lines = [f"\nvariants of {split_variant(given)[0]}:"] if page.variants else []
    for name, meaning in page.variants.items():
        lines += _format_entry(f"  :{name}", meaning)
    lines += ["\nkeys of this config, each as --config.KEY=VALUE (type, value here, meaning):"]
    for what in _order_sections(page.config):
        lines += ["", *_format_section(page.config, what)]
    return "\n".join(lines) + "\n"


def _order_sections(config: ConfigDict) -> Iterator[str]:
    """Yield the sections that a config has and could have, parents first."""
    there = [what for what, _ in list_sections(config)]

    def visit(what: str) -> Iterator[str]:
        yield what
        inner = [each for each in there if each and each.rpartition(".")[0] == what]
        for each in dict.fromkeys([*inner, *list_inner(what)]):
            # A network without a field `norm` has no section for it.
            if each in there or what != "model" or "norm" in _list_known(config, what):
                yield from visit(each)

    yield from visit("")


def _list_known(config: ConfigDict, what: str) -> Mapping[str, Option]:
    section = read_section(config, what)
    return {} if section is None else find_options(what, section).known


def _format_section(config: ConfigDict, what: str) -> list[str]:
    kind, section = find_kind(what) or Kind(), read_section(config, what)
    title = f"config.{what}" if what else "config"
    lines = [title if section is not None else f"{title} (not in this config)"]
    # For a section that is not in the config, the help shows the keys of its default part.
    if section is None and what in DEFAULTS:
        section = make_default_section(config, what)
    if not kind.only:
        collections = [f"{each}/NAME" for each in list_collections(what)]
        names = ", ".join([*list_names(what), *collections]) if kind.table else ""
        meaning = f"{names}, {PATH}" if names else PATH.removeprefix("or ")
        lines += _format_key(join(what, "name"), "str", (section or {}).get("name"), meaning)
    if section is None and not kind.only:
        return lines
    for key, option in find_options(what, section or {}).known.items():
        whole = join(what, key)
        if whole in KINDS or (section and is_section(whole, section.get(key))):
            continue
        value = (section or {}).get(key, option.default)
        if find_kind(whole):  # A field such as gate_neuron: a section as soon as it has a name.
            lines += _format_key(f"{whole}.name", "str", None, option.meaning)
        else:
            meaning = f"{option.meaning}{_name_functions(whole, option)}"
            lines += _format_key(whole, describe_type(option), value, meaning)
    return lines


def _name_functions(key: str, option: Option) -> str:
    """Return the names of our functions for a key, unless its meaning already lists them."""
    # The key `reset` is a function of most neurons, but a number of GLIF.
    names = list_functions(key) if takes_function(option) else []
    if not names:
        return ""
    there = all(name in option.meaning for name in names)
    return f" {PATH[0].upper()}{PATH[1:]}." if there else f" One of {', '.join(names)}, {PATH}."


def _format_key(key: str, kind: str, value: Any, meaning: str) -> list[str]:
    # The docstring of a user's own part may not explain its keys.
    return _format_entry(
        f"  {key}", f"{kind} = {_format_value(value)}" + (f"; {meaning}" if meaning else "")
    )


def _format_value(value: Any) -> str:
    if value is MISSING:
        return "required"
    if value is None or value == "":
        return "none" if value is None else '""'
    return getattr(value, "__name__", None) or str(value)


def _format_entry(name: str, meaning: str) -> list[str]:
    width = min(shutil.get_terminal_size().columns, MOST_WIDTH)
    gap = " " * COLUMN
    wrapped = textwrap.wrap(meaning, max(width - COLUMN, 30)) or [""]
    if len(name) >= COLUMN - 1:
        return [name, *(gap + line for line in wrapped)]
    return [name.ljust(COLUMN) + wrapped[0], *(gap + line for line in wrapped[1:])]
