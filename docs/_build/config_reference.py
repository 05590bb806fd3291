"""The pages of the reference about configs: all keys, and the values of every shipped config."""

import ast
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from configs.neurons import MEANINGS
from docs._build.tables import format_table
from train.config.pages import SHIPPED, list_shipped, load_page
from train.config.parts import (
    KINDS,
    MISSING,
    Option,
    find_kind,
    find_part,
    list_collections,
    list_functions,
    list_names,
    list_options,
)
from train.config.sections import complete, find_option, join, list_set_keys, read_section
from train.config.values import describe_type, takes_function

# The titles of sections, in the order of the page.
SECTIONS = {
    "": "The run",
    "data": "The data set",
    "model": "The network",
    "model.norm": "The norm of the network",
    "neuron": "The neuron",
    "loss": "The loss",
    "optimizer": "The optimizer",
    "schedule": "The learning rate schedule",
    "augment": "Augmentation",
    "augment.policy": "Augmentation policy",
    "augment.cutout": "Cutout",
    "augment.erase": "Random erasing",
    "augment.mix": "Mixes of images",
    "checkpoints": "Checkpoints",
    "health": "Health of the layers",
    "wandb": "Weights & Biases",
}
KEYS_HEAD = """\
# Config keys

All keys that a config can set, section by section, with type, default and meaning.
`--config.neuron.levels=2` sets the key `levels` of the section `neuron`;
[Configs](../guide/configs.md) explains sections, names and flags, and
[Shipped configs](config_pages.md) has the values of each config. For a single config, the same is
printed by

```console
pit-jax train --config digits --help
```

A key without a default is *required*; *none* switches an optional part off. A key of the type
`function` takes one of our functions by name, or an import path `package.module:function`.

This page is written by `python -m docs._build.reference` from the code; a test compares both.
"""
PAGES_HEAD = """\
# Shipped configs

What `--config NAME` and `--config NAME:VARIANT` mean, config by config. A table has the keys whose
value differs from the default; [Config keys](config_keys.md) has all keys. `--config.KEY=VALUE`
changes one, and [Configs](../guide/configs.md) shows how to write a config of your own.

This page is written by `python -m docs._build.reference` from `configs/`; a test compares both.

## Variants of the neuron

Every config has these variants, for example `digits:lif`, unless its own table has another meaning.

"""
# Three columns, so that the meaning is in sight on a phone.
COLUMNS = ("key", "type, default", "meaning")


def format_keys() -> str:
    """Return the page with the keys of every section and part."""
    assert SECTIONS.keys() == KINDS.keys(), "give each section of a config a title"
    page = KEYS_HEAD
    for what, title in SECTIONS.items():
        name = f"config.{what}" if what else "config"
        page += f"\n## {title}: {name}\n\n" + _format_section(what)
    return page


def format_pages() -> str:
    """Return the page with the variants and values of every shipped config."""
    rows = [(_code(f":{name}"), _escape(meaning)) for name, meaning in MEANINGS.items()]
    head = PAGES_HEAD + format_table(("variant", "meaning"), rows, left=2)
    return head + "".join(f"\n## {name}\n\n{_format_page(name)}" for name in list_shipped())


def _format_section(what: str) -> str:
    kind = KINDS[what]
    if kind.only:
        function = find_part(what)
        keys = set(list_options(what, function).known)
        return _format_sentence(function) + _format_options(what, {"": function}, keys)
    names = ", ".join(
        [*map(_code, list_names(what)), *(_code(f"{each}/NAME") for each in list_collections(what))]
    )
    text = f"`name` is one of {names}, or an import path `package.module:Name`.\n"
    groups = _group(list_names(what))
    shared = _find_shared(what, groups)
    if shared:
        text += "\nAll of them have these keys:\n\n"
        text += _format_options(what, next(iter(groups.values())), shared)
    for title, parts in groups.items():
        keys = set(list_options(what, next(iter(parts.values()))).known) - shared
        text += f"\n### {title}\n\n{_format_sentence(next(iter(parts.values())))}"
        text += _format_options(what, parts, keys) or f"It has no {'other ' * bool(shared)}keys.\n"
    return text


def _find_shared(what: str, groups: Mapping[str, Mapping[str, Callable[..., Any]]]) -> set[str]:
    """Return the keys that are the same in every part of a section."""
    known = [list_options(what, part).known for parts in groups.values() for part in parts.values()]
    return {
        key for key, option in known[0].items() if all(each.get(key) == option for each in known)
    }


def _group(table: Mapping[str, Callable[..., Any]]) -> dict[str, dict[str, Callable[..., Any]]]:
    """Return the parts of a table by title; those made by one function share a title."""
    groups: dict[Any, dict[str, Callable[..., Any]]] = {}
    for name, part in table.items():
        groups.setdefault(_unwrap(part), {})[name] = part
    return {", ".join(parts): parts for parts in groups.values()}


def _format_options(
    what: str, parts: Mapping[str, Callable[..., Any]], keys: Collection[str]
) -> str:
    """Return the table of some keys of the parts that one function makes, "" without keys."""
    known = {name: list_options(what, part).known for name, part in parts.items()}
    rows = []
    for key, option in next(iter(known.values())).items():
        if key not in keys or join(what, key) in KINDS:  # The latter is a section of its own.
            continue
        defaults = {name: _format_value(options[key].default) for name, options in known.items()}
        rows.append(_format_option(join(what, key), option, _merge(defaults)))
    return format_table(COLUMNS, rows, left=len(COLUMNS)) if rows else ""


def _format_option(key: str, option: Option, default: str) -> tuple[str, ...]:
    last = key.rpartition(".")[2]
    if find_kind(key):
        return _code(last), f"section, {default}", f"{_escape(option.meaning)} Keys as in `neuron`."
    meaning, names = option.meaning, list_functions(key) if takes_function(option) else []
    if names and not all(name in meaning for name in names):
        meaning += f" One of {', '.join(names)}."
    kind = " or ".join(map(_code, describe_type(option).split("|")))
    return _code(last), f"{kind}, {default}", _escape(meaning)


def _merge(defaults: Mapping[str, str]) -> str:
    """Return the default of a key, or each default with the names of the parts that have it."""
    found: dict[str, list[str]] = {}
    for name, default in defaults.items():
        found.setdefault(default, []).append(name)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{', '.join(names)}: {default}" for default, names in found.items())


def _format_page(name: str) -> str:
    head = ast.get_docstring(ast.parse((SHIPPED / f"{name}.py").read_text())) or ""
    page = load_page(name)
    assert not MEANINGS.keys() - page.variants.keys(), f"{name} lacks variants of the neuron"
    own = dict(page.variants.items() - MEANINGS.items())
    text = "\n\n".join(map(_format_paragraph, head.split("\n\n"))) + "\n"
    if own:
        variants = [
            (_code(f"{name}:{each}"), _escape(own[each])) for each in page.variants if each in own
        ]
        text += "\n" + format_table(("variant", "meaning"), variants, left=2)
    complete(page.config)
    keys = sorted(list_set_keys(page.config), key=_find_position)
    rows = [row for key in keys if (row := _format_set_key(page.config, key))]
    return text + "\n" + format_table(("key", "value", "meaning"), rows, left=3)


def _format_paragraph(text: str) -> str:
    """Return a paragraph of the head of a config as Markdown: commands as code, pages as links."""
    if text.startswith((" ", "python -m ")):
        return f"```console\n{textwrap.dedent(text)}\n```"
    text = re.sub(r"--config\.[\w.]+=[\w:.()]*\w", r"`\g<0>`", _escape(text))
    return re.sub(r"docs/([\w/]+\.md)", r"[docs/\1](../\1)", text)


def _find_position(key: str) -> tuple[int, bool]:
    """Return where a key of a page is shown: in the order of sections, names first."""
    what, _, last = key.rpartition(".")
    kind = what if what in SECTIONS else "neuron"  # As in gate_neuron.
    return list(SECTIONS).index(kind), last != "name"


def _format_set_key(config: Any, key: str) -> tuple[str, ...] | None:
    """Return the row of a key of a page, or None if it has its default."""
    what, _, last = key.rpartition(".")
    value = (read_section(config, what) or {})[last]
    if last == "name":
        title = SECTIONS.get(what, "another neuron")
        return _code(key), _format_value(value), title[0].lower() + title[1:]
    option = find_option(config, key)
    # `data_dir` says where the data are; it is not a key of a part.
    option = option or Option(str, "data" if last == "data_dir" else MISSING, "")
    if option.default is not MISSING and value == option.default:
        return None
    default = f", by default {_format_value(option.default)}" * (option.default is not MISSING)
    return _code(key), _format_value(value) + default, _escape(option.meaning)


def _format_sentence(function: Callable[..., Any]) -> str:
    """Return the first paragraph of a docstring, with an empty line after it."""
    doc = _unwrap(function).__doc__ or ""
    text = " ".join(doc.partition("\n\n")[0].split()).removeprefix("Return ")
    return _escape(text[:1].upper() + text[1:]) + "\n\n" if doc else ""


def _format_value(value: Any) -> str:
    if value is MISSING:
        return "*required*"
    if value is None:
        return "*none*"
    if isinstance(value, partial):
        keywords = ", ".join(f"{key}={each}" for key, each in value.keywords.items())
        return _code(f"{value.func.__name__}({keywords})")
    if isinstance(value, bool):
        return _code(str(value).lower())
    return _code(getattr(value, "__name__", None) or (repr(value) if value == "" else str(value)))


def _unwrap(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, partial):
        function = function.func
    return function


def _code(text: str) -> str:
    return f"`{text}`"


def _escape(text: str) -> str:
    """Return prose of a docstring for a cell of a table: without bars and HTML."""
    parts: Iterable[str] = re.split("(`[^`]*`)", text.replace("|", "&#124;"))
    return "".join(part if part[:1] == "`" else part.replace("<", "&lt;") for part in parts)
